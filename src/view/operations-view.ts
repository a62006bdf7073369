import type { StoreReader } from "../store/store-reader.ts";
import type * as api from "./api.ts";
import { computeSandbox, pathOf } from "./sandbox-view.ts";
import type { SandboxIndex } from "./sandbox-index.ts";
import { selfTimes } from "./model/self-time.ts";
import { percentile } from "./statistics/percentile.ts";

/** Buckets of a distribution that is drawn. */
const DRAWN_BUCKETS = 40;
/** Groups of one operation: an attribute's values may be as many as its spans. */
const MAX_GROUPS = 200;

/** Everything known of one operation in the sandboxes of a label. */
export interface OperationSample {
  readonly name: string;
  readonly side: api.OperationRow["side"];
  readonly group: string | undefined;
  /** Each span's duration, nanoseconds. */
  readonly durations: number[];
  /** The sandbox of each of them. */
  readonly sandboxOf: string[];
  errors: number;
  total: number;
  self: number;
  slowest: { sandbox: string; span: string; duration: number } | undefined;
}

export interface OperationSamples {
  readonly samples: readonly OperationSample[];
  readonly edges: readonly api.OperationEdge[];
}

/** What a sample is taken over. */
export interface SampleQuery {
  /** Undefined for all labels. */
  readonly label?: string | undefined;
  /** Only spans that begin in this phase of their sandbox's start. */
  readonly phase?: string | undefined;
  /** The attribute whose values divide each operation. */
  readonly group?: string | undefined;
}

/** Goes through the spans of all sandboxes of a label. */
export function sampleOperations(reader: StoreReader, index: SandboxIndex, query: SampleQuery): OperationSamples {
  const samples = new Map<string, { readonly at: number; readonly sample: OperationSample }>();
  const edges = new Map<string, { from: number; to: number; count: number; total: number }>();
  const of = (name: string, side: OperationSample["side"], group?: string): { at: number; sample: OperationSample } => {
    const key = JSON.stringify([side, name, group]);
    let known = samples.get(key);
    if (known === undefined) {
      const sample: OperationSample = {
        name,
        side,
        group,
        durations: [],
        sandboxOf: [],
        errors: 0,
        total: 0,
        self: 0,
        slowest: undefined,
      };
      known = { at: samples.size, sample };
      samples.set(key, known);
    }
    return known;
  };
  for (const { stored } of index.ofLabel(query.label)) {
    const computed = computeSandbox(reader, stored);
    const { table, starts, spans, start } = computed;
    const self = selfTimes(table, starts);
    const groups = query.group ? groupsOf(reader, computed.stored, query.group) : undefined;
    const stretch = query.phase ? start?.phases.find(({ phase }) => phase === query.phase) : undefined;
    if (query.phase && stretch === undefined) continue;
    const found: ({ at: number; sample: OperationSample } | undefined)[] = [];
    for (let row = 0; row < table.count; row++) {
      const at = starts[row] as number;
      if (stretch !== undefined && (at < stretch.from || at >= stretch.to)) continue;
      const span = spans[table.input[row] as number];
      const group = groups?.get(`${span?.traceId}${span?.spanId}`);
      const one = of(table.name[row] as string, table.side[row] as api.Side, groups && (group ?? ""));
      found[row] = one;
      const duration = table.duration[row] as number;
      note(one.sample, stored.sid, span?.spanId ?? "", duration, self[row] as number, table.error[row] === 1);
      const above = found[table.parent[row] as number];
      if (above === undefined) continue;
      const key = `${above.at} ${one.at}`;
      const edge = edges.get(key) ?? { from: above.at, to: one.at, count: 0, total: 0 };
      edge.count++;
      edge.total += duration;
      edges.set(key, edge);
    }
    if (query.phase || query.group) continue;
    for (const { name, from, to } of pathOf(computed).untraced) {
      note(of(name, "nobody").sample, stored.sid, "", to - from, to - from, false);
    }
  }
  return { samples: [...samples.values()].map(({ sample }) => sample), edges: [...edges.values()] };
}

function note(
  sample: OperationSample,
  sandbox: string,
  span: string,
  duration: number,
  self: number,
  isError: boolean,
): void {
  sample.durations.push(duration);
  sample.sandboxOf.push(sandbox);
  sample.total += duration;
  sample.self += self;
  if (isError) sample.errors++;
  if (sample.slowest === undefined || duration > sample.slowest.duration) sample.slowest = { sandbox, span, duration };
}

