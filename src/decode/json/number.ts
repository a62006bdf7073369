import { CLOSE_BRACE, CLOSE_BRACKET, COMMA, MINUS, PLUS, POINT, ZERO } from "./characters.ts";
import { isDigit, type JsonInput } from "./input.ts";
import { scaled } from "./scaled-double.ts";

/** Digits that 32 bits, and a step of {@link productHigh}, can take. */
const CHUNK_DIGITS = 9;
const BILLION = 1_000_000_000;
/** The halves of a billion, for products of 16 by 16 bits. */
const BILLION_HIGH = BILLION >>> 16;
const BILLION_LOW = BILLION & 0xffff;
/** Digits of 2^64 - 1 and of 2^128 - 1. */
const MAX_DIGITS_64 = 20;
const MAX_DIGITS_128 = 39;
/** 2^64 - 1 is 18,446,744,073 billions, here as two halves, and a rest. */
const MAX_BILLIONS_HIGH = 4;
const MAX_BILLIONS_LOW = 1_266_874_889;
const MAX_REST = 709_551_615;
/** The sign bit: with it turned over, a comparison of signed numbers is one of unsigned numbers. */
const SIGN = 1 << 31;

/** Digits that any double holds exactly: 10^15 < 2^53. */
const EXACT_DIGITS = 15;
/** The powers of ten that a double holds exactly. */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const MAX_EXACT_POWER = POWERS_OF_TEN.length - 1;

/** Rust writes no double with more digits than 17, and a runtime is fast with up to 19, which fit 64 bits. */
const MOST_FAST_DIGITS = 19;
/**
 * How many doubles of one payload may have more: a few, and one for so many bytes. If they are next to the middle of
 * two doubles, the runtime has to compute with integers of a thousand bits.
 */
const FEW_LONG_DOUBLES = 32;
const BYTES_PER_LONG_DOUBLE = 64;

// Integers are read as serde_json reads them into Rust's integer types: digits only, no leading zero, no `-0`; a
// fraction or an exponent makes a number a float, whatever its value. All throw `invalid-value` for anything else.
//
// 64 bits and more are put together from 32-bit integers: JavaScript engines are slow to make an integer of a double
// that is beyond 2^31, and BigInts are allocated.

/** Reads an integer of one digit, as most are, if that is next; else -1, and nothing has been read. */
function oneDigit(input: JsonInput): number {
  const { bytes, at } = input;
  const digit = (bytes[at] as number) - ZERO;
  if (digit < 0 || digit > 9) return -1;
  const next = bytes[at + 1];
  if (next !== COMMA && next !== CLOSE_BRACKET && next !== CLOSE_BRACE) return -1;
  input.at = at + 1;
  return digit;
}

/** Reads an unsigned integer of at most `max`, which is from 9 to 2^53. */
export function readUint(input: JsonInput, max: number): number {
  const digit = oneDigit(input);
  if (digit >= 0) return digit;
  const first = (input.peek(), input.at);
  const bytes = input.bytes;
  let at = first;
  let value = 0;
  for (
    let byte = bytes[at] as number;
    isDigit(byte) && value <= max;
    byte = bytes[++at] as number
  ) {
    value = value * 10 + byte - ZERO;
  }
  if (value > max) throw input.error("invalid-value", `a number over ${max}`);
  input.at = at;
  checkInteger(input, first);
  return value;
}

/** Reads a u64 into `input.high` and `input.low`. */
export function readUint64(input: JsonInput): void {
  const digit = oneDigit(input);
  if (digit >= 0) {
    input.high = 0;
    input.low = digit;
    return;
  }
  const digits = measureDigits(input);
  const at = input.at;
  input.at = at + digits;
  if (digits <= CHUNK_DIGITS) {
    input.high = 0;
    input.low = parseDigits(input, at, digits);
    return;
  }
  const tail = input.at - CHUNK_DIGITS;
  const rest = parseDigits(input, tail, CHUNK_DIGITS);
  let low;
  let high = 0;
  if (digits <= 2 * CHUNK_DIGITS) low = parseDigits(input, at, digits - CHUNK_DIGITS);
  else {
    const billions = parseDigits(input, tail - CHUNK_DIGITS, CHUNK_DIGITS);
    // More than 20 digits are too many, and so is what their first two would be here.
    const top = digits > MAX_DIGITS_64 ? 99 : parseDigits(input, at, digits - 2 * CHUNK_DIGITS);
    low = (Math.imul(top, BILLION) + billions) | 0;
    high = productHigh(top, billions);
  }
  if (!setBillions(input, high, low, rest)) {
    throw input.error("invalid-value", "a number over 2^64 - 1", at);
  }
}

/**
 * Sets `input.high` and `input.low` to 10^9 times the 64-bit number `high`, `low`, plus `rest`, which is below 10^9;
 * false where that does not fit 64 bits.
 */
