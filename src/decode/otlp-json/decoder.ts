import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { addRejected, decodeOtlpInSteps, decodeOtlpLeniently, type RejectedSpans } from "../otlp/lenient.ts";
import { RequestWriter } from "./request-writer.ts";

/** One for all bodies that are decoded at once: what they need in memory is reused. */
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
  const steps = writer.write(buffer, start, end, request);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const rejected = decodeOtlpLeniently(request.buffer, 0, request.position, spans);
  addRejected(rejected, step.value);
  return rejected;
}

/**
 * As {@link decodeOtlpJson}, but in steps, between which others may be decoded.
 *
 * @param take is given the spans of each step in an object of their own. If this throws, they are of no use.
 */
export function* decodeOtlpJsonInSteps(
  buffer: Uint8Array,
  start: number,
  end: number,
  take: (spans: EncodedSpans) => void,
): Generator<void, RejectedSpans> {
  const written = new ProtobufWriter();
  const unreadable = yield* new RequestWriter().write(buffer, start, end, written);
  const rejected = yield* decodeOtlpInSteps(written.buffer, 0, written.position, take);
  addRejected(rejected, unreadable);
  return rejected;
}
