import { decodeBincodeSpan } from "./bincode";
import { ZEROS } from "./cursor";
import { decodeJsonSpan } from "./json";
import { INPUT, MOST_SPANS, OUTPUT, RANGES, RANGES_STRIDE, RESULT } from "./memory";
import { FIELD_PREFIX } from "./output";

// Payloads, one at a time or with all that follow it in the same chunk.

/** What a frame has before its payload: the payload's length, big endian. */
const HEADER: usize = 8;
/** What a span whose length takes two bytes has before its fields: its tag and that. */
const USUAL_PREFIX: usize = 3;

/** See `decodeJsonSpan`. */
export function decodeJson(length: usize): bool {
  return decodeJsonSpan(INPUT, length, OUTPUT + FIELD_PREFIX);
}

/** See `decodeBincodeSpan`. */
export function decodeBincode(length: usize): bool {
  return decodeBincodeSpan(INPUT, length, OUTPUT + FIELD_PREFIX);
}

/**
 * Decodes frames that follow each other in the `length` bytes of the input, with a span each, up to the first that is
 * not usual. Returns how many were decoded. They are described as the spans of a request are, and mostly follow each
 * other in the output; `RESULT` has where that ends.
 */
export function decodeFrames(length: usize, isJson: bool): usize {
  if (ZEROS != 64) ERROR("as many bytes must be saved as the decoder overwrites");
  const stop = INPUT + length;
  let from = INPUT;
  // The byte before it is saved like any other.
  let to = OUTPUT + 1;
  let ranges = RANGES;
  let count: usize = 0;
  for (; count < MOST_SPANS && from + HEADER <= stop; count++) {
    const payload = from + HEADER;
    const payloadBytes = bswap<u64>(load<u64>(from));
    if (payloadBytes > <u64> (stop - payload)) break;
    from = payload + <usize> payloadBytes;
    // What the decoder overwrites: behind the payload, and, if the span is very long, the last byte of the one before.
    const next0 = v128.load(from);
    const next1 = v128.load(from, 16);
    const next2 = v128.load(from, 32);
    const next3 = v128.load(from, 48);
    const before = load<u8>(to - 1);
    const isSpan = isJson
      ? decodeJsonSpan(payload, <usize> payloadBytes, to + USUAL_PREFIX)
      : decodeBincodeSpan(payload, <usize> payloadBytes, to + USUAL_PREFIX);
    v128.store(from, next0);
    v128.store(from, next1, 16);
    v128.store(from, next2, 32);
    v128.store(from, next3, 48);
    const start: usize = load<u32>(RESULT);
    if (!isSpan || start < to) {
      store<u8>(to - 1, before);
      break;
    }
    to = load<u32>(RESULT, 12);
    store<u64>(ranges, load<u64>(RESULT));
    store<u64>(ranges, 0, 8);
    // Most spans have no resource. All of these get the same empty range, so that they can be copied together.
    const resource = load<u64>(RESULT, 8);
    store<u64>(ranges, <u32> resource == <u32> to ? 0 : resource, 16);
    ranges += RANGES_STRIDE;
  }
  store<u32>(RESULT, <u32> to, 4);
  return count;
}
