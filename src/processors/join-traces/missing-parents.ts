import type { Source } from "../../pipeline/source.ts";
import type { SpanHead } from "./span-head.ts";

/** Spans of a sandbox that are remembered, and parents that are waited for. Real sandboxes have some hundred spans. */
const MAX_KNOWN = 4096;
const MAX_MISSING = 1024;

/** How many spans are remembered of all sandboxes together: some 25 MB. */
const MAX_KNOWN_IN_ALL = 262_144;

/**
 * The largest resource that is remembered for a parent, bytes: real ones have some hundred. The span that stands for a
 * parent whose child has a larger one has only what the host knows.
 */
const MAX_RESOURCE_BYTES = 4096;
const NO_BYTES = new Uint8Array(0);

/** What is known of a parent that has not come. */
export interface MissingParent {
  /** Of the first child that named it. */
  readonly source: Source;
  /** The fields of `ResourceSpans` of that child, as its source wrote them; nothing if they are too large. */
  readonly resource: Uint8Array;
  /** From the first child's start to the last child's end, Unix nanoseconds. */
  start: bigint;
  end: bigint;
}

/** How many spans all sandboxes remember at the moment. */
export class KnownSpansBudget {
  #left = MAX_KNOWN_IN_ALL;

  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    return true;
  }

  giveBack(spans: number): void {
    this.#left += spans;
  }
}

/**
 * The parents that a sandbox's spans name and that never come. The Rust runtime does not export its root, and agents
 * lose spans.
 *
 * A child mostly comes before its parent, but in a collated trace it may come after it, so spans are remembered. If
 * there are too many, no further parents are waited for.
 */
export class MissingParents {
  readonly #budget: KnownSpansBudget;
  readonly #known = new Set<string>();
  readonly #missing: Map<string, MissingParent>;
  #isComplete = true;
  /** Set when something has changed that a restart should not lose. */
  isChanged = false;

  /** @param missing what was missing when an earlier process ended; no others are waited for then. */
  constructor(budget: KnownSpansBudget, missing?: ReadonlyMap<string, MissingParent>) {
    this.#budget = budget;
    this.#missing = new Map(missing);
    // Parents that came before the restart are not known any more, so they would seem to be missing.
    if (missing !== undefined) this.#isComplete = false;
  }

  /** By span ID. */
  get missing(): ReadonlyMap<string, MissingParent> {
    return this.#missing;
  }

  /** @param resource the span's, which is copied if its parent is waited for from now on. */
  note(head: SpanHead, source: Source, resource: () => Uint8Array): void {
    if (this.#missing.delete(head.spanId)) this.isChanged = true;
    this.#remember(head.spanId);
    const { parentSpanId } = head;
    if (parentSpanId === "" || parentSpanId === head.spanId || this.#known.has(parentSpanId)) return;
    const parent = this.#missing.get(parentSpanId);
    if (parent !== undefined) widen(parent, head);
    else if (this.#isComplete && this.#missing.size < MAX_MISSING) {
      const [start, end] = timesOf(head);
      this.#missing.set(parentSpanId, { source, resource: copyOf(resource()), start, end });
      this.isChanged = true;
    }
  }

  /** Gives back what it uses. */
  close(): void {
    this.#budget.giveBack(this.#known.size);
    this.#known.clear();
    this.#missing.clear();
    this.#isComplete = false;
  }

  #remember(spanId: string): void {
    if (!this.#isComplete || this.#known.has(spanId)) return;
    if (this.#known.size >= MAX_KNOWN || !this.#budget.take()) this.#isComplete = false;
    else this.#known.add(spanId);
  }
}

function copyOf(resource: Uint8Array): Uint8Array {
  return resource.length > MAX_RESOURCE_BYTES ? NO_BYTES : resource.slice();
}

function widen(parent: MissingParent, head: SpanHead): void {
  const [start, end] = timesOf(head);
  if (start < parent.start) parent.start = start;
  if (end > parent.end) parent.end = end;
}

/** Start and end; a span that ends before it starts (an agent's clock is set while it runs) has no length. */
function timesOf({ startHigh, startLow, endHigh, endLow }: SpanHead): [start: bigint, end: bigint] {
  const start = nanoseconds(startHigh, startLow);
  const end = nanoseconds(endHigh, endLow);
  return [start, end < start ? start : end];
}

/** Both halves of a time together. */
export function nanoseconds(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}
