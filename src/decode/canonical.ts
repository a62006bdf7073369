import { WireError } from "./wire-error.ts";

/**
 * What every decoder of payloads holds to, whatever the payload is written in, so that no decoder behind the collector
 * refuses what left here. Collectors answer 200 before they translate a batch for their own destinations, so one span
 * that a translator or a stricter decoder refuses takes a whole batch of other guests' spans with it, and nobody here
 * hears of it. Each rule names whom it is for.
 *
 * The rest of "canonical" is how all writers here write: varints, tags and lengths as short as they can be, text in
 * UTF-8, each field that is not repeated at most once.
 */

/**
 * How deep messages may nest in each other, counted from `ExportTraceServiceRequest`, which is the first.
 *
 * C++, upb (Python, PHP), Java, C# and Rust's prost refuse more than 100, Go more than 10,000. Ruby's protobuf and
 * Dart's refuse more than 64. The rest is left for what a backend may wrap a request in.
 */
export const MAX_MESSAGE_DEPTH = 60;

/**
 * How much larger than its payload a span may become, bytes. Only arrays of small values grow much, a bool fourfold in
 * bincode and a short double fivefold in JSON; without a bound, a frame that is allowed becomes a request that no
 * collector takes (4 MiB is the limit of gRPC's Go implementation, and of the Collector's receivers over gRPC).
 */
export const MAX_GROWTH_BYTES = 1024 * 1024;

/** Refuses a span or payload that became more than {@link MAX_GROWTH_BYTES} larger. */
export function checkGrowth(encodedBytes: number, payloadBytes: number): void {
  if (encodedBytes - payloadBytes <= MAX_GROWTH_BYTES) return;
  throw new WireError("too-large", payloadBytes, `a payload of ${payloadBytes} bytes becomes ${encodedBytes} in OTLP`);
}

/** The bits of a double's exponent, in the upper half of its 64 bits. All are set in NaN and the infinities. */
const EXPONENT = 0x7ff0_0000;
const FRACTION = 0x000f_ffff;

const UTF8 = new TextEncoder();
/** What stands for NaN, see {@link nonFiniteText}. */
export const NAN_TEXT = UTF8.encode("NaN");
const INFINITY = UTF8.encode("Infinity");
const MINUS_INFINITY = UTF8.encode("-Infinity");

/** Whether the double with this upper half of its 64 bits is NaN or infinite. */
export function isNonFinite(high: number): boolean {
  return (high & EXPONENT) === EXPONENT;
}

/**
 * What stands in OTLP for a double that is NaN or infinite, given as the halves of its 64 bits: a string, as JSON's
 * mapping of protobuf names it. JSON has no number for it. The Collector's translator to Zipkin fails on one in an
 * event or a link, and leaves an array empty that holds one; Jaeger's API fails on the trace that holds one.
 */
export function nonFiniteText(low: number, high: number): Uint8Array {
  if ((high & FRACTION) !== 0 || low !== 0) return NAN_TEXT;
  return high < 0 || high > 0x7fff_ffff ? MINUS_INFINITY : INFINITY;
}

/**
 * Refuses a span whose trace ID or span ID has no bit set, which OpenTelemetry's specification calls invalid. The
 * Collector's translator to Zipkin refuses the whole batch for it.
 *
 * @param bits all bits of the ID, put together with `|`.
 * @param offset where the ID is in the payload.
 */
export function checkId(bits: number, name: "trace ID" | "span ID", offset: number): void {
  if (bits === 0) throw new WireError("invalid-value", offset, `an all-zero ${name}`);
}
