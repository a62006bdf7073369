import { connect } from "node:net";
import process from "node:process";
import type { Logger } from "../base/log.ts";
import type { OtlpProtocol, OtlpSettings } from "../pipeline/settings.ts";
import { type Exporter, ExportError } from "../pipeline/exporter.ts";

/** A collector that cannot be reached, or that is none: the message names what, where and what to do. */
export class CollectorError extends Error {
  override readonly name = "CollectorError";
}

/** HTTP statuses that say why nothing would ever be taken here, and what to do about it. */
const HTTP_REFUSALS: ReadonlyMap<number, string> = new Map([
  [401, "it wants credentials: set OTEL_EXPORTER_OTLP_HEADERS"],
  [403, "it does not accept the credentials in OTEL_EXPORTER_OTLP_HEADERS"],
  [404, "there is no OTLP receiver at this path: check the endpoint's path"],
  [405, "there is no OTLP receiver at this path: check the endpoint's path"],
]);

/** The same of gRPC's codes: PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED. */
const GRPC_REFUSALS: ReadonlyMap<number, string> = new Map([
  [7, "it does not accept the credentials in OTEL_EXPORTER_OTLP_HEADERS"],
  [12, "it has no OTLP receiver: check the endpoint"],
  [16, "it wants credentials: set OTEL_EXPORTER_OTLP_HEADERS"],
]);

/** The variables that grpc-js takes a proxy from, the first of them that is set (grpc-js/src/http_proxy.ts). */
const PROXY_VARIABLES = ["grpc_proxy", "https_proxy", "http_proxy"];

/** The variable that names the proxy that gRPC may go through, unless `no_proxy` names the host; HTTP goes through none. */
function proxyVariable(protocol: OtlpProtocol): string | undefined {
  if (protocol !== "grpc") return undefined;
  return PROXY_VARIABLES.find((name) => (process.env[name] ?? "") !== "");
}

/**
 * Finds out whether a collector is there: by a connection to its host and port, and by an export request without spans
 * (an empty message is a valid one). A receiver that dislikes the empty request, or that is overloaded just now, is
 * there. So is one behind a proxy, which only the request reaches. Rejects with {@link CollectorError}.
 *
 * @param exporter the exporter that will be used, with its headers and certificates.
 * @param timeoutMs for both steps together, milliseconds.
 */
export async function probe(
  { protocol, url }: OtlpSettings,
  exporter: Exporter,
  timeoutMs: number,
  log: Logger,
): Promise<void> {
  const began = performance.now();
  const { hostname, port, protocol: scheme } = new URL(url);
  // The URL class puts an IPv6 address in brackets, and leaves out the scheme's own port.
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const portNumber = Number(port || (scheme === "https:" ? 443 : 80));
  const proxy = proxyVariable(protocol);
  let unreachable: Error | undefined;
  try {
    await connectTo(host, portNumber, proxy === undefined ? timeoutMs : timeoutMs / 2);
  } catch (error) {
    unreachable = error as Error;
    if (proxy === undefined) throw new CollectorError(absent(url, proxy), { cause: unreachable });
  }
  const remaining = Math.max(1, Math.ceil(timeoutMs - (performance.now() - began)));
  const result = await exporter.send(new Uint8Array(), remaining);
  if (result.kind === "success" || result.kind === "partial") return;
  if (unreachable !== undefined && statusOf(result.error) === undefined) {
    throw new CollectorError(absent(url, proxy), { cause: unreachable });
  }
  const problem = diagnose(protocol, url, result.error, proxy);
  if (problem !== undefined) throw new CollectorError(problem, { cause: result.error });
  log.warn("the collector is there, but answers the empty request with an error", {
    error: result.error,
  });
}

function absent(url: string, proxy: string | undefined): string {
  const where = proxy === undefined ? url : `${url}, nor through the proxy in ${proxy}`;
  return `no collector at ${where}: start it, or check --otlp-endpoint (--wait-for-collector starts without it)`;
}

function statusOf(error: Error): number | undefined {
  return error instanceof ExportError ? error.status : undefined;
}

/** Why an error means that nothing will be taken there, and what to do; undefined where it does not mean that. */
function diagnose(
  protocol: OtlpProtocol,
  url: string,
  error: Error,
  proxy: string | undefined,
): string | undefined {
  const status = statusOf(error);
  const isGrpc = protocol === "grpc";
  // A success with an unreadable rest is no answer of HTTP.
  const isAnswer = status !== undefined && (isGrpc || status >= 300);
  if (!isAnswer) {
    const [over, advice] = url.startsWith("https:")
      ? ["TLS", "check the endpoint, and OTEL_EXPORTER_OTLP_CERTIFICATE"]
      : isGrpc
      ? ["gRPC", "check the endpoint (https:// for TLS), or try --otlp-protocol http/protobuf"]
      : ["HTTP", "check the endpoint, or try --otlp-protocol grpc"];
    const behind = proxy && `, and the proxy in ${proxy} (no_proxy names hosts to reach without)`;
    return `what listens at ${url} gives no answer over ${over}: ${advice}${behind ?? ""}`;
  }
  const refusal = (isGrpc ? GRPC_REFUSALS : HTTP_REFUSALS).get(status);
  if (refusal !== undefined) return `the collector at ${url} refuses requests: ${refusal}`;
  if (isGrpc) return undefined;
  if (status < 400) return `${url} redirects: give the endpoint that it redirects to`;
  // Go's and nginx's answer to plain HTTP where TLS is spoken.
  if (status === 400 && url.startsWith("http:") && /https/i.test(error.message)) {
    return `${url} speaks TLS: give an endpoint with https://`;
  }
  return undefined;
}

function connectTo(host: string, port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => fail(new Error(`no connection within ${timeoutMs} ms`)),
      timeoutMs,
    );
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.destroy();
      resolve();
    });
    socket.on("error", (error) => {
      clearTimeout(timer);
      fail(error);
    });
  });
}
