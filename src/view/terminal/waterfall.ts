import { columns, cut, duration, shown } from "./terminal-text.ts";

/** What is drawn of a span. Ids are hexadecimal, times nanoseconds since the epoch; nothing of it need make sense. */
export interface WaterfallSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly start: bigint;
  readonly end: bigint;
  /** Why the span failed, possibly ""; absent: it did not. */
  readonly error?: string;
}

/** How to draw. */
export interface WaterfallStyle {
  /** Columns; at least 40. */
  readonly width: number;
  /** SGR colours (ECMA-48, 8.3.117). */
  readonly colour: boolean;
  /** Box drawing and blocks; else ASCII alone. */
  readonly unicode: boolean;
}

/** The signs of a drawing; those of the tree take three columns. */
const UNICODE = {
  branch: "├─ ",
  last: "└─ ",
  through: "│  ",
  bar: "█",
  /** A bar of less than half a column. */
  instant: "▏",
  error: "✗ ",
  more: "…",
  micro: "µ",
} as const;
type Signs = { readonly [Sign in keyof typeof UNICODE]: string };
const ASCII: Signs = {
  branch: "|- ",
  last: "`- ",
  through: "|  ",
  bar: "#",
  instant: "|",
  error: "x ",
  more: "~",
  micro: "u",
};
const TREE_COLUMNS = 3;

const RED = "31";
const CYAN = "36";
const DIM = "2";

/** Columns of a duration, such as `-12.3 ms`. */
const DURATION_COLUMNS = 8;
/** Columns that a name keeps, however deep in the tree. */
const SHORTEST_NAME = 12;

/**
 * Draws traces: under each trace's id its spans as a tree by parent, siblings by start, each with a bar on the trace's
 * time and its duration; failed ones are marked, and say why on a line of their own. A span whose parent is not there
 * is a root; where parents form a circle, one of them is.
 *
 * A pure function; gives lines of at most `width` columns, without their newlines. Text from spans is made printable.
 */
export function waterfall(spans: readonly WaterfallSpan[], style: WaterfallStyle): string[] {
  const traces = new Map<string, WaterfallSpan[]>();
  for (const span of spans) {
    const trace = traces.get(span.traceId);
    if (trace === undefined) traces.set(span.traceId, [span]);
    else trace.push(span);
  }
  return [...traces].flatMap(([traceId, trace]) => drawTrace(traceId, trace, style));
}

function drawTrace(
  traceId: string,
  spans: readonly WaterfallSpan[],
  { width, colour, unicode }: WaterfallStyle,
): string[] {
  const signs = unicode ? UNICODE : ASCII;
  const paint = (text: string, sgr: string) => colour && text !== "" ? `\x1b[${sgr}m${text}\x1b[0m` : text;
  const time = timeOf(spans);
  const rows = arrange(spans);

  // Names get the room they need, up to half of all.
  const half = Math.floor(width / 2);
  drawTree(rows, signs, Math.floor((half - SHORTEST_NAME) / TREE_COLUMNS));
  const labelOf = ({ error, name }: WaterfallSpan) => (error === undefined ? "" : signs.error) + shown(name, unicode);
  let nameColumns = 0;
  for (const { span, tree } of rows) {
    const needed = columns(tree) + columns(labelOf(span));
    nameColumns = Math.max(nameColumns, Math.min(needed, half));
  }
  const barColumns = width - nameColumns - DURATION_COLUMNS - 2;

  const count = `${spans.length} ${spans.length === 1 ? "span" : "spans"}`;
  const heading = `trace ${shown(traceId, unicode)}, ${count}, ` +
    duration(time.last - time.first, signs.micro);
  const lines = [paint(cut(heading, width, signs.more), "1")];
  for (const { span, tree, below } of rows) {
    const failed = span.error !== undefined;
    const label = cut(labelOf(span), nameColumns - columns(tree), signs.more);
    const bar = barOf(span, time, barColumns, signs);
    lines.push([
      paint(tree, DIM),
      failed ? paint(label, RED) : label,
      " ".repeat(nameColumns - columns(tree) - columns(label) + 1),
      " ".repeat(bar.start),
      paint(bar.text, failed ? RED : CYAN),
      " ".repeat(barColumns - bar.start - bar.text.length + 1),
      duration(span.end - span.start, signs.micro).padStart(DURATION_COLUMNS),
    ].join(""));
    if (span.error) {
      const reason = " ".repeat(columns(signs.error)) + shown(span.error, unicode);
      const text = cut(reason, width - columns(below), signs.more);
      lines.push(paint(below, DIM) + paint(text, RED));
    }
  }
  return lines;
}

