/** Which program a span is from; the order is that of {@link SIDES}. */
export const SIDES = ["runtime", "agent", "containerd", "host"] as const;
export type Side = (typeof SIDES)[number];

/** The parent of a span without a parent. */
export const NO_PARENT = -1;

/**
 * One span as it enters the model. IDs are lower-case hexadecimal; an absent parent is "". Times are Unix nanoseconds.
 */
export interface SpanInput {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly side: Side;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly error: boolean;
}

/**
 * All spans of one sandbox in columns, ordered by their start (then by their end, longest first, so that a parent that
 * starts with its child comes before it).
 *
 * Times are nanoseconds since {@link baseNs}. A double holds them exactly for 104 days (2^53 ns), which is longer than
 * a store keeps spans.
 */
export interface SpanTable {
  readonly count: number;
  /** The first span's start, Unix nanoseconds. */
  readonly baseNs: bigint;
  readonly start: Float64Array;
  /** Never negative: a span that ends before it starts has no length (an agent's clock is set while it runs). */
  readonly duration: Float64Array;
  /** The row of the parent, or {@link NO_PARENT}. There are no circles. */
  readonly parent: Int32Array;
  readonly name: readonly string[];
  readonly side: readonly Side[];
  readonly error: Uint8Array;
  /** The rows of the spans as they were passed in: row `i` is input `input[i]`. */
  readonly input: Int32Array;
}

/** Puts one sandbox's spans into a table and finds each one's parent: see {@link findParents}. */
export function spanTable(spans: readonly SpanInput[]): SpanTable {
  const order = spans.map((_, index) => index).sort((a, b) => compareTimes(at(spans, a), at(spans, b)) || a - b);
  const sorted = order.map((index) => at(spans, index));
  const baseNs = sorted[0]?.startNs ?? 0n;
  return {
    count: sorted.length,
    baseNs,
    start: Float64Array.from(sorted, (span) => Number(span.startNs - baseNs)),
    duration: Float64Array.from(sorted, (span) => Math.max(0, Number(span.endNs - span.startNs))),
    parent: findParents(sorted),
    name: sorted.map((span) => span.name),
    side: sorted.map((span) => span.side),
    error: Uint8Array.from(sorted, (span) => span.error ? 1 : 0),
    input: Int32Array.from(order),
  };
}

function compareTimes(a: SpanInput, b: SpanInput): number {
  if (a.startNs !== b.startNs) return a.startNs < b.startNs ? -1 : 1;
  if (a.endNs === b.endNs) return 0;
  return a.endNs > b.endNs ? -1 : 1;
}

/**
 * Finds each span's parent by its span ID. A parent in the same trace wins; otherwise one in any other trace counts,
 * because an agent gives children of concurrent RPCs a random trace ID while their parent's span ID is right.
 *
 * Spans are untrusted: if parents form a circle, the span of it that comes first loses its parent.
 */
export function findParents(spans: readonly SpanInput[]): Int32Array {
  const inTrace = new Map<string, number>();
  const anywhere = new Map<string, number>();
  for (const [row, { traceId, spanId }] of spans.entries()) {
    const key = `${traceId}:${spanId}`;
    if (!inTrace.has(key)) inTrace.set(key, row);
    if (!anywhere.has(spanId)) anywhere.set(spanId, row);
  }
  const parent = Int32Array.from(spans, ({ traceId, parentSpanId }, row) => {
    if (parentSpanId === "") return NO_PARENT;
    const found = inTrace.get(`${traceId}:${parentSpanId}`) ?? anywhere.get(parentSpanId);
    return found === undefined || found === row ? NO_PARENT : found;
  });
  cutCircles(parent);
  return parent;
}

/** Removes one edge of each circle. Linear: each row is walked over once. */
function cutCircles(parent: Int32Array): void {
  /** 0: not seen; otherwise the number of the walk that saw it. */
  const seenBy = new Int32Array(parent.length);
  for (let first = 0; first < parent.length; first++) {
    const walk = first + 1;
    let row = first;
    while (row !== NO_PARENT && seenBy[row] === 0) {
      seenBy[row] = walk;
      row = parent[row] as number;
    }
    // Back in its own walk: `row` is on a circle. An earlier walk's rows lead to a root.
    if (row !== NO_PARENT && seenBy[row] === walk) cutAtFirstRow(parent, row);
  }
}

function cutAtFirstRow(parent: Int32Array, onCircle: number): void {
  let first = onCircle;
  for (let row = parent[onCircle] as number; row !== onCircle; row = parent[row] as number) {
    first = Math.min(first, row);
  }
  parent[first] = NO_PARENT;
}

/** The rows below each row, in the order of their start; index `count` holds the rows without a parent. */
export function childrenOf(parent: Int32Array): readonly (readonly number[])[] {
  const children: number[][] = Array.from({ length: parent.length + 1 }, () => []);
  for (let row = 0; row < parent.length; row++) {
    const above = parent[row] as number;
    (children[above === NO_PARENT ? parent.length : above] as number[]).push(row);
  }
  return children;
}

function at<Item>(items: readonly Item[], index: number): Item {
  return items[index] as Item;
}
