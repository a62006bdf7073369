import type { ClockView } from "../api.ts";
import type { SpanTable } from "./span-table.ts";
import { agentOperation } from "./kata-operations.ts";

/** The offsets that one request allows, nanoseconds. */
export interface OffsetInterval {
  readonly low: number;
  readonly high: number;
}

/**
 * A request `ttrpc.X` of the runtime lasts from before the agent begins it until after the agent has ended it. So the
 * guest's offset lies between host start − guest start and host end − guest end.
 */
export function offsetIntervals(table: SpanTable): OffsetInterval[] {
  const intervals: OffsetInterval[] = [];
  for (let guest = 0; guest < table.count; guest++) {
    const host = table.parent[guest] as number;
    if (host < 0 || table.side[guest] !== "agent" || table.side[host] !== "runtime") continue;
    if (agentOperation(table.name[host] as string) !== table.name[guest]) continue;
    const low = (table.start[host] as number) - (table.start[guest] as number);
    const high = low + (table.duration[host] as number) - (table.duration[guest] as number);
    intervals.push({ low, high });
  }
  return intervals;
}

/** The offset that all requests allow: the midpoint of the intervals' intersection, and half its width. */
export function alignClock(intervals: readonly OffsetInterval[]): ClockView {
  if (intervals.length === 0) return { state: "not-aligned" };
  let low = -Infinity;
  let high = Infinity;
  for (const interval of intervals) {
    low = Math.max(low, interval.low);
    high = Math.min(high, interval.high);
  }
  if (low > high) return { state: "drifts" };
  return { state: "aligned", offset: (low + high) / 2, error: (high - low) / 2 };
}

/** The starts of all spans on the host's clock. What is stored never changes. */
export function alignedStarts(table: SpanTable, clock: ClockView): Float64Array {
  if (clock.state !== "aligned") return table.start;
  return table.start.map((start, row) => table.side[row] === "agent" ? start + clock.offset : start);
}
