import type * as api from "./api.ts";
import { selfTimes } from "./model/self-time.ts";
import { type ComputedSandbox, pathOf } from "./sandbox-view.ts";

/** An operation: a name on a side. */
export interface Operation {
  readonly name: string;
  readonly side: api.Side | "nobody";
}

/** Gives each operation a number, so that a million spans need not hold their names. */
export class OperationNumbers {
  readonly #numbers = new Map<string, number>();
  readonly #operations: Operation[] = [];

  of(side: Operation["side"], name: string): number {
    const key = `${side} ${name}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#operations.length;
    this.#numbers.set(key, number);
    this.#operations.push({ name, side });
    return number;
  }

  at(number: number): Operation {
    return this.#operations[number] as Operation;
  }
}

/** What statistics need of a sandbox's spans: some 50 bytes a span. Row `i` of each column is one span. */
export interface CompactSandbox {
  readonly count: number;
  readonly operation: Uint32Array;
  /** On the aligned clock, nanoseconds. */
  readonly start: Float64Array;
  readonly duration: Float64Array;
  readonly self: Float64Array;
  /** How long the start waited for nothing but this span. */
  readonly critical: Float64Array;
  /** The parent's row, -1 for none. */
  readonly parent: Int32Array;
  readonly error: Uint8Array;
  readonly spanId: BigUint64Array;
  /** How long the start took; 0 if it is not known. */
  readonly startLength: number;
  readonly phases: readonly { readonly phase: string; readonly from: number; readonly to: number }[];
  readonly untraced: readonly { readonly operation: number; readonly duration: number }[];
}

export function compactSandbox(computed: ComputedSandbox, numbers: OperationNumbers): CompactSandbox {
  const { table, starts, spans, start } = computed;
  const { critical, untraced } = pathOf(computed);
  return {
    count: table.count,
    operation: Uint32Array.from(table.name, (name, row) => numbers.of(table.side[row] ?? "host", name)),
    start: starts,
    duration: table.duration,
    self: selfTimes(table, starts),
    critical: ownCriticalTimes(computed.table.count, critical, untraced),
    startLength: start === undefined ? 0 : start.to - start.from,
    parent: table.parent,
    error: table.error,
    spanId: BigUint64Array.from(table.input, (input) => BigInt(`0x${spans[input]?.spanId || "0"}`)),
    phases: start?.phases ?? [],
    untraced: untraced.map(({ name, from, to }) => {
      return { operation: numbers.of("nobody", name), duration: to - from };
    }),
  };
}

/** How long the start waited for each span itself: what nobody traced of it is nobody's. */
function ownCriticalTimes(
  count: number,
  critical: readonly api.CriticalView[],
  untraced: readonly api.UntracedView[],
): Float64Array {
  const times = new Float64Array(count);
  for (const { row, from, to } of critical) if (row >= 0) times[row] = (times[row] as number) + to - from;
  for (const { parent, from, to } of untraced) {
    // What no span explains is shown below one that lasts as long as the sandbox, for which no start waits.
    if (parent >= 0 && times[parent] !== 0) times[parent] = (times[parent] as number) - (to - from);
  }
  return times;
}

/** Spans of which statistics are remembered at once, more than a store of a gigabyte holds: some 100 MB. */
const MAX_REMEMBERED_SPANS = 2_000_000;

/** The compact forms of sandboxes, as long as no span of theirs has come since. */
export class CompactSandboxes {
  readonly numbers: OperationNumbers = new OperationNumbers();
  readonly #known = new Map<string, { readonly spans: number; readonly compact: CompactSandbox }>();
  #spans = 0;

  get(sid: string, spans: number): CompactSandbox | undefined {
    const known = this.#known.get(sid);
    return known?.spans === spans ? known.compact : undefined;
  }

  /** Remembers a sandbox; those that were remembered first are forgotten if there are too many. */
  put(computed: ComputedSandbox): CompactSandbox {
    const { sid, spans } = computed.stored;
    const compact = compactSandbox(computed, this.numbers);
    this.forget(sid);
    this.#known.set(sid, { spans, compact });
    this.#spans += compact.count;
    for (const oldest of this.#known.keys()) {
      if (this.#spans <= MAX_REMEMBERED_SPANS || oldest === sid) break;
      this.forget(oldest);
    }
    return compact;
  }

  forget(sid: string): void {
    this.#spans -= this.#known.get(sid)?.compact.count ?? 0;
    this.#known.delete(sid);
  }
}
