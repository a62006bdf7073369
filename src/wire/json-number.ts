import { isDigit, type JsonInput } from "./json-input.ts";

/** Digits that any double holds exactly: 10^15 < 2^53. */
const EXACT_DIGITS = 15;
/** Digits that a 32-bit half can be multiplied by in a double without rounding: 2^32 · 10^6 < 2^53. */
const CHUNK_DIGITS = 6;
const CHUNK = 1e6;
const TWO_32 = 0x1_0000_0000;
const TWO_31 = 0x8000_0000;
/** Digits of 2^64 - 1 and of 2^128 - 1. */
const MAX_DIGITS_64 = 20;
const MAX_DIGITS_128 = 39;

const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;

/** The powers of ten that a double holds exactly. */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const MAX_EXACT_POWER = POWERS_OF_TEN.length - 1;

const ascii = new TextDecoder("latin1");

/**
 * Integers as serde_json reads them into Rust's integer types: digits only, no leading zero, no `-0`; a fraction or an
 * exponent makes a number a float, whatever its value. All throw `invalid-value` for anything else.
 */

/** Reads an unsigned integer of at most `max`, which is below 10^15. */
export function readUint(input: JsonInput, max: number): number {
  const digits = measureDigits(input);
  const value = digits <= EXACT_DIGITS ? parseDigits(input, input.at, digits) : Infinity;
  if (value > max) throw input.error("invalid-value", `a number over ${max}`);
  input.at += digits;
  return value;
}

/** Reads a u64 into `input.high` and `input.low`, unsigned halves. */
export function readUint64(input: JsonInput): void {
  readMagnitude(input);
}

/** Reads an i64 into `input.high` and `input.low`, the halves of its two's complement. */
export function readInt64(input: JsonInput): void {
  if (input.peek() !== MINUS) {
    const start = input.at;
    readMagnitude(input);
    if (input.high >= TWO_31) throw input.error("invalid-value", "a number over 2^63 - 1", start);
    return;
  }
  const start = input.at++;
  // Only white space can precede a number, not follow its sign.
  if (!isDigit(input.bytes[input.at] as number)) {
    throw input.error("invalid-value", "digit expected");
  }
  readMagnitude(input);
  const { high, low } = input;
  if (high > TWO_31 || (high === TWO_31 && low !== 0)) {
    throw input.error("invalid-value", "a number below -2^63", start);
  }
  // serde_json takes -0 for a float.
  if (high === 0 && low === 0) throw input.error("invalid-value", "-0 is no integer", start);
  input.low = -low | 0;
  input.high = low === 0 ? -high | 0 : ~high;
}

/** Reads a u128 and writes it, big endian, at `view[at … at + 16)`. */
export function readUint128(input: JsonInput, view: DataView, at: number): void {
  const digits = measureDigits(input);
  if (digits > MAX_DIGITS_128) throw input.error("invalid-value", "a number over 2^128 - 1");
  const end = input.at + digits;
  let position = input.at;
  let length = headLength(digits);
  const head = parseDigits(input, position, length);
  let d = 0;
  let c = 0;
  let b = Math.floor(head / TWO_32);
  let a = head - b * TWO_32;
  for (position += length, length = CHUNK_DIGITS; position < end; position += CHUNK_DIGITS) {
    a = a * CHUNK + parseDigits(input, position, CHUNK_DIGITS);
    let carry = Math.floor(a / TWO_32);
    a -= carry * TWO_32;
    b = b * CHUNK + carry;
    carry = Math.floor(b / TWO_32);
    b -= carry * TWO_32;
    c = c * CHUNK + carry;
    carry = Math.floor(c / TWO_32);
    c -= carry * TWO_32;
    d = d * CHUNK + carry;
  }
  if (d >= TWO_32) throw input.error("invalid-value", "a number over 2^128 - 1");
  input.at = end;
  view.setUint32(at, d);
  view.setUint32(at + 4, c);
  view.setUint32(at + 8, b);
  view.setUint32(at + 12, a);
}

/**
 * Reads a number into the nearest double, as Rust and JavaScript do. One that is nearest to infinity is `invalid-value`,
 * as in serde_json. `-0` is negative zero.
 */
export function readDouble(input: JsonInput): number {
  const first = input.peek();
  if (first !== MINUS && !isDigit(first)) throw input.error("invalid-value", "a number expected");
  const start = input.at;
  const digits = input.skipNumber();
  const value = digits <= EXACT_DIGITS
    ? shortDouble(input, start)
    : Number(ascii.decode(input.bytes.subarray(start, input.at)));
  if (value === Infinity || value === -Infinity) {
    throw input.error("invalid-value", "a number beyond the range of doubles", start);
  }
  return value;
}

