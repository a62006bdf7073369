import { childrenOf, type SpanTable } from "./span-table.ts";

/** A stretch of time, nanoseconds since the table's base. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** A piece of the critical path: in it, nothing but this span (`row`), or no span at all, held the start up. */
export interface CriticalSegment extends Stretch {
  /** The span's row, or undefined where no span was running. */
  readonly row: number | undefined;
}

/** A span whose part of the path is being looked for, from its end to its start. */
interface Visit {
  /** Undefined for the stretch itself. */
  readonly row: number | undefined;
  readonly from: number;
  readonly to: number;
  /** Children that have not been looked at yet; the one that ends last is the last. */
  readonly children: number[];
  /** From here on the path is known. */
  until: number;
}

/**
 * The critical path through a stretch of time: at each moment the span without whose end the stretch could not have
 * ended when it did. It is found from the end backwards, as in Jaeger's "critical path": the child that ends last
 * before the current point is on the path; between its end and that point the parent itself is.
 *
 * The segments cover the whole stretch without a gap or an overlap, in the order of time. No recursion: a guest may
 * nest its spans as deep as it likes.
 *
 * @param background spans that last as long as the sandbox, such as `root-span`. They are never on the path, but what
 * is below them can be.
 * @param starts corrected starts, if the guest's clock is aligned.
 */
export function criticalPath(
  table: SpanTable,
  stretch: Stretch,
  background: (row: number) => boolean = () => false,
  starts: Float64Array = table.start,
): CriticalSegment[] {
  const below = childrenOf(table.parent);
  const endOf = (row: number): number => (starts[row] as number) + (table.duration[row] as number);
  /** A background span's children stand in its place. */
  const workBelow = (rows: readonly number[]): number[] => {
    const work: number[] = [];
    const open = [...rows];
    for (let row = open.pop(); row !== undefined; row = open.pop()) {
      if (background(row)) open.push(...(below[row] as number[]));
      else work.push(row);
    }
    return work.sort((a, b) => endOf(a) - endOf(b) || (starts[b] as number) - (starts[a] as number));
  };

  const visitOf = (row: number | undefined, { from, to }: Stretch): Visit => {
    return { row, from, to, until: to, children: workBelow(below[row ?? table.count] as number[]) };
  };

  const segments: CriticalSegment[] = [];
  const visits = [visitOf(undefined, stretch)];
  for (let visit = visits.at(-1); visit !== undefined; visit = visits.at(-1)) {
    const child = visit.children.pop();
    if (child === undefined) {
      if (visit.until > visit.from) segments.push({ row: visit.row, from: visit.from, to: visit.until });
      visits.pop();
      continue;
    }
    const from = Math.max(visit.from, starts[child] as number);
    const to = Math.min(visit.to, endOf(child));
    // What still ran when the next span on the path had begun was not waited for.
    if (to > visit.until || to <= from) continue;
    if (visit.until > to) segments.push({ row: visit.row, from: to, to: visit.until });
    visit.until = from;
    visits.push(visitOf(child, { from, to }));
  }
  return segments.reverse();
}
