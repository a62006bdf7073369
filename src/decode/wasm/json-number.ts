import { at, giveUp, moveTo } from "./cursor";
import { DIGIT_MASKS, POWERS } from "./memory";
import { storeBigEndian } from "./output";

const ZERO: u64 = 0x30;
const POINT: u8 = 0x2e;
const MINUS: u8 = 0x2d;
/** 2^64 - 1 without its last four digits, and these. */
const MAX_HEAD: u64 = 1844674407370955;
const MAX_TAIL: u64 = 1615;
/** Digits of 2^128 - 1. */
const MAX_DIGITS_128: u32 = 39;
const TEN_TO_16: u64 = 10_000_000_000_000_000;
/** The upper half of the largest number of 32 digits that may be followed by seven: 2^64 / 10^7. */
const MAX_HIGH_OF_32: u64 = 1_844_674_407_370;
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

// Functions with vectors are so small that the compiler inlines them: engines pass vectors in memory.

/** The value of each of 16 bytes as a digit; more than 9 if the byte is not a digit. */
function digitsOf(bytes: v128): v128 {
  return v128.xor(bytes, i8x16.splat(<i8> ZERO));
}

/** A bit for each byte that is more than 9. */
function notDigits(digits: v128): u32 {
  return <u32> i8x16.bitmask(i8x16.add_sat_u(digits, i8x16.splat(0x76)));
}

/** The two numbers that 16 digits are, eight each; the first one is in the lower half. */
function twoEights(digits: v128): u64 {
  // Pairs: the lower byte comes first, so 10 times this one and once the other one meet in the upper byte.
  const pairs = i16x8.shr_u(i16x8.mul(digits, i16x8.splat(10 * 256 + 1)), 8);
  const fours = i32x4.dot_i16x8_s(pairs, i16x8(100, 1, 100, 1, 100, 1, 100, 1));
  const packed = i16x8.narrow_i32x4_u(fours, fours);
  return i64x2.extract_lane(i32x4.dot_i16x8_s(packed, i16x8(10_000, 1, 10_000, 1, 10_000, 1, 10_000, 1)), 0);
}

/** The number that 16 digits are. */
function sixteenDigits(digits: v128): u64 {
  const eights = twoEights(digits);
  return (eights & 0xffffffff) * 100_000_000 + (eights >> 32);
}

// What reads a number takes where it begins, and leaves the cursor behind it.

/** Reads digits without a leading zero that are at most 2^64 - 1. */
export function readU64(from: usize): u64 {
  const digits = digitsOf(v128.load(from));
  const count = ctz(notDigits(digits) | 0x10000);
  const first: u32 = load<u8>(from);
  if (first - 0x31 > 8) {
    // Either a single zero or not a number.
    moveTo(from + 1);
    if (first != <u32> ZERO || count > 1) giveUp();
    return 0;
  }
  if (count < 16) {
    moveTo(from + count);
    // The 16 bytes up to the last digit, and of these the digits.
    return sixteenDigits(v128.and(v128.load(from + count - 16), v128.load(DIGIT_MASKS + count)));
  }
  const head = sixteenDigits(digits);
  const bytes = load<u64>(from, 16);
  const more = leadingDigits(bytes);
  moveTo(from + 16 + more);
  if (more == 0) return head;
  const tail = fewDigits(bytes, more);
  if (more > 3 && (more > 4 || head > MAX_HEAD || (head == MAX_HEAD && tail > MAX_TAIL))) giveUp();
  return head * powerOfTen(more) + tail;
}

/**
 * The nanoseconds since 1970 that ten digits of seconds and nine of nanoseconds are, none of which begins with a zero.
 * Leaves the cursor where it is.
 */
export function usualTime(seconds: usize, rest: usize): u64 {
  // Together they are one number of 19 digits: three, and 16 that are the last of both.
  const digits = digitsOf(v128.bitselect(v128.load(seconds, 3), v128.load(rest - 7), i64x2(0x00ffffffffffffff, 0)));
  const head = (load<u32>(seconds) & 0xffffff) ^ 0x303030;
  const isWrong = (notDigits(digits) | ((head | (head + 0x767676)) & 0x808080)) != 0;
  if (isWrong || (head & 0xff) == 0 || load<u8>(rest) == <u8> ZERO) giveUp();
  const hundreds = (head & 0xff) * 100 + ((head >> 8) & 0xff) * 10 + (head >> 16);
  return <u64> hundreds * TEN_TO_16 + sixteenDigits(digits);
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
  const first = digitsOf(v128.load(from));
  const second = digitsOf(v128.load(from, 16));
  const bytes = load<u64>(from, 32);
  const more = leadingDigits(bytes);
  // 33 to 39 digits, as nearly all have.
  if ((notDigits(first) | notDigits(second)) != 0 || more - 1 >= MAX_DIGITS_128 - 32) {
    readOtherU128(from, to);
    return;
  }
  moveTo(from + 32 + more);
  const head = sixteenDigits(first);
  const middle = sixteenDigits(second);
  // head * 10^16 + middle, of 107 bits at most.
  const lows = (head & 0xffffffff) * (TEN_TO_16 & 0xffffffff);
  const mixed = (head & 0xffffffff) * (TEN_TO_16 >> 32) + (head >> 32) * (TEN_TO_16 & 0xffffffff) + (lows >> 32);
  let low = (mixed << 32) | (lows & 0xffffffff);
  let high = (head >> 32) * (TEN_TO_16 >> 32) + (mixed >> 32);
  low += middle;
  high += <u64> (low < middle);
  // … * 10^more + tail.
  const factor = powerOfTen(more);
  const tail = fewDigits(bytes, more);
  const lower = (low & 0xffffffff) * factor;
  const upper = (low >> 32) * factor + (lower >> 32);
  const product = high * factor;
  low = ((upper << 32) | (lower & 0xffffffff)) + tail;
  const sum = product + (upper >> 32) + <u64> (low < tail);
  if (load<u8>(from) == <u8> ZERO || (more == 7 && high > MAX_HIGH_OF_32) || sum < product) giveUp();
  storeBigEndian(to, sum, low);
}

/** The same of any number of digits. */
function readOtherU128(from: usize, to: usize): void {
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
  storeBigEndian(to, (high << 32) | highMiddle, (lowMiddle << 32) | low);
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