interface TraceTime {
  readonly first: bigint;
  readonly last: bigint;
}

function timeOf(spans: readonly WaterfallSpan[]): TraceTime {
  let first = spans[0]?.start ?? 0n;
  let last = first;
  for (const { start, end } of spans) {
    // A clock that was set back lets a span end before it starts.
    for (const time of [start, end]) {
      if (time < first) first = time;
      if (time > last) last = time;
    }
  }
  return { first, last };
}

interface Row {
  readonly span: WaterfallSpan;
  readonly depth: number;
  readonly parent: Row | undefined;
  /** No sibling follows. */
  readonly last: boolean;
  /** What stands before the name, and on the lines below it. */
  tree: string;
  below: string;
}

/** The spans in the order of the tree, each once. */
function arrange(spans: readonly WaterfallSpan[]): Row[] {
  const sorted = spans.toSorted((a, b) => compare(a.start, b.start) || compare(a.spanId, b.spanId));
  const ids = new Set(spans.map((span) => span.spanId));
  const roots: WaterfallSpan[] = [];
  const children = new Map<string, WaterfallSpan[]>();
  for (const span of sorted) {
    const siblings = children.get(span.parentSpanId);
    if (!ids.has(span.parentSpanId)) roots.push(span);
    else if (siblings === undefined) children.set(span.parentSpanId, [span]);
    else siblings.push(span);
  }

  const rows: Row[] = [];
  const seen = new Set<WaterfallSpan>();
  // A stack instead of recursion: a trace can be deeper than the call stack.
  const stack: Row[] = [];
  const push = (siblings: readonly WaterfallSpan[], parent: Row | undefined) => {
    const depth = parent === undefined ? 0 : parent.depth + 1;
    siblings.toReversed().forEach((span, fromLast) =>
      stack.push({ span, depth, parent, last: fromLast === 0, tree: "", below: "" })
    );
  };
  const drain = () => {
    for (let row = stack.pop(); row !== undefined; row = stack.pop()) {
      if (seen.has(row.span)) continue;
      seen.add(row.span);
      rows.push(row);
      push(children.get(row.span.spanId) ?? [], row);
      // Of two spans with one id, the first has the children.
      children.delete(row.span.spanId);
    }
  };
  push(roots, undefined);
  drain();
  for (const span of sorted) {
    if (seen.has(span)) continue;
    // No root leads here: it hangs on a circle, which is opened here.
    push([span], undefined);
    drain();
  }
  return rows;
}

function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Fills in the rows' trees; deeper than `deepest`, the depth is a number. */
function drawTree(rows: readonly Row[], signs: Signs, deepest: number): void {
  const blank = " ".repeat(TREE_COLUMNS);
  for (const row of rows) {
    if (row.parent === undefined) continue;
    if (row.depth > deepest) {
      row.tree = `${signs.more}${row.depth} `;
      row.below = " ".repeat(row.tree.length);
    } else {
      row.tree = row.parent.below + (row.last ? signs.last : signs.branch);
      row.below = row.parent.below + (row.last ? blank : signs.through);
    }
  }
}

/** Where a span's bar starts, columns, and the bar: at least one column, all of it within the trace's. */
function barOf(
  { start, end }: WaterfallSpan,
  { first, last }: TraceTime,
  room: number,
  signs: Signs,
): { readonly start: number; readonly text: string } {
  const [from, to] = start <= end ? [start, end] : [end, start];
  if (last === first) return { start: 0, text: signs.instant };
  // In bigints, since times have more digits than a double; the room counts in halves of a column.
  const halves = BigInt(room * 2);
  const at = (time: bigint) => Number((time - first) * halves / (last - first));
  const left = Math.min(Math.floor(at(from) / 2), room - 1);
  if ((to - from) * halves < last - first) return { start: left, text: signs.instant };
  const right = Math.ceil(at(to) / 2);
  return { start: left, text: signs.bar.repeat(Math.max(right - left, 1)) };
}
