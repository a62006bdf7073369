/**
 * Holm's step-down correction (Holm 1979): p values of several tests become comparable with one significance level for
 * all of them together. The order of the values stays.
 */
export function holm(p: readonly number[]): number[] {
  const order = p.map((_, index) => index).sort((a, b) => (p[a] as number) - (p[b] as number));
  const corrected = new Array<number>(p.length);
  let largest = 0;
  for (const [rank, index] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (p.length - rank) * (p[index] as number)));
    corrected[index] = largest;
  }
  return corrected;
}
