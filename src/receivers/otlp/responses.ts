import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import * as fields from "../../otlp/response-fields.ts";
import type { InvalidReason } from "../../pipeline/invalid-reason.ts";

const RETRY_INFO_URL = `type.googleapis.com/${fields.RETRY_INFO_TYPE}`;

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
    const partial = writer.openMessage(fields.RESPONSE_PARTIAL_SUCCESS);
    writer.byte(fields.PARTIAL_REJECTED_SPANS);
    writer.varint(countOf(rejected));
    writer.lengthDelimited(fields.PARTIAL_ERROR_MESSAGE >>> 3, UTF8.encode(messageOf(rejected)));
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
  writer.byte(fields.STATUS_CODE);
  writer.varint(code);
  writer.lengthDelimited(fields.STATUS_MESSAGE >>> 3, UTF8.encode(message));
  if (retrySeconds !== undefined) {
    const any = writer.openMessage(fields.STATUS_DETAILS);
    writer.lengthDelimited(fields.ANY_TYPE_URL >>> 3, UTF8.encode(RETRY_INFO_URL));
    const value = writer.openMessage(fields.ANY_VALUE);
    const delay = writer.openMessage(fields.RETRY_INFO_DELAY);
    writer.byte(fields.DURATION_SECONDS);
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