export function setBillions(input: JsonInput, high: number, low: number, rest: number): boolean {
  // Above this `high` would be negative, or more than fits.
  if ((high >>> 0) > MAX_BILLIONS_HIGH) return false;
  if (high === MAX_BILLIONS_HIGH) {
    const order = (low ^ SIGN) - (MAX_BILLIONS_LOW ^ SIGN);
    if (order > 0 || (order === 0 && rest > MAX_REST)) return false;
  }
  input.high = (Math.imul(high, BILLION) + productHigh(low, rest)) | 0;
  input.low = (Math.imul(low, BILLION) + rest) | 0;
  return true;
}

/** Reads an i64 into `input.high` and `input.low`, the halves of its two's complement. */
export function readInt64(input: JsonInput): void {
  if (input.peek() !== MINUS) {
    const start = input.at;
    readUint64(input);
    if (input.high < 0) throw input.error("invalid-value", "a number over 2^63 - 1", start);
    return;
  }
  const start = input.at++;
  // No white space follows the sign.
  if (!isDigit(input.bytes[input.at] as number)) {
    throw input.error("invalid-value", "a digit expected");
  }
  readUint64(input);
  const { high, low } = input;
  if (high < 0 && (high !== SIGN || low !== 0)) {
    throw input.error("invalid-value", "a number below -2^63", start);
  }
  // serde_json takes -0 for a float.
  if (high === 0 && low === 0) throw input.error("invalid-value", "-0 is not an integer", start);
  input.low = -low | 0;
  input.high = low === 0 ? -high | 0 : ~high;
}

/** Reads a u128 and writes it, big endian, at `view[at … at + 16)`. */
export function readUint128(input: JsonInput, view: DataView, at: number): void {
  const digit = oneDigit(input);
  if (digit >= 0) {
    for (let word = 0; word < 12; word += 4) view.setInt32(at + word, 0);
    view.setInt32(at + 12, digit);
    return;
  }
  const digits = measureDigits(input);
  const start = input.at;
  const end = start + digits;
  // The first chunk may be short; each one that follows is added to what is there times a billion, from d to a.
  const head = digits % CHUNK_DIGITS;
  let d = parseDigits(input, start, head);
  let c = 0;
  let b = 0;
  let a = 0;
  let carry = digits > MAX_DIGITS_128 ? 1 : 0;
  for (let chunk = start + head; chunk < end && carry === 0; chunk += CHUNK_DIGITS) {
    const rest = parseDigits(input, chunk, CHUNK_DIGITS);
    carry = productHigh(d, rest);
    d = (Math.imul(d, BILLION) + rest) | 0;
    if (carry === 0 && (c | b | a) === 0) continue;
    let next = productHigh(c, carry);
    c = (Math.imul(c, BILLION) + carry) | 0;
    carry = productHigh(b, next);
    b = (Math.imul(b, BILLION) + next) | 0;
    next = productHigh(a, carry);
    a = (Math.imul(a, BILLION) + carry) | 0;
    carry = next;
  }
  if (carry !== 0) throw input.error("invalid-value", "a number over 2^128 - 1");
  input.at = end;
  view.setInt32(at, a);
  view.setInt32(at + 4, b);
  view.setInt32(at + 8, c);
  view.setInt32(at + 12, d);
}

/** The upper 32 bits of `factor` · 10^9 + `carry`, for an unsigned factor of 32 bits and a carry below 10^9. */
function productHigh(factor: number, carry: number): number {
  const low = factor & 0xffff;
  const high = factor >>> 16;
  const lowLow = Math.imul(low, BILLION_LOW);
  const highLow = Math.imul(high, BILLION_LOW);
  const lowHigh = Math.imul(low, BILLION_HIGH);
  const middle = (lowLow >>> 16) + (highLow & 0xffff) + (lowHigh & 0xffff);
  const sum = (Math.imul(factor, BILLION) + carry) | 0;
  return Math.imul(high, BILLION_HIGH) + (highLow >>> 16) + (lowHigh >>> 16) + (middle >>> 16) +
    ((sum ^ SIGN) < (carry ^ SIGN) ? 1 : 0);
}

/**
 * Reads a number into the nearest double, as Rust and JavaScript do. One that is nearest to infinity is
 * `invalid-value`, as in serde_json. `-0` is negative zero.
 */
export function readDouble(input: JsonInput): number {
  const first = input.peek();
  if (first !== MINUS && !isDigit(first)) throw input.error("invalid-value", "a number expected");
  const short = shortDouble(input);
  if (!Number.isNaN(short)) return short;
  const start = input.at;
  input.skipNumber();
  if (input.at - start > MOST_FAST_DIGITS) checkLongDouble(input, start);
  // The runtime takes several times as long.
  const value = Number(input.textSince(start));
  if (value === Infinity || value === -Infinity) {
    throw input.error("invalid-value", "a number beyond the range of doubles", start);
  }
  return value;
}

