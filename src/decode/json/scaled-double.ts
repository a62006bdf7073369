/**
 * The powers of ten that are known to twice a double's precision: with a mantissa of 15 digits neither a product nor a
 * part of one is beyond the range of normal doubles.
 */
const MOST_POWER = 250;
/** How far off a product may be, as a part of it: its parts are known to 2^-105, and there are a few of them. */
const ERROR = 2 ** -100;
/** Halves a double into two of 26 bits (Veltkamp). */
const SPLITTER = 2 ** 27 + 1;

/**
 * 10^(i - MOST_POWER) is the sum of the two: the nearest double, and what is left of it. Filled as they are needed: all
 * of them would take a millisecond of the start.
 */
const HIGH = new Float64Array(2 * MOST_POWER + 1);
const LOW = new Float64Array(2 * MOST_POWER + 1);

/** 10^power - nearest, rounded. */
function rest(power: number, nearest: number): number {
  if (power >= 0) return Number(10n ** BigInt(power) - BigInt(nearest));
  // Both as multiples of a power of two with which the quotient has some 200 bits.
  const scale = 200 + Math.ceil(-power * Math.log2(10));
  const bits = new BigUint64Array(Float64Array.of(nearest).buffer)[0] as bigint;
  const mantissa = (bits & ((1n << 52n) - 1n)) | (1n << 52n);
  const exponent = Number(bits >> 52n) - 1075;
  const difference = (1n << BigInt(scale)) / 10n ** BigInt(-power) - (mantissa << BigInt(scale + exponent));
  // In two steps, because the power of two is below what a double can be.
  return Number(difference) * 2 ** -200 * 2 ** (200 - scale);
}

/**
 * The nearest double to `mantissa` · 10^`power`, for a mantissa of up to 15 digits; NaN if it is not sure which one
 * that is, which happens hardly ever, or the power is too large or too small.
 *
 * The product is computed to twice a double's precision (Dekker 1971), and taken if whatever it may be off by does not
 * change what it is rounded to (Ziv 1991).
 */
export function scaled(mantissa: number, power: number): number {
  if (!(power >= -MOST_POWER && power <= MOST_POWER)) return NaN;
  let high = HIGH[power + MOST_POWER] as number;
  if (high === 0) {
    high = HIGH[power + MOST_POWER] = Number(`1e${power}`);
    LOW[power + MOST_POWER] = rest(power, high);
  }
  const product = mantissa * high;
  // What is lost of the product, exactly.
  let split = SPLITTER * mantissa;
  const mantissaHigh = split - (split - mantissa);
  const mantissaLow = mantissa - mantissaHigh;
  split = SPLITTER * high;
  const powerHigh = split - (split - high);
  const powerLow = high - powerHigh;
  const lost = ((mantissaHigh * powerHigh - product) + mantissaHigh * powerLow + mantissaLow * powerHigh) +
    mantissaLow * powerLow;
  const correction = lost + mantissa * (LOW[power + MOST_POWER] as number);
  const error = product * ERROR;
  const value = product + (correction - error);
  return value === product + (correction + error) ? value : NaN;
}
