import type { Logger } from "../base/log.ts";
import type { OtlpSettings } from "../pipeline/settings.ts";
import { type Exporter, ExportError } from "../pipeline/exporter.ts";
import { ConnectionError } from "./connection/connector.ts";
import { chooseProxy } from "./connection/proxy.ts";
import { targetOf } from "./connection/target.ts";
import { NotOtlpError } from "./http-answer.ts";

/** How long the collector may take to show itself, milliseconds. */
export const PROBE_TIMEOUT_MS = 5_000;

/** The collector cannot be reached, or it is not a collector: the message names what, where and what to do. */
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

/**
 * Finds out whether a collector is there by an export request without spans, since an empty message is a valid one. A
 * receiver that dislikes the empty request, or that is overloaded just now, is there. Rejects with
 * {@link CollectorError}.
 *
 * @param exporter the exporter that will be used, with its headers, certificates and proxy.
 * @param timeoutMs for connection and answer together, milliseconds.
 */
export async function probe(settings: OtlpSettings, exporter: Exporter, timeoutMs: number, log: Logger): Promise<void> {
  const result = await exporter.send([], timeoutMs);
  if (result.kind === "success" || result.kind === "partial") return;
  const { error } = result;
  const problem = diagnose(settings, error);
  if (problem !== undefined) throw new CollectorError(problem, { cause: error });
  log.warn("the collector is there, but answers the empty request with an error", { error });
}

/** Why an error means that nothing will be taken there, and what to do; undefined if it does not mean that. */
function diagnose({ protocol, url }: OtlpSettings, error: Error): string | undefined {
  const { proxy } = chooseProxy(protocol, targetOf(url));
  const status = statusOf(error);
  const connectionError = causeOf(error, ConnectionError);
  if (connectionError?.stage === "proxy") {
    return `${url} cannot be reached through a proxy: check ${proxy?.variable}, or name the host in no_proxy`;
  }
  if (connectionError?.stage === "collector") {
    return `no collector at ${url}: start it, or check --otlp-endpoint (--wait-for-collector starts without it)`;
  }
  if (error instanceof NotOtlpError) {
    return `there is no OTLP receiver at ${url}: check the endpoint's host and path`;
  }
  const isGrpc = protocol === "grpc";
  if (status === undefined || (status < 300 && !isGrpc)) {
    const [over, advice] = connectionError?.stage === "tls"
      ? ["TLS", "check the endpoint, and OTEL_EXPORTER_OTLP_CERTIFICATE"]
      : isGrpc
      ? ["gRPC", "check the endpoint (https:// for TLS), or try --otlp-protocol http/protobuf"]
      : ["HTTP", "check the endpoint, or try --otlp-protocol grpc"];
    const behind = proxy && `, and the proxy in ${proxy.variable} (no_proxy names hosts to reach without)`;
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

function statusOf(error: Error): number | undefined {
  return error instanceof ExportError ? error.status : undefined;
}

/** The error itself or the first of its causes that is of a class. */
function causeOf<Cause extends Error>(error: Error, kind: abstract new (...args: never) => Cause): Cause | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof kind) return cause;
  }
  return undefined;
}
