import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import type { InvalidReason } from "../../pipeline/invalid-reason.ts";

/** `ExportTraceServiceResponse.partial_success`, and of `ExportTracePartialSuccess` its fields. */
const RESPONSE_PARTIAL_SUCCESS = 0x0a;
const PARTIAL_REJECTED_SPANS = 0x08;
const PARTIAL_ERROR_MESSAGE = 0x12;

/** `google.rpc.Status` (google/rpc/status.proto). */
const STATUS_CODE = 0x08;
const STATUS_MESSAGE = 0x12;
const STATUS_DETAILS = 0x1a;
/** `google.protobuf.Any`. */
const ANY_TYPE_URL = 0x0a;
const ANY_VALUE = 0x12;
const RETRY_INFO_URL = "type.googleapis.com/google.rpc.RetryInfo";
/** `google.rpc.RetryInfo.retry_delay` (google/rpc/error_details.proto), and `google.protobuf.Duration.seconds`. */
const RETRY_INFO_DELAY = 0x0a;
const DURATION_SECONDS = 0x08;

/** gRPC's status codes that are used here: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const GRPC = {
  ok: 0,
  invalidArgument: 3,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

/** A failure, in gRPC's terms. */
export interface Failure {
  readonly code: number;
  readonly message: string;
  /** When to come again, seconds. Without it a failure lasts. */
  readonly retrySeconds?: number;
}

/** How many spans of a request were not taken, for each reason. */
export type Rejected = ReadonlyMap<InvalidReason, number>;

const UTF8 = new TextEncoder();

/** An `ExportTraceServiceResponse`: empty if all spans were taken. */
export function exportResponse(rejected: Rejected): Uint8Array {
  const writer = new ProtobufWriter(64);
  if (rejected.size > 0) {
    const partial = writer.openMessage(RESPONSE_PARTIAL_SUCCESS);
    writer.byte(PARTIAL_REJECTED_SPANS);
    writer.varint(countOf(rejected));
    writer.lengthDelimited(PARTIAL_ERROR_MESSAGE >>> 3, UTF8.encode(messageOf(rejected)));
    writer.closeMessage(partial);
  }
  return writer.buffer.slice(0, writer.position);
}

/** The same in JSON. */
export function exportResponseJson(rejected: Rejected): string {
  if (rejected.size === 0) return "{}";
  return JSON.stringify({
    partialSuccess: { rejectedSpans: String(countOf(rejected)), errorMessage: messageOf(rejected) },
  });
}

/** A `google.rpc.Status`, with a `RetryInfo` if the failure does not last. */
export function statusMessage({ code, message, retrySeconds }: Failure): Uint8Array {
  const writer = new ProtobufWriter(128);
  writer.byte(STATUS_CODE);
  writer.varint(code);
  writer.lengthDelimited(STATUS_MESSAGE >>> 3, UTF8.encode(message));
  if (retrySeconds !== undefined) {
    const any = writer.openMessage(STATUS_DETAILS);
    writer.lengthDelimited(ANY_TYPE_URL >>> 3, UTF8.encode(RETRY_INFO_URL));
    const value = writer.openMessage(ANY_VALUE);
    const delay = writer.openMessage(RETRY_INFO_DELAY);
    writer.byte(DURATION_SECONDS);
    writer.varint(retrySeconds);
    writer.closeMessage(delay);
    writer.closeMessage(value);
    writer.closeMessage(any);
  }
  return writer.buffer.slice(0, writer.position);
}

/** The same in JSON, without details. */
export function statusJson({ code, message }: Failure): string {
  return JSON.stringify({ code, message });
}

function countOf(rejected: Rejected): number {
  let count = 0;
  for (const spans of rejected.values()) count += spans;
  return count;
}

function messageOf(rejected: Rejected): string {
  const reasons = [...rejected].map(([reason, spans]) => `${reason}: ${spans}`);
  return `invalid spans (${reasons.join(", ")})`;
}
