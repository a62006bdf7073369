import { printable } from "../base/log.ts";
import { ExportError, type ExportResult } from "../pipeline/exporter.ts";
import { readRetryDelay } from "./export-response.ts";
import { saysTooLarge, saysTooMuch } from "./refusal-words.ts";
import { capped } from "./retry-after.ts";

/** gRPC's status codes by number (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;
export type GrpcCode = (typeof CODES)[number];

/** Retryable by the OTLP specification's table ("OTLP/gRPC Response"). RESOURCE_EXHAUSTED is so only with RetryInfo. */
const RETRYABLE: ReadonlySet<GrpcCode> = new Set<GrpcCode>([
  "CANCELLED",
  "DEADLINE_EXCEEDED",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNAVAILABLE",
  "DATA_LOSS",
]);

/** Codes whose reason may be in the spans. UNKNOWN and INTERNAL are what a server makes of an error of its own. */
const CONTENT: ReadonlySet<GrpcCode> = new Set<GrpcCode>([
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "INTERNAL",
]);

/** HTTP/2's error codes by number (RFC 9113, 7). */
const HTTP2_ERRORS = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
] as const;

/** How much of a status's message is shown, characters. */
const SHOWN_CHARACTERS = 200;

/** What a server said at the end of a call. */
export interface GrpcStatus {
  /** `grpc-status`. */
  readonly code: number;
  /** `grpc-message`, decoded. */
  readonly message: string;
  /** `grpc-status-details-bin`: an encoded `google.rpc.Status`. */
  readonly details?: Uint8Array | undefined;
}

/** What a status other than OK means (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response). */
export function classifyGrpcStatus({ code, message, details }: GrpcStatus): ExportResult {
  const name = CODES[code] ?? "UNKNOWN";
  const error = new ExportError(describeStatus(name, message), code);
  const delayMs = details && readRetryDelay(details);
  // Too large in whatever words and under whatever code: the same request would be refused for ever.
  if (saysTooLarge(message)) return { kind: "rejected", error, splitHelps: true, tooLarge: true };
  if (RETRYABLE.has(name) || (name === "RESOURCE_EXHAUSTED" && (delayMs !== undefined || saysTooMuch(message)))) {
    // Without RetryInfo the specification calls RESOURCE_EXHAUSTED lasting; but Tempo and Grafana Cloud answer a rate
    // limit so, and over HTTP they say 429 to the same.
    return { kind: "retryable", error, ...(delayMs !== undefined && { retryAfterMs: capped(delayMs) }) };
  }
  return { kind: "rejected", error, splitHelps: CONTENT.has(name) && !saysTooMuch(message) };
}

/** A code's number. */
export function codeNumber(name: GrpcCode): number {
  return CODES.indexOf(name);
}

/** An error in the words of a status that no server has sent. */
export function grpcError(name: GrpcCode, message: string, cause?: Error): ExportError {
  return new ExportError(describeStatus(name, message), undefined, cause && { cause });
}

/** What a reset of the stream says (RFC 9113, 7): the request may or may not have been taken, and is sent again. */
export function resetError(http2Code: number): ExportError {
  const name = HTTP2_ERRORS[http2Code] ?? `code ${http2Code}`;
  return grpcError("UNAVAILABLE", `the stream was reset (${name})`);
}

/** An error's text: the code's name and what there is to say. */
export function describeStatus(name: GrpcCode, message: string): string {
  return `gRPC ${name}${message === "" ? "" : `: ${printable(message, SHOWN_CHARACTERS)}`}`;
}

/** Decodes `grpc-message`, which is percent-encoded; what is not well encoded stays as it is. */
export function decodeGrpcMessage(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return value;
  }
}

/** `grpc-timeout`: at most eight digits and a unit. */
export function grpcTimeout(milliseconds: number): string {
  return milliseconds < 1e8 ? `${Math.ceil(milliseconds)}m` : `${Math.ceil(milliseconds / 1000)}S`;
}
