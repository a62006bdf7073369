import { Buffer } from "node:buffer";
import { type ClientRequest, request as httpRequest } from "node:http";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureContext, type TLSSocket } from "node:tls";
import type { Duplex } from "node:stream";
import { describeError, printable } from "../../base/log.ts";
import type { TlsCredentials } from "./tls-credentials.ts";
import type { Proxy } from "./proxy.ts";
import type { Target } from "./target.ts";

/**
 * After how long an idle connection is probed by the kernel, milliseconds: before the five minutes or so after which
 * firewalls and NAT forget a connection, and seldom enough to cost nothing.
 */
const TCP_KEEPALIVE_MS = 60_000;

/** What a connection failed at: reaching the collector, the proxy on the way to it, or TLS. */
export type ConnectionStage = "collector" | "proxy" | "tls";

/** A connection that could not be made. Its message is that of the system, of TLS or of the proxy. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly stage: ConnectionStage;

  constructor(stage: ConnectionStage, message: string, options?: ErrorOptions) {
    super(message, options);
    this.stage = stage;
  }
}

/** How connections to one collector are made. */
export interface ConnectorOptions {
  readonly target: Target;
  readonly proxy?: Proxy | undefined;
  /**
   * Whether the proxy is asked for a tunnel (CONNECT) although the target is without TLS. HTTP without TLS gives its
   * requests to the proxy instead.
   */
  readonly tunnel: boolean;
  /** For a target with TLS. */
  readonly tls?: TlsCredentials | undefined;
  /** For a proxy with TLS. */
  readonly proxyTls?: TlsCredentials | undefined;
  /** The protocol that TLS is to agree on (ALPN), which then must be agreed on. */
  readonly protocol?: "h2";
  /** Is told the certificate that the target has shown, once it is accepted. */
  readonly onServerCertificate?: ((certificate: ServerCertificate) => void) | undefined;
}

/** A server's certificate. */
export interface ServerCertificate {
  /** Its end, as OpenSSL writes it, such as `Nov 26 17:28:37 2026 GMT`. */
  readonly validTo: string;
}

/** Makes connections to one collector: directly or through a proxy, with or without TLS. */
export class Connector {
  readonly options: ConnectorOptions;

  constructor(options: ConnectorOptions) {
    this.options = options;
  }

  /**
   * A connection that is ready to use. Rejects with a {@link ConnectionError}, also once `signal` is aborted, and
   * leaves nothing open then.
   */
  async connect(signal: AbortSignal): Promise<Duplex> {
    const { target, proxy, tls, protocol } = this.options;
    const address = target.socketPath === undefined ? target : { path: target.socketPath };
    const socket =
      await (proxy === undefined
        ? failingAs("collector", tcp(address, signal))
        : failingAs("proxy", this.#throughProxy(proxy, signal)));
    if (tls === undefined) return socket;
    const secure = await failingAs("tls", secured(socket, target.host, await tls.context(), signal, protocol));
    this.options.onServerCertificate?.({ validTo: secure.getPeerCertificate().valid_to });
    return secure;
  }

  async #throughProxy(proxy: Proxy, signal: AbortSignal): Promise<Socket> {
    const { target, tunnel, proxyTls } = this.options;
    try {
      const plain = await tcp({ host: proxy.host, port: proxy.port }, signal);
      const socket = proxyTls === undefined
        ? plain
        : await secured(plain, proxy.host, await proxyTls.context(), signal);
      return target.secure || tunnel ? await openTunnel(socket, proxy, target, signal) : socket;
    } catch (cause) {
      const { message } = cause as Error;
      throw new Error(`the proxy in ${proxy.variable} (${proxy.host}:${proxy.port}): ${message}`, { cause });
    }
  }
}

async function failingAs<Connection>(stage: ConnectionStage, connecting: Promise<Connection>): Promise<Connection> {
  try {
    return await connecting;
  } catch (cause) {
    throw new ConnectionError(stage, describeError(cause), { cause });
  }
}

type Address = { readonly host: string; readonly port: number } | { readonly path: string };

function tcp(address: Address, signal: AbortSignal): Promise<Socket> {
  const socket = connectTcp({
    ...("path" in address ? { path: address.path } : { host: address.host, port: address.port }),
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEPALIVE_MS,
  });
  return ready(socket, "connect", signal);
}

/**
 * Starts TLS on a connection. Which certificates are trusted depends only on the given context, and not on environment
 * variables.
 */
async function secured(
  socket: Socket,
  host: string,
  secureContext: SecureContext,
  signal: AbortSignal,
  protocol?: string,
): Promise<TLSSocket> {
  const secure = connectTls({
    socket,
    host,
    // An address may not be given as a server's name (RFC 6066, section 3); the certificate must be for it all the
    // same.
    ...(isIP(host) === 0 && { servername: host }),
    secureContext,
    rejectUnauthorized: true,
    ...(protocol !== undefined && { ALPNProtocols: [protocol] }),
  });
  try {
    await ready(secure, "secureConnect", signal);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  if (protocol !== undefined && secure.alpnProtocol !== protocol) {
    secure.destroy();
    throw new Error(`TLS was agreed on without ${protocol} (ALPN), which gRPC needs`);
  }
  return secure;
}

function ready<Connection extends Socket>(
  socket: Connection,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    // An error that comes while nobody waits for one, as before the connection is handed on, must not end the process.
    socket.on("error", () => {});
    const done = (): void => {
      socket.off(event, onReady).off("error", onError).off("close", onClose);
      signal.removeEventListener("abort", onAbort);
    };
    const fail = (error: Error): void => {
      done();
      socket.destroy();
      reject(error);
    };
    const onReady = (): void => {
      done();
      resolve(socket);
    };
    const onError = (error: Error): void => fail(error);
    const onClose = (): void => fail(new Error("the connection was closed while it was set up"));
    const onAbort = (): void => fail(new Error("closed"));
    socket.once(event, onReady).once("error", onError).once("close", onClose);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  });
}

/** Has the proxy connect to the target (RFC 9110, 9.3.6). */
function openTunnel(socket: Socket, proxy: Proxy, target: Target, signal: AbortSignal): Promise<Socket> {
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  const authority = `${host}:${target.port}`;
  return new Promise((resolve, reject) => {
    const request: ClientRequest = httpRequest({
      method: "CONNECT",
      path: authority,
      headers: {
        host: authority,
        ...(proxy.authorization !== undefined && { "proxy-authorization": proxy.authorization }),
      },
      createConnection: () => socket,
    });
    const done = (): void => signal.removeEventListener("abort", onAbort);
    const fail = (error: Error): void => {
      done();
      request.on("error", () => {});
      request.destroy();
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(new Error("closed"));
    signal.addEventListener("abort", onAbort);
    request.once("error", fail);
    request.once("response", ({ statusCode, statusMessage }) => fail(refused(authority, statusCode, statusMessage)));
    request.once("connect", ({ statusCode = 0, statusMessage }, tunnelled: Duplex, head: Buffer) => {
      if (statusCode < 200 || statusCode > 299) return fail(refused(authority, statusCode, statusMessage));
      // A server that speaks first is neither TLS nor HTTP/2 with prior knowledge.
      if (head.length > 0) tunnelled.unshift(head);
      done();
      resolve(tunnelled as Socket);
    });
    request.end();
  });
}

function refused(authority: string, status: number | undefined, message: string | undefined): Error {
  const advice = status === 407 ? " (give user and password in the proxy's URL)" : "";
  return new Error(`it refuses to connect to ${authority}: HTTP ${status} ${printable(message ?? "")}${advice}`);
}
