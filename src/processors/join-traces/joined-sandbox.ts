import { forgetOldest } from "../../base/forget-oldest.ts";
import type { Source } from "../../pipeline/source.ts";
import { type KnownSpansBudget, type MissingParent, MissingParents, nanoseconds } from "./missing-parents.ts";
import { type SandboxTrace, sandboxTrace } from "./sandbox-trace.ts";
import type { SpanHead } from "./span-head.ts";

/** Traces of one sandbox that links may lead into. An agent without a runtime begins one with every RPC. */
const MAX_TRACES = 1024;

/** Attributes of a source that are not those of its sandbox. */
const SOURCE_ATTRIBUTES: ReadonlySet<string> = new Set(["kata.component"]);
const SANDBOX_ATTRIBUTE = "kata.sandbox.id";

/** What survives a restart of a sandbox. Times are Unix nanoseconds. */
export interface SavedSandbox {
  readonly key: string;
  readonly attributes: ReadonlyMap<string, string | number>;
  readonly start: bigint | undefined;
  readonly end: bigint;
  readonly hasGuest: boolean;
  readonly hasRuntime: boolean;
  readonly missing: ReadonlyMap<string, MissingParent>;
}

/** A sandbox whose spans are joined, until its root has been made. */
export class JoinedSandbox {
  /** What all of its sources agree on; see `sandboxKey`. */
  readonly key: string;
  readonly trace: SandboxTrace;
  readonly parents: MissingParents;
  /** Connections that are open. */
  sources = 0;
  /** When the last one ended, Unix milliseconds. */
  leftAt = 0;
  hasGuest = false;
  /** Whether a runtime takes part, which goes on when the guest has gone. */
  hasRuntime = false;
  /** It ran when an earlier process ended. */
  readonly isRestored: boolean;
  /** Somebody has connected in this process. */
  wasOpened = false;
  /** Set when something has changed that a restart should not lose. */
  isChanged = true;
  readonly #attributes: Map<string, string | number>;
  readonly #traces = new Set<string>();
  #lastTrace = "";
  #hasStart = false;
  #startHigh = 0;
  #startLow = 0;
  #endHigh = 0;
  #endLow = 0;

  constructor(key: string, budget: KnownSpansBudget, saved?: SavedSandbox) {
    this.key = key;
    this.trace = sandboxTrace(key);
    this.isRestored = saved !== undefined;
    this.parents = new MissingParents(budget, saved?.missing);
    this.#attributes = new Map(saved?.attributes);
    this.hasGuest = saved?.hasGuest ?? false;
    this.hasRuntime = saved?.hasRuntime ?? false;
    if (saved?.start === undefined) return;
    this.#hasStart = true;
    [this.#startHigh, this.#startLow] = halves(saved.start);
    [this.#endHigh, this.#endLow] = halves(saved.end);
  }

  /** What is known of it, for the root's resource. */
  get attributes(): ReadonlyMap<string, string | number> {
    return this.#attributes;
  }

  /** The start of its first span; undefined if there is none with a time. */
  get start(): bigint | undefined {
    return this.#hasStart ? nanoseconds(this.#startHigh, this.#startLow) : undefined;
  }

  /** The end of the span that ended last; 0 if there is none. */
  get end(): bigint {
    return nanoseconds(this.#endHigh, this.#endLow);
  }

  /** A connection of it has been accepted. */
  opened({ kind, attributes }: Source): void {
    this.sources++;
    this.wasOpened = true;
    if (kind === "guest" && !this.hasGuest) this.hasGuest = this.isChanged = true;
    if (kind === "runtime" && !this.hasRuntime) this.hasRuntime = this.isChanged = true;
    for (const [key, value] of attributes) {
      if (SOURCE_ATTRIBUTES.has(key) || this.#attributes.get(key) === value) continue;
      // Firecracker's guests know only the first half of the ID.
      if (key === SANDBOX_ATTRIBUTE && String(this.#attributes.get(key) ?? "").startsWith(String(value))) continue;
      this.#attributes.set(key, value);
      this.isChanged = true;
    }
  }

  /** Notes a span of it. @param resource see `MissingParents.note`. */
  note(head: SpanHead, source: Source, resource: () => Uint8Array): void {
    this.#noteTrace(head.traceId);
    this.#noteTimes(head);
    this.parents.note(head, source, resource);
    if (this.parents.isChanged) {
      this.parents.isChanged = false;
      this.isChanged = true;
    }
  }

  /** Whether spans of it had this trace ID; see `idOf`. */
  hasTrace(traceId: string): boolean {
    return this.#traces.has(traceId);
  }

  save(): SavedSandbox {
    const { key, attributes, start, end, hasGuest, hasRuntime } = this;
    return { key, attributes, start, end, hasGuest, hasRuntime, missing: this.parents.missing };
  }

  #noteTrace(traceId: string): void {
    if (traceId === this.#lastTrace) return;
    this.#lastTrace = traceId;
    // The one used last is the last to be forgotten.
    this.#traces.delete(traceId);
    this.#traces.add(traceId);
    forgetOldest(this.#traces, MAX_TRACES);
  }

  /** A span without a time says nothing about when the sandbox began. */
  #noteTimes({ startHigh, startLow, endHigh, endLow }: SpanHead): void {
    if (startHigh === 0 && startLow === 0) return;
    if (!this.#hasStart || isBefore(startHigh, startLow, this.#startHigh, this.#startLow)) {
      this.#hasStart = this.isChanged = true;
      this.#startHigh = startHigh;
      this.#startLow = startLow;
    }
    if (isBefore(this.#endHigh, this.#endLow, endHigh, endLow)) {
      this.#endHigh = endHigh;
      this.#endLow = endLow;
    }
  }
}

function isBefore(high: number, low: number, otherHigh: number, otherLow: number): boolean {
  return high < otherHigh || (high === otherHigh && low < otherLow);
}

function halves(time: bigint): [high: number, low: number] {
  return [Number(BigInt.asUintN(32, time >> 32n)), Number(BigInt.asUintN(32, time))];
}