/** Refuses one long double too many: it is between `start` and `input.at`. */
function checkLongDouble(input: JsonInput, start: number): void {
  let digits = 0;
  for (let at = start; at < input.at; at++) {
    const byte = input.bytes[at] as number;
    // 'e' or 'E'.
    if ((byte | 0x20) === 0x65) break;
    if (isDigit(byte)) digits++;
  }
  if (digits <= MOST_FAST_DIGITS) return;
  if (++input.longDoubles <= Math.max(FEW_LONG_DOUBLES, input.end / BYTES_PER_LONG_DOUBLE)) return;
  throw input.error("too-large", `too many numbers of more than ${MOST_FAST_DIGITS} digits`, start);
}

/**
 * Reads a number of few digits. Its digits and a power of ten up to 10^22 are doubles, so that their product or
 * quotient, rounded once, is the nearest there is (Clinger 1990). So are its digits followed by zeros, up to 15 in all,
 * for powers beyond that: what is exactly halfway between two doubles, as 1e23 is, is one of these. Other powers are
 * left to {@link scaled}.
 *
 * NaN for any other number and for what is not well-formed, of which nothing has been read.
 */
function shortDouble(input: JsonInput): number {
  const { bytes } = input;
  const start = input.at;
  const negative = bytes[start] === MINUS;
  const first = negative ? start + 1 : start;
  let at = first;
  let mantissa = 0;
  let byte = bytes[at] as number;
  while (isDigit(byte)) {
    mantissa = mantissa * 10 + byte - ZERO;
    byte = bytes[++at] as number;
  }
  const whole = at - first;
  let decimals = 0;
  if (byte === POINT) {
    const point = at;
    byte = bytes[++at] as number;
    while (isDigit(byte)) {
      mantissa = mantissa * 10 + byte - ZERO;
      byte = bytes[++at] as number;
    }
    decimals = at - point - 1;
    if (decimals === 0) return NaN;
  }
  if (whole === 0 || whole + decimals > EXACT_DIGITS || (whole > 1 && bytes[first] === ZERO)) return NaN;
  let power = -decimals;
  // 'e' or 'E'.
  if ((byte | 0x20) === 0x65) {
    const sign = bytes[++at];
    if (sign === MINUS || sign === PLUS) at++;
    const digits = at;
    let exponent = 0;
    for (byte = bytes[at] as number; isDigit(byte); byte = bytes[++at] as number) {
      exponent = exponent * 10 + byte - ZERO;
    }
    if (at === digits) return NaN;
    power += sign === MINUS ? -exponent : exponent;
  }
  let value = mantissa;
  const zeros = power - MAX_EXACT_POWER;
  if (zeros > 0 && zeros <= EXACT_DIGITS - whole - decimals) {
    value = mantissa * (POWERS_OF_TEN[zeros] as number) * (POWERS_OF_TEN[MAX_EXACT_POWER] as number);
  } else if (power < -MAX_EXACT_POWER || power > MAX_EXACT_POWER) value = scaled(mantissa, power);
  else if (power < 0) value = mantissa / (POWERS_OF_TEN[-power] as number);
  else if (power > 0) value = mantissa * (POWERS_OF_TEN[power] as number);
  if (!Number.isNaN(value)) input.at = at;
  return negative ? -value : value;
}

/** Goes to an unsigned integer and returns how many digits it has, at least one. */
function measureDigits(input: JsonInput): number {
  const start = (input.peek(), input.at);
  const view = input.view;
  const bytes = input.bytes;
  let at = start;
  // Four at a time: each byte of `word` is a digit's value unless its top bit, or that of the sum, is set.
  for (;;) {
    const word = view.getInt32(at, true) ^ 0x30303030;
    if (((word | (word + 0x76767676)) & 0x80808080) !== 0) break;
    at += 4;
  }
  while (isDigit(bytes[at] as number)) at++;
  input.at = at;
  checkInteger(input, start);
  input.at = start;
  return at - start;
}

/** Whether what lies between `start` and `input.at` are the digits of an integer. */
function checkInteger(input: JsonInput, start: number): void {
  const digits = input.at - start;
  const next = input.bytes[input.at] as number;
  // '.', 'e' and 'E'.
  if (digits === 0 || next === POINT || (next | 0x20) === 0x65) {
    throw input.error("invalid-value", "an integer expected");
  }
  if (digits > 1 && input.bytes[start] === ZERO) {
    throw input.error("invalid-value", "a number begins with 0", start);
  }
}

/** The value of at most {@link CHUNK_DIGITS} digits. */
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
