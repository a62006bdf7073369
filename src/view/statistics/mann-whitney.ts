/** Below this many values on either side a comparison says "too few". */
export const LEAST_VALUES = 20;

/** The outcome of a two-sided Mann–Whitney U test. */
export interface MannWhitney {
  /** U of the first sample: how often one of its values is above one of the second's; ties count one half. */
  readonly u: number;
  /** Two-sided, by the normal approximation with correction for ties and continuity. */
  readonly p: number;
}

/**
 * The two-sided Mann–Whitney U test (Mann & Whitney 1947) of whether values of one sample tend to be larger than those
 * of the other. It assumes nothing about how durations are distributed.
 *
 * The normal approximation is good from some 20 values on; see {@link LEAST_VALUES}. If all values are equal, p is 1.
 */
export function mannWhitney(first: readonly number[], second: readonly number[]): MannWhitney {
  const n1 = first.length;
  const n2 = second.length;
  const all = [
    ...first.map((value) => ({ value, isFirst: true })),
    ...second.map((value) => ({ value, isFirst: false })),
  ].sort((a, b) => a.value - b.value);
  let rankSum = 0;
  let tieTerm = 0;
  for (let from = 0; from < all.length;) {
    let to = from;
    while (to < all.length && all[to]?.value === all[from]?.value) to++;
    const ties = to - from;
    // Ranks count from 1; equal values share the mean of theirs.
    const rank = (from + 1 + to) / 2;
    for (let i = from; i < to; i++) if (all[i]?.isFirst) rankSum += rank;
    tieTerm += ties ** 3 - ties;
    from = to;
  }
  const n = n1 + n2;
  const u = rankSum - n1 * (n1 + 1) / 2;
  const mean = n1 * n2 / 2;
  const variance = n1 * n2 / 12 * (n + 1 - tieTerm / (n * (n - 1)));
  if (!(variance > 0)) return { u, p: 1 };
  const distance = Math.max(0, Math.abs(u - mean) - 0.5);
  return { u, p: Math.min(1, 2 * upperTail(distance / Math.sqrt(variance))) };
}

/**
 * The probability that a standard normal variable is above z ≥ 0: half the complementary error function of z/√2
 * (Abramowitz & Stegun 7.1.6 for small arguments, 7.1.14 for large ones). Relative error below 1e-11.
 */
export function upperTail(z: number): number {
  const x = z / Math.SQRT2;
  return (x < 2 ? 1 - erfSeries(x) : erfcFraction(x)) / 2;
}

/** erf x by a series without cancellation, until a term no longer changes the sum: some 30 terms at x = 2. */
function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; term > Number.EPSILON / 4 * sum; n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

/** Levels of the continued fraction: they give full precision from x = 2 on. */
const FRACTION_LEVELS = 100;

function erfcFraction(x: number): number {
  let fraction = x;
  for (let level = FRACTION_LEVELS; level > 0; level--) fraction = x + level / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
