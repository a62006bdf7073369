import { BACKSLASH, QUOTE } from "./characters.ts";
import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { hexDigit, type JsonInput, LONG_TEXT_MARK_BYTES } from "./input.ts";
import { invalidUtf8At } from "../utf8.ts";

const FIRST_PRINTABLE = 0x20;
const FIRST_NON_ASCII = 0x80;

/** Bytes that a string may hold as they are, and that do not end it: 1; what needs a look: 0. */
const PLAIN = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < FIRST_PRINTABLE || byte === QUOTE || byte === BACKSLASH ? 0 : 1,
);

/**
 * Reads a string and appends its bytes, in UTF-8, to the output, which must have room for what is left of the input and
 * three bytes more.
 *
 * As in serde_json, control characters below U+0020 have to be escaped and surrogates to be paired; NUL may be escaped.
 * Throws `invalid-value`, and `invalid-utf8` for bytes that are not UTF-8.
 */
export function readString(input: JsonInput, output: ProtobufWriter): void {
  if (input.peek() !== QUOTE) {
    readLongText(input, output);
    return;
  }
  const source = input.view;
  const target = output.view;
  const start = output.position;
  let at = input.at + 1;
  let to = start;
  let ascii = true;
  for (;;) {
    // Four bytes at a time. In each term a byte gets its top bit where it is above ASCII, a control character, a quote
    // or a backslash; a borrow can set it in a byte that is none, but only above one that is.
    let special: number;
    for (;;) {
      const word = source.getInt32(at, true);
      target.setInt32(to, word, true);
      special = (word | (word - 0x20202020) | ((word ^ 0x22222222) - 0x01010101) |
        ((word ^ 0x5c5c5c5c) - 0x01010101)) & 0x80808080;
      if (special !== 0) break;
      at += 4;
      to += 4;
    }
    // The lowest bit set is exact; the bytes that were copied with it and after it are overwritten.
    const plain = (31 - Math.clz32(special & -special)) >>> 3;
    at += plain;
    to += plain;
    let byte = input.bytes[at] as number;
    if (byte === QUOTE) break;
    if (byte >= FIRST_NON_ASCII) {
      // Rarely alone: on to the next byte that is neither a letter of some language nor plain ASCII.
      ascii = false;
      do {
        output.buffer[to++] = byte;
        byte = input.bytes[++at] as number;
      } while (PLAIN[byte] === 1);
      if (byte === QUOTE) break;
    }
    if (byte !== BACKSLASH) {
      throw input.error("invalid-value", "a control character in a string", at);
    }
    input.at = at + 1;
    to = readEscape(input, output.buffer, to);
    at = input.at;
  }
  // Only now, for serde_json too looks at the whole: no escape can complete bytes that are cut.
  if (!ascii && invalidUtf8At(output.buffer, start, to) >= 0) {
    throw input.error("invalid-utf8", "a string is not UTF-8");
  }
  input.at = at + 1;
  output.position = to;
}

/** Appends the long text for which the mark that is next stands. */
function readLongText(input: JsonInput, output: ProtobufWriter): void {
  if (!input.isLongText) throw input.error("invalid-value", "a string expected");
  input.longTexts?.append(input.at, output);
  input.at += LONG_TEXT_MARK_BYTES;
}

/** Reads an escape from behind its backslash; writes its character to `buffer[to …)` and returns where that ends. */
function readEscape(input: JsonInput, buffer: Uint8Array, to: number): number {
  const at = input.at++;
  switch (input.bytes[at]) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f: // '/'
      buffer[to] = input.bytes[at] as number;
      return to + 1;
    case 0x62: // b
      buffer[to] = 0x08;
      return to + 1;
    case 0x66: // f
      buffer[to] = 0x0c;
      return to + 1;
    case 0x6e: // n
      buffer[to] = 0x0a;
      return to + 1;
    case 0x72: // r
      buffer[to] = 0x0d;
      return to + 1;
    case 0x74: // t
      buffer[to] = 0x09;
      return to + 1;
    case 0x75: // u
      return putCodePoint(readCodePoint(input), buffer, to);
    default:
      throw input.error("invalid-value", "an unknown escape", at);
  }
}

/** Reads a code point from behind its `\u`: four hexadecimal digits, or the two times four of a surrogate pair. */
function readCodePoint(input: JsonInput): number {
  const start = input.at;
  const unit = readCodeUnit(input);
  if (unit < 0xd800 || unit > 0xdfff) return unit;
  if (
    unit <= 0xdbff && input.bytes[input.at] === BACKSLASH && input.bytes[input.at + 1] === 0x75
  ) {
    input.at += 2;
    const low = readCodeUnit(input);
    if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
  }
  throw input.error("invalid-value", "a surrogate without its pair", start);
}

function readCodeUnit(input: JsonInput): number {
  let unit = 0;
  for (let digit = 0; digit < 4; digit++, input.at++) {
    const value = hexDigit(input.bytes[input.at] as number);
    if (value < 0) throw input.error("invalid-value", "a hexadecimal digit expected");
    unit = (unit << 4) | value;
  }
  return unit;
}

/** Writes a code point that is not a surrogate in UTF-8; returns where it ends. */
function putCodePoint(point: number, buffer: Uint8Array, to: number): number {
  if (point < 0x80) {
    buffer[to++] = point;
    return to;
  }
  if (point < 0x800) {
    buffer[to++] = 0xc0 | (point >> 6);
  } else {
    if (point < 0x10000) {
      buffer[to++] = 0xe0 | (point >> 12);
    } else {
      buffer[to++] = 0xf0 | (point >> 18);
      buffer[to++] = 0x80 | ((point >> 12) & 0x3f);
    }
    buffer[to++] = 0x80 | ((point >> 6) & 0x3f);
  }
  buffer[to++] = 0x80 | (point & 0x3f);
  return to;
}
