import { UNASSIGNED } from "../store/sandbox-join.ts";
import type { StoredSandbox, StoreReader } from "../store/store-reader.ts";
import type * as api from "./api.ts";
import { type CompactSandbox, CompactSandboxes, type Operation } from "./compact-sandbox.ts";
import { fitsQuery } from "./page/sandbox-query.ts";
import { type ComputedSandbox, computeSandbox, type Summary, summaryView } from "./sandbox-view.ts";
import { LEAST_VALUES } from "./statistics/mann-whitney.ts";
import { percentile } from "./statistics/percentile.ts";

/** Sandboxes of one page of the list. */
const PAGE_SIZE = 200;

/** What `GET /sandboxes` can be asked for; empty strings do not count. */
export interface SandboxQuery {
  readonly state?: string | undefined;
  readonly label?: string | undefined;
  readonly vmm?: string | undefined;
  readonly error?: boolean | undefined;
  /** Words, see `fitsQuery`. */
  readonly q?: string | undefined;
  readonly sort?: string | undefined;
  readonly cursor?: string | undefined;
}

/** How long computing goes on without a pause, milliseconds. */
const WARM_SLICE_MS = 10;

const SORTS: Readonly<Record<string, (a: api.SandboxSummary, b: api.SandboxSummary) => number>> = {
  began: (a, b) => (BigInt(a.baseNs) < BigInt(b.baseNs) ? 1 : -1),
  start: (a, b) => (b.start ?? -1) - (a.start ?? -1),
  spans: (a, b) => b.spans - a.spans,
  errors: (a, b) => b.errors - a.errors,
};

/** The sandboxes of a store with what is computed of them, remembered until another span comes. */
export class SandboxIndex {
  readonly #reader: StoreReader;
  readonly #summaries = new Map<string, { readonly spans: number; readonly summary: Summary }>();
  readonly #compact = new CompactSandboxes();

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  /** Everything of one sandbox, computed anew. */
  compute(sid: string): ComputedSandbox | undefined {
    const stored = this.#reader.sandbox(sid);
    return stored && computeSandbox(this.#reader, stored);
  }

  /** What statistics need of a sandbox. */
  compact(stored: StoredSandbox): CompactSandbox {
    return this.#compact.get(stored.sid, stored.spans) ?? this.#compact.put(computeSandbox(this.#reader, stored));
  }

  operation(number: number): Operation {
    return this.#compact.numbers.at(number);
  }

  /**
   * Computes what is not computed yet of all sandboxes, with pauses, so that a store of a gigabyte does not keep spans
   * from being stored meanwhile. What asks for all sandboxes is quick after it.
   */
  async warm(): Promise<void> {
    let began = performance.now();
    for (const { sid, spans } of this.#reader.sandboxes()) {
      if (sid === UNASSIGNED || this.#compact.get(sid, spans) !== undefined) continue;
      if (performance.now() - began > WARM_SLICE_MS) {
        await new Promise((resolve) => setImmediate(resolve));
        began = performance.now();
      }
      // It may have been removed in the pause.
      const stored = this.#reader.sandbox(sid);
      if (stored === undefined) continue;
      const computed = computeSandbox(this.#reader, stored);
      this.#compact.put(computed);
      this.#remember(stored, computed.summary);
    }
  }

  summary(stored: StoredSandbox): Summary {
    const known = this.#summaries.get(stored.sid);
    if (known !== undefined && known.spans === stored.spans) return known.summary;
    if (stored.summary === undefined) {
      const computed = computeSandbox(this.#reader, stored);
      this.#compact.put(computed);
      return this.#remember(stored, computed.summary);
    }
    const summary = JSON.parse(stored.summary) as Summary;
    this.#summaries.set(stored.sid, { spans: stored.spans, summary });
    return summary;
  }

  #remember(stored: StoredSandbox, summary: Summary): Summary {
    this.#summaries.set(stored.sid, { spans: stored.spans, summary });
    this.#reader.saveSummary(stored, JSON.stringify(summary));
    return summary;
  }

  /** The list, filtered, sorted and cut into pages. */
  list(query: SandboxQuery, store: api.StoreStatus, pageSize = PAGE_SIZE): api.SandboxList {
    const stored = this.#reader.sandboxes();
    const medians = new Map<string, ReadonlyMap<api.Phase, number>>();
    const known = new Set(stored.map(({ sid }) => sid));
    for (const sid of this.#summaries.keys()) {
      if (known.has(sid)) continue;
      this.#summaries.delete(sid);
      this.#compact.forget(sid);
    }
    const all = stored.map((sandbox) => {
      if (!medians.has(sandbox.label)) medians.set(sandbox.label, this.phaseMedians(sandbox.label));
      return summaryView(sandbox, this.summary(sandbox), medians.get(sandbox.label));
    });
    const found = all.filter((sandbox) => matches(sandbox, query)).sort(SORTS[query.sort ?? "began"] ?? SORTS["began"]);
    const from = Math.max(0, Number.parseInt(query.cursor ?? "0", 10) || 0);
    const starts = startsOf(found);
    return {
      sandboxes: found.slice(from, from + pageSize),
      ...(from + pageSize < found.length && { next: String(from + pageSize) }),
      total: found.length,
      labels: this.labels(stored),
      vmms: [...new Set(all.flatMap(({ vmm }) => vmm === undefined ? [] : [vmm]))].sort(),
      ...(starts.length > 0 && { p50Start: percentile(starts, 0.5) }),
      store,
    };
  }

  labels(stored: readonly StoredSandbox[] = this.#reader.sandboxes()): string[] {
    return [...new Set(stored.filter(({ sid }) => sid !== UNASSIGNED).map(({ label }) => label))].sort();
  }

  /** The sandboxes of a label with their summaries; undefined stands for all labels. */
  ofLabel(label: string | undefined): { readonly stored: StoredSandbox; readonly summary: Summary }[] {
    return this.#reader.sandboxes()
      .filter((stored) => stored.sid !== UNASSIGNED && (label === undefined || stored.label === label))
      .map((stored) => ({ stored, summary: this.summary(stored) }));
  }

  /** The median of each phase, for those that enough sandboxes have. */
  phaseMedians(label: string): ReadonlyMap<api.Phase, number> {
    const lengths = new Map<api.Phase, number[]>();
    for (const { summary } of this.ofLabel(label)) {
      for (const { phase, from, to } of summary.phases) {
        const known = lengths.get(phase) ?? [];
        known.push(to - from);
        lengths.set(phase, known);
      }
    }
    const medians = new Map<api.Phase, number>();
    for (const [phase, values] of lengths) {
      if (values.length < LEAST_VALUES) continue;
      medians.set(phase, percentile(values.sort((a, b) => a - b), 0.5));
    }
    return medians;
  }
}

/** How long starts took, sorted. */
export function startsOf(sandboxes: readonly { readonly start?: number }[]): number[] {
  return sandboxes.flatMap(({ start }) => start === undefined ? [] : [start]).sort((a, b) => a - b);
}

function matches(sandbox: api.SandboxSummary, { state, label, vmm, error, q }: SandboxQuery): boolean {
  if (state && sandbox.state !== state) return false;
  if (label !== undefined && label !== "" && sandbox.label !== label) return false;
  if (vmm && sandbox.vmm !== vmm) return false;
  if (error === true && sandbox.errors === 0) return false;
  return fitsQuery(sandbox, q ?? "");
}
