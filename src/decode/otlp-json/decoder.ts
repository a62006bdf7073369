import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { decodeOtlpLeniently, type RejectedSpans } from "../otlp/lenient.ts";
import { RequestWriter } from "./request-writer.ts";

/** One for all connections: a body is decoded whole, and what it needs in memory is reused. */
const request = new ProtobufWriter();
const writer = new RequestWriter();

/**
 * Turns `buffer[start … end)`, an `ExportTraceServiceRequest` in OTLP's JSON, into spans.
 *
 * IDs are hexadecimal, 64-bit integers strings or numbers, both exact; a double may also be a string, an enum its name,
 * and any field null, as protobuf's mapping has it. Fields that OTLP does not have are ignored. Invalid spans are left
 * out, and a request without spans is valid. Returns how many were left out.
 *
 * Throws a {@link WireError} if something other than a span is wrong. The contents of `spans` are not valid then.
 * Specification: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding and
 * https://protobuf.dev/programming-guides/json/
 */
export function decodeOtlpJson(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
): RejectedSpans {
  request.clear();
  const unreadable = writer.write(buffer, start, end, request);
  const rejected = decodeOtlpLeniently(request.buffer, 0, request.position, spans);
  for (const [reason, count] of unreadable) rejected.set(reason, (rejected.get(reason) ?? 0) + count);
  return rejected;
}
