/**
 * The value below which a share of sorted values lies, interpolated linearly between the two nearest ranks (type 7 of
 * Hyndman & Fan 1996, the default of NumPy and R). NaN for no values.
 *
 * @param share 0 to 1.
 */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return NaN;
  const rank = share * (sorted.length - 1);
  const low = sorted[Math.floor(rank)] as number;
  const high = sorted[Math.ceil(rank)] as number;
  return low + (high - low) * (rank - Math.floor(rank));
}

/** The share of sorted values that are below a value; equal ones count one half. NaN for no values. */
export function shareBelow(sorted: ArrayLike<number>, value: number): number {
  const below = lowerBound(sorted, (other) => other >= value);
  const notAbove = lowerBound(sorted, (other) => other > value);
  return (below + notAbove) / 2 / sorted.length;
}

/** The first index whose value passes; all after it do too. */
function lowerBound(sorted: ArrayLike<number>, passes: (value: number) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (passes(sorted[middle] as number)) high = middle;
    else low = middle + 1;
  }
  return low;
}
