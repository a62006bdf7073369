import { lookup } from "node:dns/promises";
import { createServer, isIP, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { BodyBudget } from "./body.ts";
import { type Connection, ConnectionTable } from "./connections.ts";
import type { ExchangeContext } from "./exchange.ts";
import { Http1 } from "./http1.ts";
import { Http2 } from "./http2.ts";
import type { Http2Settings, HttpLimits } from "./limits.ts";
import { HttpListenError, type ListenAddress, shownAddress } from "./listen-error.ts";
import type { HttpHandler } from "./messages.ts";
import { detectProtocol, type Protocol } from "./protocol.ts";
import type { TlsCredentials } from "./tls.ts";

/** How long a stop waits before it ends connections, milliseconds: a request may be on its way. */
const STOP_GRACE_MS = 20;

/** Connections that there may be, with those in the middle of their handshake, for each that may be through it. */
const HANDSHAKES = 2;

/** What a server needs. */
export interface HttpServerOptions {
  readonly handler: HttpHandler;
  readonly limits: HttpLimits;
  /** Absent: HTTP/1 alone. */
  readonly http2?: Http2Settings;
  /** Absent: without TLS. */
  readonly tls?: TlsCredentials;
  /** Told what `handler` throws. */
  readonly onError: (error: Error, path: string) => void;
}

/**
 * An HTTP server whose clients cannot make it hold more, or wait longer, than its limits say: HTTP/1 and, on the same
 * port, HTTP/2, whose clients need not ask for it first. With or without TLS.
 */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #connections: ConnectionTable;
  readonly #http1: Http1;
  readonly #http2: Http2 | undefined;
  readonly #listener: Server;
  #isStopping = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    const { handler, limits, onError } = options;
    const context: ExchangeContext = { handler, limits, budget: new BodyBudget(limits.maxTotalBodyBytes), onError };
    this.#connections = new ConnectionTable(limits);
    this.#http1 = new Http1(context);
    this.#http2 = options.http2 === undefined ? undefined : new Http2(context, options.http2);
    this.#listener = createListener(options, (socket) => this.#accept(socket));
  }

  /** Listens; resolves with the address, whose port is the real one where 0 was asked for. Rejects with {@link HttpListenError}. */
  async listen(address: ListenAddress): Promise<ListenAddress> {
    const listener = this.#listener;
    // Runtimes differ in what they say of a name that does not resolve, so it is not theirs to resolve.
    const host = isIP(address.host) > 0 ? address.host : await resolve(address);
    await new Promise<void>((listening, reject) => {
      listener.once("error", (cause: NodeJS.ErrnoException) => reject(new HttpListenError(address, cause)));
      listener.listen(address.port, host, listening);
    });
    const bound = listener.address();
    if (bound === null || typeof bound === "string") throw new Error(`${shownAddress(address)} has no port`);
    // Accepting may fail later, for want of descriptors: the client tries again.
    listener.on("error", () => {});
    return { host: address.host, port: bound.port };
  }

  /** Accepts no more connections, answers the requests that have come, and closes. Takes `timeoutMs` at most. */
  async stop(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const closed = this.#closeListener();
    this.#isStopping = true;
    this.#http1.stop();
    await new Promise((resolve) => setTimeout(resolve, Math.min(STOP_GRACE_MS, timeoutMs)));
    this.#connections.endGently();
    await this.#connections.waitUntilEmpty(Math.max(0, deadline - performance.now()));
    this.#connections.destroyAll();
    await closed;
  }

  /** Closes at once. */
  async close(): Promise<void> {
    const closed = this.#closeListener();
    this.#connections.destroyAll();
    await closed;
  }

  #closeListener(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#listener.listening) this.#listener.close(() => resolve());
      else resolve();
    });
  }

  #accept(socket: Socket): void {
    const { handler } = this.#options;
    // A client that has gone; `close` follows.
    socket.on("error", () => {});
    const connection = this.#connections.add(socket, (closed) => handler.disconnected?.(closed));
    if (connection === undefined) return;
    handler.connected?.(connection);
    if (this.#http2 === undefined) this.#serve(connection, "HTTP/1");
    else detectProtocol(socket, (protocol) => this.#serve(connection, protocol));
  }

  #serve(connection: Connection, protocol: Protocol): void {
    connection.protocol = protocol;
    if (protocol === "HTTP/2" && this.#http2 !== undefined) this.#http2.serve(connection);
    else this.#http1.serve(connection);
    // A connection that was accepted before the stop and spoke after it has its say.
    if (this.#isStopping && protocol === "HTTP/2") setTimeout(() => connection.endGently(), STOP_GRACE_MS);
  }
}

function createListener({ tls, limits, http2 }: HttpServerOptions, accept: (socket: Socket) => void): Server {
  if (tls === undefined) return createServer({ noDelay: true }, accept);
  const listener = createTlsServer({
    cert: Buffer.from(tls.certificate),
    key: Buffer.from(tls.key),
    ...tls.clientAuthority !== undefined && {
      ca: Buffer.from(tls.clientAuthority),
      requestCert: true,
      rejectUnauthorized: true,
    },
    ALPNProtocols: http2 === undefined ? ["http/1.1"] : ["h2", "http/1.1"],
    handshakeTimeout: limits.headerMs,
    noDelay: true,
  }, accept);
  // Connections count for the table once they are through the handshake.
  listener.maxConnections = HANDSHAKES * limits.maxConnections;
  listener.on("tlsClientError", (_error, socket) => socket.destroy());
  return listener;
}

async function resolve(address: ListenAddress): Promise<string> {
  try {
    return (await lookup(address.host)).address;
  } catch (cause) {
    throw new HttpListenError(address, cause as NodeJS.ErrnoException);
  }
}