/**
 * The double of a well-formed number of few digits from `start` to `input.at`. Its digits and a power of ten up to
 * 10^22 are doubles, so that their product or quotient, rounded once, is the nearest there is (Clinger 1990).
 */
function shortDouble(input: JsonInput, start: number): number {
  const bytes = input.bytes;
  const end = input.at;
  let at = start;
  const negative = bytes[at] === MINUS;
  if (negative) at++;
  let mantissa = 0;
  let exponent = 0;
  for (; at < end && isDigit(bytes[at] as number); at++) {
    mantissa = mantissa * 10 + (bytes[at] as number) - ZERO;
  }
  if (at < end && bytes[at] === POINT) {
    for (at++; at < end && isDigit(bytes[at] as number); at++, exponent--) {
      mantissa = mantissa * 10 + (bytes[at] as number) - ZERO;
    }
  }
  if (at < end || exponent < -MAX_EXACT_POWER) {
    return Number(ascii.decode(bytes.subarray(start, end)));
  }
  const value = mantissa / (POWERS_OF_TEN[-exponent] as number);
  return negative ? -value : value;
}

/** Reads an unsigned integer below 2^64 into the input's halves. */
function readMagnitude(input: JsonInput): void {
  const digits = measureDigits(input);
  const at = input.at;
  if (digits <= EXACT_DIGITS) {
    const value = parseDigits(input, at, digits);
    input.high = Math.floor(value / TWO_32);
    input.low = value >>> 0;
  } else {
    if (digits > MAX_DIGITS_64) throw input.error("invalid-value", "a number over 2^64 - 1");
    const length = digits - CHUNK_DIGITS;
    const head = parseDigits(input, at, length);
    const headHigh = Math.floor(head / TWO_32);
    const low = (head - headHigh * TWO_32) * CHUNK + parseDigits(input, at + length, CHUNK_DIGITS);
    const carry = Math.floor(low / TWO_32);
    input.high = headHigh * CHUNK + carry;
    input.low = low - carry * TWO_32;
    if (input.high >= TWO_32) throw input.error("invalid-value", "a number over 2^64 - 1");
  }
  input.at = at + digits;
}

/** How many digits come first where the rest is chunks: as many as are exact, and all where they are few. */
function headLength(digits: number): number {
  if (digits <= EXACT_DIGITS) return digits;
  return digits - Math.ceil((digits - EXACT_DIGITS) / CHUNK_DIGITS) * CHUNK_DIGITS;
}

/** Goes to an unsigned integer and returns how many digits it has, at least one. */
function measureDigits(input: JsonInput): number {
  const start = (input.peek(), input.at);
  const view = input.view;
  const bytes = input.bytes;
  let at = start;
  // Four digits at a time: each byte of `word` is a digit's value unless the sum or the byte itself has its top bit set.
  for (;;) {
    const word = view.getInt32(at, true) ^ 0x30303030;
    if (((word | (word + 0x76767676)) & 0x80808080) !== 0) break;
    at += 4;
  }
  while (isDigit(bytes[at] as number)) at++;
  const digits = at - start;
  const next = bytes[at] as number;
  // '.', 'e' and 'E'.
  if (digits === 0 || next === POINT || (next | 0x20) === 0x65) {
    throw input.error("invalid-value", "an integer expected");
  }
  if (digits > 1 && bytes[start] === ZERO) {
    throw input.error("invalid-value", "a number begins with 0");
  }
  return digits;
}

/** The value of at most {@link EXACT_DIGITS} digits. */
function parseDigits(input: JsonInput, at: number, digits: number): number {
  const bytes = input.bytes;
  const view = input.view;
  const end = at + digits;
  let value = 0;
  for (const words = at + (digits & 3); at < words; at++) {
    value = value * 10 + (bytes[at] as number) - ZERO;
  }
  for (; at < end; at += 4) {
    // Pairs of digits in bytes 0 and 2, then the pair of pairs.
    const word = view.getInt32(at, true) & 0x0f0f0f0f;
    const pairs = (word * 10 + (word >>> 8)) & 0x00ff00ff;
    value = value * 10_000 + (pairs & 0xff) * 100 + (pairs >>> 16);
  }
  return value;
}
