import type { IncomingHttpHeaders } from "node:http2";
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";
import { ExportError, type ExportResult } from "../pipeline/exporter.ts";
import { readExportResponse } from "./export-response.ts";
import { classifyGrpcStatus, codeNumber, decodeGrpcMessage, describeStatus, type GrpcCode } from "./grpc-status.ts";
import { classifyHttpAnswer, NotOtlpError } from "./http-answer.ts";

/** A message's prefix: whether it is compressed, and its length in big endian ("Length-Prefixed-Message"). */
export const PREFIX_BYTES = 5;

/** How much of an answer is read, bytes: what gRPC clients take by default. */
export const LONGEST_ANSWER_BYTES = 4 * 1024 * 1024;

/** What answered a call. */
export interface GrpcAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  /** What was read of the body: all of it, or its beginning. */
  readonly body: Uint8Array;
  /** Whether the body goes on beyond what was read. */
  readonly isCut: boolean;
}

/**
 * gRPC's codes for answers of HTTP alone (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
 */
const CODES_OF_HTTP: ReadonlyMap<number, GrpcCode> = new Map([
  [400, "INTERNAL"],
  [401, "UNAUTHENTICATED"],
  [403, "PERMISSION_DENIED"],
  [404, "UNIMPLEMENTED"],
]);

/** A gRPC server has a status for its own faults, so this is a proxy's fault, and will pass. */
const SERVER_ERROR = 500;
/** Too large for a proxy on the way, which smaller requests may pass. */
const TOO_LARGE = 413;

/**
 * Whether the fields say how the call went: by gRPC's status, which may be in the headers alone ("Trailers-Only"), or
 * by HTTP's, where what answers is not a gRPC server.
 */
export function hasStatus(headers: IncomingHttpHeaders, trailers: IncomingHttpHeaders): boolean {
  return statusField(headers, trailers, "grpc-status") !== undefined || Number(headers[":status"]) !== 200 ||
    headers["content-type"]?.startsWith("application/grpc") !== true;
}

/** What an answer means. */
export function classifyGrpcAnswer(answer: GrpcAnswer): ExportResult {
  const { headers, trailers } = answer;
  const status = statusField(headers, trailers, "grpc-status");
  if (status === undefined) return classifyOther(answer);
  const code = /^[0-9]{1,9}$/.test(status) ? Number(status) : codeNumber("UNKNOWN");
  if (code === 0) return readMessage(answer);
  const details = statusField(headers, trailers, "grpc-status-details-bin");
  return classifyGrpcStatus({
    code,
    message: decodeGrpcMessage(statusField(headers, trailers, "grpc-message") ?? ""),
    // Base64 without or with its padding; Buffer takes both.
    details: details === undefined ? undefined : Buffer.from(details, "base64"),
  });
}

function statusField(headers: IncomingHttpHeaders, trailers: IncomingHttpHeaders, name: string): string | undefined {
  const value = trailers[name] ?? headers[name];
  return typeof value === "object" ? value[0] : value;
}

/** The response of a call that went well. It was taken whatever its message looks like. */
function readMessage({ headers, body, isCut }: GrpcAnswer): ExportResult {
  const unread = (why: string): ExportResult => ({ kind: "success", warning: `the answer cannot be read: ${why}` });
  if (isCut) return unread("it is longer than an OTLP receiver's");
  if (body.length < PREFIX_BYTES) return body.length === 0 ? { kind: "success" } : unread("it is cut short");
  const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
  if (length !== body.length - PREFIX_BYTES) return unread("its length is wrong");
  let message: Uint8Array | undefined = body.subarray(PREFIX_BYTES);
  if (body[0] !== 0) message = headers["grpc-encoding"] === "gzip" ? uncompressed(message) : undefined;
  if (message === undefined) return unread("it is compressed in a way that was not asked for");
  return readExportResponse(message) ?? unread("it is not an ExportTraceServiceResponse");
}

/** Undefined for what is not gzip, or too much. */
function uncompressed(message: Uint8Array): Uint8Array | undefined {
  try {
    return gunzipSync(message, { maxOutputLength: LONGEST_ANSWER_BYTES });
  } catch {
    return undefined;
  }
}

/** A proxy or a web server answered, which knows nothing of spans. */
function classifyOther({ headers, body, isCut }: GrpcAnswer): ExportResult {
  const status = Number(headers[":status"]);
  const result = classifyHttpAnswer({ status, statusMessage: "", headers, body, isCut });
  if (result.kind === "success" || result.kind === "partial") {
    const type = headers["content-type"] ?? "no Content-Type";
    return { kind: "retryable", error: new NotOtlpError(`an answer that is not gRPC's (${type})`, status) };
  }
  if (result.error instanceof NotOtlpError) return result;
  const isRetryable = result.kind === "retryable" || status === SERVER_ERROR;
  const code = isRetryable ? "UNAVAILABLE" : CODES_OF_HTTP.get(status) ?? "UNKNOWN";
  const message = `not answered by a gRPC server: ${result.error.message}`;
  const error = new ExportError(describeStatus(code, message), codeNumber(code));
  if (status === TOO_LARGE) return { kind: "rejected", error, splitHelps: true, tooLarge: true };
  if (!isRetryable) return { kind: "rejected", error, splitHelps: false };
  return result.kind === "retryable" ? { ...result, error } : { kind: "retryable", error };
}
