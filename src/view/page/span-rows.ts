import type { SandboxDetail, Side, SpanColumns } from "../api.ts";

/** What stands for a side where nobody traced anything. */
export const NOBODY = "nobody";

/**
 * The rows of a waterfall: the spans of a sandbox, and the stretches that nobody traced, as one tree. Items 0 to
 * `spans`-1 are spans, those after are untraced stretches. Everything is in typed arrays, because there may be 100,000.
 */
export interface SpanRows {
  readonly spans: number;
  readonly count: number;
  /** On the clock that is shown, nanoseconds since the sandbox's `baseNs`. */
  readonly start: Float64Array;
  readonly duration: Float64Array;
  readonly parent: Int32Array;
  readonly depth: Uint16Array;
  readonly children: Uint32Array;
  /** All items, parents before children, siblings by start. */
  readonly order: Int32Array;
  /** How many items the subtree of each item has, itself included. */
  readonly subtree: Uint32Array;
}

/** Builds the tree. @param isRaw whether guests' times are shown on the guests' own clock. */
export function buildRows({ columns, untraced, clock }: SandboxDetail, isRaw: boolean): SpanRows {
  const spans = columns.id.length;
  const count = spans + untraced.length;
  const offset = clock.state === "aligned" && !isRaw ? clock.offset : 0;
  const start = new Float64Array(count);
  const duration = new Float64Array(count);
  const parent = new Int32Array(count);
  for (let i = 0; i < spans; i++) {
    start[i] = (columns.start[i] as number) + (columns.side[i] === "agent" ? offset : 0);
    duration[i] = columns.duration[i] as number;
    parent[i] = columns.parent[i] as number;
  }
  for (const [index, gap] of untraced.entries()) {
    start[spans + index] = gap.from;
    duration[spans + index] = gap.to - gap.from;
    parent[spans + index] = gap.parent;
  }
  return { spans, count, start, duration, parent, ...treeOf(start, parent) };
}

function treeOf(
  start: Float64Array,
  parent: Int32Array,
): Pick<SpanRows, "depth" | "children" | "order" | "subtree"> {
  const count = start.length;
  const byStart = Int32Array.from({ length: count }, (_, i) => i).sort((a, b) =>
    (start[a] as number) - (start[b] as number)
  );
  // Each item's children as a linked list; filled from the last on, so that the first is found first.
  const first = new Int32Array(count + 1).fill(-1);
  const next = new Int32Array(count).fill(-1);
  const children = new Uint32Array(count);
  for (let i = count - 1; i >= 0; i--) {
    const item = byStart[i] as number;
    const above = parent[item] as number;
    const slot = above < 0 ? count : above;
    next[item] = first[slot] as number;
    first[slot] = item;
    if (above >= 0) children[above] = (children[above] as number) + 1;
  }
  const order = new Int32Array(count);
  const depth = new Uint16Array(count);
  let at = 0;
  const open: number[] = [first[count] as number];
  while (open.length > 0) {
    const item = open.pop() as number;
    if (item < 0) continue;
    order[at++] = item;
    const above = parent[item] as number;
    depth[item] = above < 0 ? 0 : Math.min(0xffff, (depth[above] as number) + 1);
    open.push(next[item] as number, first[item] as number);
  }
  const subtree = new Uint32Array(count).fill(1);
  for (let i = at - 1; i >= 0; i--) {
    const item = order[i] as number;
    const above = parent[item] as number;
    if (above >= 0) subtree[above] = (subtree[above] as number) + (subtree[item] as number);
  }
  return { depth, children, order: order.subarray(0, at), subtree };
}

/** The items that are to be seen while some are folded. */
export function visibleItems(rows: SpanRows, folded: ReadonlySet<number>): Int32Array {
  if (folded.size === 0) return rows.order;
  const visible = new Int32Array(rows.order.length);
  let count = 0;
  for (let at = 0; at < rows.order.length;) {
    const item = rows.order[at] as number;
    visible[count++] = item;
    at += folded.has(item) ? rows.subtree[item] as number : 1;
  }
  return visible.subarray(0, count);
}

export function nameOf({ columns, untraced }: SandboxDetail, item: number): string {
  const spans = columns.id.length;
  if (item >= spans) return untraced[item - spans]?.name ?? "";
  return columns.names[columns.name[item] as number] ?? "";
}

export function sideOf(columns: SpanColumns, item: number): Side | typeof NOBODY {
  return columns.side[item] ?? NOBODY;
}

/** An item's key in the address: the span's ID, with its trace if another span has the same. */
export function keyOf({ columns }: SandboxDetail, item: number): string {
  return columns.id[item] ?? `gap${item - columns.id.length}`;
}

export function itemOfKey({ columns, untraced }: SandboxDetail, key: string): number {
  const gap = /^gap(\d+)$/.exec(key)?.[1];
  if (gap !== undefined) return Number(gap) < untraced.length ? columns.id.length + Number(gap) : -1;
  return columns.id.indexOf(key);
}
