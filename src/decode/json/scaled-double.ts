/**
 * From the first of these powers of ten on, every product with a mantissa of 15 digits is 0; above the last, every one
 * is infinite.
 */
const LEAST_POWER = -340;
const MOST_POWER = 308;
/** Powers outside of these are held as multiples of a power of two, so that no part of a product is out of range. */
const LEAST_PLAIN_POWER = -250;
const MOST_PLAIN_POWER = 250;
const TINY = 2 ** -256;
const HUGE = 2 ** 128;
/** How far off a product may be, as a part of it: its parts are known to 2^-105, and there are a few of them. */
const ERROR = 2 ** -100;
/** Halves a double into two of 26 bits (Veltkamp). */
const SPLITTER = 2 ** 27 + 1;
/** The smallest double with all its digits, and how far apart those below are, as multiples of {@link TINY}. */
const LEAST_NORMAL = 2 ** -1022 / TINY;
const LEAST_STEP = 2 ** (256 - 1074);
/** The double that follows this one is {@link LEAST_STEP} further, so adding it rounds to multiples of that. */
const ROUNDER = 2 ** 52 * LEAST_STEP;

/**
 * 10^(i + LEAST_POWER), or a multiple of it, is the sum of the two: the nearest double, and what is left of it. Filled
 * as they are needed: all of them would take a millisecond of the start.
 */
const HIGH = new Float64Array(MOST_POWER - LEAST_POWER + 1);
const LOW = new Float64Array(HIGH.length);

/** Of which power of two a power of ten is held as a multiple. */
function unit(power: number): number {
  return power < LEAST_PLAIN_POWER ? TINY : power > MOST_PLAIN_POWER ? HUGE : 1;
}

function fill(power: number): void {
  // As a fraction of integers, and that as an integer of some 200 bits times 2^-scale.
  const exponent = Math.log2(unit(power));
  const numerator = 10n ** BigInt(Math.max(power, 0)) << BigInt(Math.max(-exponent, 0));
  const denominator = 10n ** BigInt(Math.max(-power, 0)) << BigInt(Math.max(exponent, 0));
  const scale = 200 - Math.round(power * Math.log2(10) - exponent);
  const integer = scale >= 0 ? (numerator << BigInt(scale)) / denominator : numerator / (denominator << BigInt(-scale));
  const high = Number(integer);
  // In two steps, because the power of two is below what a double can be.
  const first = Math.trunc(-scale / 2);
  const scaledDown = (value: number): number => value * 2 ** first * 2 ** (-scale - first);
  HIGH[power - LEAST_POWER] = scaledDown(high);
  LOW[power - LEAST_POWER] = scaledDown(Number(integer - BigInt(high)));
}

/**
 * The nearest double to `mantissa` · 10^`power`, for a mantissa of up to 15 digits; NaN if it is not sure which one
 * that is, which happens hardly ever, or it is infinite.
 *
 * The product is computed to twice a double's precision (Dekker 1971), and taken if whatever it may be off by does not
 * change what it is rounded to (Ziv 1991).
 */
export function scaled(mantissa: number, power: number): number {
  if (mantissa === 0 || power < LEAST_POWER) return 0;
  if (!(power <= MOST_POWER)) return NaN;
  const index = power - LEAST_POWER;
  if (HIGH[index] === 0) fill(power);
  const high = HIGH[index] as number;
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
  const correction = lost + mantissa * (LOW[index] as number);
  const error = product * ERROR;
  const value = product + (correction - error);
  if (value !== product + (correction + error)) return NaN;
  if (power < LEAST_PLAIN_POWER) {
    return value < LEAST_NORMAL ? subnormal(value, correction - (value - product), error) : value * TINY;
  }
  if (power <= MOST_PLAIN_POWER) return value;
  return value < Number.MAX_VALUE / HUGE ? value * HUGE : NaN;
}

/** Both are the same bytes, the lower half first. */
const DOUBLE = new Float64Array(1);
const HALVES = new Uint32Array(DOUBLE.buffer);

/** The double nearest to `value` + `rest`, off by less than `error`, times {@link TINY}, of those below the normal ones. */
function subnormal(value: number, rest: number, error: number): number {
  let rounded = (value + ROUNDER) - ROUNDER;
  if (Math.abs(value - rounded) === LEAST_STEP / 2) {
    // It was halfway, and what it is rounded to depends on what is left.
    if (Math.abs(rest) <= error) return NaN;
    rounded = rest > 0 ? value + LEAST_STEP / 2 : value - LEAST_STEP / 2;
  }
  // It is put together from its bits, because processors take long to compute such a double.
  const steps = rounded / LEAST_STEP;
  HALVES[1] = steps / 2 ** 32;
  HALVES[0] = steps;
  return DOUBLE[0] as number;
}
