import { percentile } from "../statistics/percentile.ts";
import type { Stretch } from "./critical-path.ts";
import { isOfGoRuntime } from "./kata-operations.ts";
import { childrenOf, type SpanTable } from "./span-table.ts";

/** What a start would have saved without tracing in the Go runtime, nanoseconds. */
export interface TracingCost {
  /** How many spans the runtime sent until the start was over. */
  readonly spans: number;
  /** How long it waited for each of them: an estimate. */
  readonly each: number;
}

/** With fewer pauses than these nothing is estimated. */
const LEAST_PAUSES = 8;

/**
 * Estimates what tracing cost a start. The Go runtime sends each span, and waits for the answer, before it goes on
 * (Kata's src/runtime/pkg/katautils/katatrace/tracing.go has a span processor without batches). So between one call of
 * a function and its next one there is a pause that holds the first one's request and, mostly little, work of the
 * function's own. The median leaves out the pauses that hold much work.
 *
 * Undefined for the Rust runtime, which sends in batches beside its work, and where there are too few pauses.
 */
export function tracingCost(table: SpanTable, start: Stretch): TracingCost | undefined {
  const { name, side } = table;
  const isRuntime = (row: number): boolean => side[row] === "runtime";
  if (!name.some((one, row) => isRuntime(row) && isOfGoRuntime(one))) return undefined;
  const pauses = childrenOf(table.parent).slice(0, table.count)
    .flatMap((calls) => pausesBetween(table, calls.filter(isRuntime)))
    .sort((a, b) => a - b);
  if (pauses.length < LEAST_PAUSES) return undefined;
  const sent = name.filter((_, row) => isRuntime(row) && endOf(table, row) <= start.to);
  return { spans: sent.length, each: percentile(pauses, 0.5) };
}

/**
 * From the end of each call of a function to the start of its next one. A call beside which another one runs does not
 * tell, because then there are several threads.
 *
 * @param calls rows in the order of their start.
 */
function pausesBetween(table: SpanTable, calls: readonly number[]): number[] {
  const pauses: number[] = [];
  let latestEnd = -Infinity;
  for (const [at, row] of calls.entries()) {
    const end = endOf(table, row);
    const next = table.start[calls[at + 1] ?? NaN] ?? -Infinity;
    if (latestEnd <= end && next >= end) pauses.push(next - end);
    latestEnd = Math.max(latestEnd, end);
  }
  return pauses;
}

function endOf({ start, duration }: SpanTable, row: number): number {
  return (start[row] as number) + (duration[row] as number);
}
