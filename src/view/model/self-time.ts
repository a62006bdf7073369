import { childrenOf, type SpanTable } from "./span-table.ts";

/**
 * The time in which a span itself worked, nanoseconds: its duration less the time in which any of its children ran.
 * Children that run at once count once, and what lies outside of the parent does not count.
 */
export function selfTimes(table: SpanTable, starts: Float64Array = table.start): Float64Array {
  const children = childrenOf(table.parent);
  return Float64Array.from({ length: table.count }, (_, row) => {
    const start = starts[row] as number;
    const end = start + (table.duration[row] as number);
    let covered = 0;
    let coveredUntil = start;
    for (const child of inOrder(children[row] as number[], starts)) {
      const from = Math.max(coveredUntil, starts[child] as number);
      const to = Math.min(end, (starts[child] as number) + (table.duration[child] as number));
      if (to <= from) continue;
      covered += to - from;
      coveredUntil = to;
    }
    return end - start - covered;
  });
}

/** Children in the order of the given starts: clock alignment may change it. */
function inOrder(rows: readonly number[], starts: Float64Array): readonly number[] {
  return [...rows].sort((a, b) => (starts[a] as number) - (starts[b] as number));
}
