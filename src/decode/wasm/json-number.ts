import { at, giveUp, moveTo } from "./cursor";
import { POWERS } from "./memory";

const ZERO: u64 = 0x30;
const POINT: u8 = 0x2e;
const MINUS: u8 = 0x2d;
/** 2^64 - 1 without its last four digits, and these. */
const MAX_HEAD: u64 = 1844674407370955;
const MAX_TAIL: u64 = 1615;
/** Digits of 2^128 - 1. */
const MAX_DIGITS_128: u32 = 39;
const BILLION: u64 = 1_000_000_000;
/** The last second whose nanoseconds all fit 64 bits. */
const LAST_SECOND: u64 = 18_446_744_072;
/** Digits that any double holds exactly: 10^15 < 2^53. */
const EXACT_DIGITS: u32 = 15;

/** How many of the eight bytes, from the lowest on, are digits. */
function leadingDigits(bytes: u64): u32 {
  const digits = bytes ^ 0x3030303030303030;
  // The lowest bit that is set is exact; a sum may carry into the bytes above it.
  const others = (digits | (digits + 0x7676767676767676)) & 0x8080808080808080;
  return <u32> (ctz(others) >> 3);
}

/** The number that eight digits are, the lowest byte being the first of them. Bytes of zero count as the digit 0. */
function eightDigits(bytes: u64): u64 {
  bytes &= 0x0f0f0f0f0f0f0f0f;
  bytes = (bytes * 10 + (bytes >> 8)) & 0x00ff00ff00ff00ff;
  bytes = (bytes * 100 + (bytes >> 16)) & 0x0000ffff0000ffff;
  return (bytes * 10_000 + (bytes >> 32)) & 0xffffffff;
}

/** The same of the first `count` of them, at least one. */
function fewDigits(bytes: u64, count: u32): u64 {
  return eightDigits(bytes << (64 - (count << 3)));
}

function powerOfTen(exponent: u32): u64 {
  return load<u64>(POWERS + (<usize> exponent << 3));
}

// What reads a number takes where it begins, and leaves the cursor behind it.

/** Reads digits without a leading zero that are at most 2^64 - 1. */
export function readU64(from: usize): u64 {
  let bytes = load<u64>(from);
  let digits = leadingDigits(bytes);
  if ((bytes & 0xff) == ZERO) {
    moveTo(from + 1);
    if (digits > 1) giveUp();
    return 0;
  }
  if (digits < 8) {
    moveTo(from + digits);
    if (digits == 0) {
      giveUp();
      return 0;
    }
    return fewDigits(bytes, digits);
  }
  let value = eightDigits(bytes);
  bytes = load<u64>(from, 8);
  digits = leadingDigits(bytes);
  if (digits < 8) {
    moveTo(from + 8 + digits);
    return digits == 0 ? value : value * powerOfTen(digits) + fewDigits(bytes, digits);
  }
  value = value * 100_000_000 + eightDigits(bytes);
  bytes = load<u64>(from, 16);
  digits = leadingDigits(bytes);
  moveTo(from + 16 + digits);
  if (digits == 0) return value;
  const tail = fewDigits(bytes, digits);
  if (digits > 4 || (digits == 4 && (value > MAX_HEAD || (value == MAX_HEAD && tail > MAX_TAIL)))) giveUp();
  return value * powerOfTen(digits) + tail;
}

/** A number of nine or ten digits, without a leading zero. Leaves the cursor where it is. */
export function usualDigits(from: usize, digits: usize): u64 {
  const bytes = load<u64>(from);
  const last = load<u64>(from + digits - 8);
  const isWrong = leadingDigits(bytes) < 8 || leadingDigits(last) < 8 || (bytes & 0xff) == ZERO;
  if (isWrong) giveUp();
  // Bytes of zero in front of the last one or two.
  const rest = last & (<u64> -1 << (<u64> (16 - digits) << 3));
  return eightDigits(bytes) * powerOfTen(<u32> digits - 8) + eightDigits(rest);
}

/** Reads a number of at most `most`. */
export function readUint(from: usize, most: u64): u64 {
  const value = readU64(from);
  if (value > most) giveUp();
  return value;
}

/** Reads an i64: its two's complement. */
export function readI64(from: usize): u64 {
  const isNegative = load<u8>(from) == MINUS;
  const value = readU64(isNegative ? from + 1 : from);
  if (!isNegative) {
    if (value >> 63 != 0) giveUp();
    return value;
  }
  // -0 is not an integer.
  if (value == 0 || value > 0x8000000000000000) giveUp();
  return 0 - value;
}

/** Reads a u128 without a leading zero, and writes its 16 bytes, the highest first. */
export function readU128(from: usize, to: usize): void {
  let low: u64 = 0;
  let lowMiddle: u64 = 0;
  let highMiddle: u64 = 0;
  let high: u64 = 0;
  let total: u32 = 0;
  if (<u64> load<u8>(from) == ZERO) giveUp();
  let digits: u32;
  do {
    const bytes = load<u64>(from);
    digits = leadingDigits(bytes);
    if (digits > 0) {
      const factor = powerOfTen(digits);
      low = low * factor + fewDigits(bytes, digits);
      lowMiddle = lowMiddle * factor + (low >> 32);
      highMiddle = highMiddle * factor + (lowMiddle >> 32);
      high = high * factor + (highMiddle >> 32);
      low &= 0xffffffff;
      lowMiddle &= 0xffffffff;
      highMiddle &= 0xffffffff;
      from += digits;
      total += digits;
    }
  } while (digits == 8 && total <= MAX_DIGITS_128);
  if (total == 0 || total > MAX_DIGITS_128 || high >> 32 != 0) giveUp();
  moveTo(from);
  store<u64>(to, bswap<u64>((high << 32) | highMiddle));
  store<u64>(to, bswap<u64>((lowMiddle << 32) | low), 8);
}

/** Nanoseconds since 1970 of seconds and nanoseconds below a second. */
export function nanoseconds(seconds: u64, rest: u64): u64 {
  if (seconds > LAST_SECOND || rest >= BILLION) giveUp();
  return seconds * BILLION + rest;
}

/**
 * Reads a double of few digits and without an exponent. Its digits and the power of ten are doubles, so their quotient,
 * rounded once, is the nearest there is (Clinger 1990).
 */
export function readF64(from: usize): f64 {
  const isNegative = load<u8>(from) == MINUS;
  const first = isNegative ? from + 1 : from;
  let value = readU64(first);
  let digits = <u32> (at - first);
  let decimals: u32 = 0;
  if (load<u8>(at) == POINT) {
    const point = at + 1;
    // As a number of their own the decimals may begin with zeros.
    let bytes = load<u64>(point);
    decimals = leadingDigits(bytes);
    if (decimals == 0) giveUp();
    else {
      value = value * powerOfTen(decimals) + fewDigits(bytes, decimals);
      if (decimals == 8) {
        bytes = load<u64>(point, 8);
        const more = leadingDigits(bytes);
        if (more > 0) value = value * powerOfTen(more) + fewDigits(bytes, more);
        decimals += more;
      }
    }
    moveTo(point + decimals);
  }
  digits += decimals;
  if (digits > EXACT_DIGITS) giveUp();
  const double = <f64> value / <f64> powerOfTen(decimals);
  return isNegative ? -double : double;
}
