import { isUtf8 } from "node:buffer";
import { characterStart, isContinuationByte } from "../base/utf8-cut.ts";

/** A text of at least so many bytes is checked by the runtime, which is twenty times as fast but does not say where. */
const LONG_BYTES = 4096;
/** How much of it is checked at once, bytes. */
const PIECE_BYTES = 64 * 1024;

/**
 * How many bytes the UTF-8 sequence that begins at `buffer[at]` takes, 1 to 4; 0 where it is none that Unicode allows
 * (a stray or missing continuation byte, an overlong form, a surrogate, a code point above U+10FFFF) or where it does
 * not end before `end`.
 *
 * Specification: the Unicode Standard, table 3-7 "Well-Formed UTF-8 Byte Sequences", as Rust's `str::from_utf8` has it.
 */
export function utf8SequenceLength(buffer: Uint8Array, at: number, end: number): number {
  const lead = buffer[at] as number;
  if (lead < 0x80) return 1;
  // 0x80 … 0xbf only continue a sequence, 0xc0 and 0xc1 could only begin an overlong one.
  if (lead < 0xc2) return 0;
  const available = end - at;
  if (lead < 0xe0) return available >= 2 && isContinuationByte(buffer[at + 1] as number) ? 2 : 0;
  if (lead < 0xf0) {
    if (available < 3) return 0;
    const second = buffer[at + 1] as number;
    // Below U+0800 is overlong; U+D800 … U+DFFF are surrogates.
    const lowest = lead === 0xe0 ? 0xa0 : 0x80;
    const highest = lead === 0xed ? 0x9f : 0xbf;
    return second >= lowest && second <= highest && isContinuationByte(buffer[at + 2] as number) ? 3 : 0;
  }
  if (lead > 0xf4 || available < 4) return 0;
  const second = buffer[at + 1] as number;
  // Below U+10000 is overlong; above U+10FFFF is nothing.
  const lowest = lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xf4 ? 0x8f : 0xbf;
  return second >= lowest && second <= highest && isContinuationByte(buffer[at + 2] as number) &&
      isContinuationByte(buffer[at + 3] as number)
    ? 4
    : 0;
}

/** The offset of the first byte of `buffer[start … end)` that begins no UTF-8 sequence; -1 where all of it is UTF-8. */
export function invalidUtf8At(buffer: Uint8Array, start: number, end: number): number {
  let at = start;
  while (end - at >= LONG_BYTES) {
    const pieceEnd = characterStart(buffer, at + PIECE_BYTES, at, end);
    if (!isUtf8(buffer.subarray(at, pieceEnd))) break;
    at = pieceEnd;
  }
  while (at < end) {
    if ((buffer[at] as number) < 0x80) {
      at++;
      continue;
    }
    const length = utf8SequenceLength(buffer, at, end);
    if (length === 0) return at;
    at += length;
  }
  return -1;
}