/** The value of an attribute for each span that has it, of itself or its resource. */
function groupsOf(
  reader: StoreReader,
  stored: Parameters<StoreReader["records"]>[0],
  attribute: string,
): Map<string, string> {
  const groups = new Map<string, string>();
  const values = new Set<string>();
  for (const { record } of reader.records(stored)) {
    const found = [...record.attributes, ...record.resource.attributes].find(({ key }) => key === attribute)?.value;
    if (found === undefined) continue;
    const value = String(found.stringValue ?? found.intValue ?? found.boolValue ?? found.doubleValue ?? "");
    if (!values.has(value) && values.size >= MAX_GROUPS) continue;
    values.add(value);
    groups.set(`${record.traceId}${record.spanId}`, value);
  }
  return groups;
}

/** The page of operations: those that took most time of themselves first. */
export function operationList(
  reader: StoreReader,
  index: SandboxIndex,
  query: SampleQuery,
): api.OperationList {
  const { samples, edges } = sampleOperations(reader, index, query);
  const order = samples.map((_, at) => at).sort((a, b) => (samples[b]?.self ?? 0) - (samples[a]?.self ?? 0));
  const place = new Map(order.map((at, index) => [at, index]));
  return {
    label: query.label ?? "",
    labels: index.labels(),
    rows: order.map((at) => operationRow(samples[at] as OperationSample)),
    edges: edges.map((edge) => ({ ...edge, from: place.get(edge.from) ?? 0, to: place.get(edge.to) ?? 0 })),
  };
}

function operationRow(sample: OperationSample): api.OperationRow {
  const { name, side, group, sandboxOf, errors, total, self, slowest } = sample;
  return {
    ...distributionOf(sample.durations),
    name,
    side,
    ...(group !== undefined && { group }),
    sandboxes: new Set(sandboxOf).size,
    errors,
    total,
    self,
    ...(slowest !== undefined && { slowest }),
  };
}

/** Percentiles, exact, and a histogram of values. */
export function distributionOf(durations: readonly number[]): api.Distribution {
  const values = [...durations].sort((a, b) => a - b);
  const value = (share: number): number => values.length === 0 ? 0 : percentile(values, share);
  return { count: values.length, p50: value(0.5), p95: value(0.95), p99: value(0.99), buckets: bucketsOf(values) };
}

/**
 * Some {@link DRAWN_BUCKETS} buckets of equal width up to the 99th percentile, and one for the rest: durations have
 * long tails, which would squeeze all others into the first bucket.
 *
 * @param sorted values in order.
 */
function bucketsOf(sorted: readonly number[]): api.Distribution["buckets"] {
  const first = sorted[0];
  const last = sorted.at(-1);
  if (first === undefined || last === undefined) return [];
  const high = Math.max(percentile(sorted, 0.99), first + 1);
  const width = (high - first) / DRAWN_BUCKETS;
  const counts = new Array<number>(DRAWN_BUCKETS + 1).fill(0);
  for (const value of sorted) {
    const bucket = Math.min(DRAWN_BUCKETS, Math.floor((value - first) / width));
    counts[bucket] = (counts[bucket] as number) + 1;
  }
  return counts.map((count, bucket) => ({
    from: first + bucket * width,
    to: bucket === DRAWN_BUCKETS ? Math.max(last, high) : first + (bucket + 1) * width,
    count,
  }));
}

/**
 * How each operation's durations are distributed over the sandboxes of a label, for the marks beside a span. Kept for a
 * while, because each sandbox that is opened asks for it.
 */
export class OperationRanges {
  readonly #reader: StoreReader;
  readonly #index: SandboxIndex;
  readonly #now: () => number;
  readonly #known = new Map<string, { readonly until: number; readonly sorted: ReadonlyMap<string, number[]> }>();

  constructor(reader: StoreReader, index: SandboxIndex, now: () => number) {
    this.#reader = reader;
    this.#index = index;
    this.#now = now;
  }

  /** Sorted durations by `side name`. */
  durations(label: string): ReadonlyMap<string, number[]> {
    const known = this.#known.get(label);
    if (known !== undefined && this.#now() < known.until) return known.sorted;
    const sorted = new Map<string, number[]>();
    for (const { side, name, durations } of sampleOperations(this.#reader, this.#index, { label }).samples) {
      sorted.set(`${side} ${name}`, [...durations].sort((a, b) => a - b));
    }
    this.#known.set(label, { until: this.#now() + RANGES_KEPT_MS, sorted });
    return sorted;
  }

  ranges(label: string): Record<string, api.OperationRange> {
    const ranges: Record<string, api.OperationRange> = {};
    for (const [key, sorted] of this.durations(label)) {
      ranges[key] = { count: sorted.length, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) };
    }
    return ranges;
  }
}

/** How long percentiles may be behind, milliseconds. */
const RANGES_KEPT_MS = 5_000;
