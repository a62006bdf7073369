// Where things lie in the module's memory, which never grows. The module has no other data, so nothing is allocated.

/** Four u32 for the caller: where the span and the resource begin and end in the memory. */
export const RESULT: usize = 0;
/** The powers of ten that fit 64 bits, 20 u64. */
export const POWERS: usize = 64;
/** The bits that the fingerprints have set, u64. */
export const PRINT_BITS: usize = 248;
/** Fingerprints of the keys of the map that is being read, u64 each. */
export const PRINTS: usize = 256;
/** For each byte whose bits are bytes to drop: the eight indexes that close the gaps. */
export const SHUFFLES: usize = 1024;
/** What the letter behind a backslash stands for; 0 for one that needs more than a table. */
export const ESCAPES: usize = 3072;
/** At an offset of 16 - n, a vector whose first n bytes are 0xff and the others 0. */
export const KEY_MASKS: usize = 3328;
/** At an offset of n up to 16, a vector whose last n bytes are 0x0f and the others 0. */
export const DIGIT_MASKS: usize = 3360;
/** For each of OTLP's messages, the fields that have a tag of one byte, by that byte, u32 each: see `otlp.ts`. */
export const FIELDS: usize = 4096;
/** For each of these messages, the numbers of its fields, and of those that have to be there, as bits of an u32. */
export const KNOWN: usize = 12_288;
export const REQUIRED: usize = 12_352;
/** What becomes of the payload. */
export const OUTPUT: usize = 16_384;
/** The largest payload, bytes. */
export const MOST_INPUT: usize = 512 * 1024;
/** By how much the output of the largest payload may be ahead of twice the input that has been read; see `isTooLong`. */
export const MOST_AHEAD: usize = 2048;
/** Bytes behind the output and the input that writes and reads of whole vectors may touch. */
const SLACK: usize = 2048;
/** The payload. */
export const INPUT: usize = OUTPUT + 2 * MOST_INPUT + MOST_AHEAD + SLACK;
/** So many spans of one payload are described, and where: six u32 each. The smallest has tag, length, and two IDs. */
export const MOST_SPANS: usize = MOST_INPUT / 30;
export const RANGES: usize = INPUT + MOST_INPUT + SLACK;
/** How many bytes describe a span there: where it, its scope and its resource begin and end. */
export const RANGES_STRIDE: usize = 24;

export function initialize(): void {
  let power: u64 = 1;
  for (let exponent: usize = 0; exponent < 20; exponent++) {
    store<u64>(POWERS + (exponent << 3), power);
    power *= 10;
  }
  for (let dropped: usize = 0; dropped < 256; dropped++) {
    let kept = SHUFFLES + (dropped << 3);
    for (let byte: u8 = 0; byte < 8; byte++) {
      if (((dropped >> byte) & 1) == 0) store<u8>(kept++, byte);
    }
  }
  v128.store(KEY_MASKS, i8x16.splat(-1));
  v128.store(DIGIT_MASKS, i8x16.splat(0x0f), 16);
  store<u8>(ESCAPES + 0x22, 0x22);
  store<u8>(ESCAPES + 0x5c, 0x5c);
  store<u8>(ESCAPES + 0x2f, 0x2f);
  store<u8>(ESCAPES + 0x62, 0x08);
  store<u8>(ESCAPES + 0x66, 0x0c);
  store<u8>(ESCAPES + 0x6e, 0x0a);
  store<u8>(ESCAPES + 0x72, 0x0d);
  store<u8>(ESCAPES + 0x74, 0x09);
}
