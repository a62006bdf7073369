import type { StoredSandbox, StoreReader } from "../store/store-reader.ts";
import type * as api from "./api.ts";
import type { SandboxIndex } from "./sandbox-index.ts";
import { percentile } from "./statistics/percentile.ts";

/** Buckets of a distribution that is drawn: fewer for few values, of which many buckets would make a comb. */
const MOST_BUCKETS = 40;
const LEAST_BUCKETS = 8;
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
  /** How long starts waited for nothing but these. */
  critical: number;
  slowest: { sandbox: string; span: string; duration: number } | undefined;
}

export interface OperationSamples {
  readonly samples: readonly OperationSample[];
  readonly edges: readonly api.OperationEdge[];
  /** How long all starts took together. */
  readonly startTotal: number;
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
  const samples = new Samples(index);
  let startTotal = 0;
  const edges = new Map<number, api.OperationEdge & { count: number; total: number }>();
  for (const { stored } of index.ofLabel(query.label)) {
    const sandbox = index.compact(stored);
    startTotal += sandbox.startLength;
    const groups = query.group ? groupsOf(reader, stored, query.group) : undefined;
    const stretch = query.phase ? sandbox.phases.find(({ phase }) => phase === query.phase) : undefined;
    if (query.phase && stretch === undefined) continue;
    const placeOf = new Int32Array(sandbox.count).fill(-1);
    for (let row = 0; row < sandbox.count; row++) {
      const at = sandbox.start[row] as number;
      if (stretch !== undefined && (at < stretch.from || at >= stretch.to)) continue;
      const id = sandbox.spanId[row] as bigint;
      const place = samples.placeOf(sandbox.operation[row] as number, groups && (groups.get(id) ?? ""));
      placeOf[row] = place;
      const duration = sandbox.duration[row] as number;
      const self = sandbox.self[row] as number;
      const sample = samples.at(place);
      note(sample, stored.sid, id, duration, self, sandbox.error[row] === 1);
      sample.critical += sandbox.critical[row] as number;
      const above = placeOf[sandbox.parent[row] as number] ?? -1;
      if (above < 0) continue;
      const key = above * 2 ** 26 + place;
      const edge = edges.get(key);
      if (edge === undefined) edges.set(key, { from: above, to: place, count: 1, total: duration });
      else {
        edge.count++;
        edge.total += duration;
      }
    }
    if (query.phase || query.group) continue;
    for (const { operation, duration } of sandbox.untraced) {
      const sample = samples.at(samples.placeOf(operation));
      note(sample, stored.sid, undefined, duration, duration, false);
      sample.critical += duration;
    }
  }
  return { samples: samples.all, edges: [...edges.values()], startTotal };
}

/** The samples of operations, or of their groups, in the order of their first span. */
class Samples {
  readonly all: OperationSample[] = [];
  readonly #index: SandboxIndex;
  readonly #places = new Map<number, number>();
  readonly #groupPlaces = new Map<string, number>();

  constructor(index: SandboxIndex) {
    this.#index = index;
  }

  at(place: number): OperationSample {
    return this.all[place] as OperationSample;
  }

  placeOf(operation: number, group?: string): number {
    const known = group === undefined ? this.#places.get(operation) : this.#groupPlaces.get(`${operation} ${group}`);
    if (known !== undefined) return known;
    const { name, side } = this.#index.operation(operation);
    const sums = { errors: 0, total: 0, self: 0, critical: 0, slowest: undefined };
    const place = this.all.push({ name, side, group, durations: [], sandboxOf: [], ...sums }) - 1;
    if (group === undefined) this.#places.set(operation, place);
    else this.#groupPlaces.set(`${operation} ${group}`, place);
    return place;
  }
}

function note(
  sample: OperationSample,
  sandbox: string,
  span: bigint | undefined,
  duration: number,
  self: number,
  isError: boolean,
): void {
  sample.durations.push(duration);
  sample.sandboxOf.push(sandbox);
  sample.total += duration;
  sample.self += self;
  if (isError) sample.errors++;
  if (sample.slowest !== undefined && duration <= sample.slowest.duration) return;
  sample.slowest = { sandbox, span: span === undefined ? "" : span.toString(16).padStart(16, "0"), duration };
}

/** The value of an attribute for each span that has it, of itself or its resource, by the span's ID. */
function groupsOf(reader: StoreReader, stored: StoredSandbox, attribute: string): Map<bigint, string> {
  const groups = new Map<bigint, string>();
  const values = new Set<string>();
  for (const { spanId, value } of reader.attributeValues(stored, attribute)) {
    if (!values.has(value) && values.size >= MAX_GROUPS) continue;
    values.add(value);
    groups.set(BigInt(`0x${spanId}`), value);
  }
  return groups;
}

/** The page of operations: those that starts waited for longest first. */
export function operationList(
  reader: StoreReader,
  index: SandboxIndex,
  query: SampleQuery,
): api.OperationList {
  const { samples, edges, startTotal } = sampleOperations(reader, index, query);
  const of = (at: number): OperationSample => samples[at] as OperationSample;
  const order = samples.map((_, at) => at).sort((a, b) => of(b).critical - of(a).critical || of(b).self - of(a).self);
  const place = new Map(order.map((at, index) => [at, index]));
  return {
    label: query.label ?? "",
    labels: index.labels(),
    rows: order.map((at) => operationRow(of(at), startTotal)),
    edges: edges.map((edge) => ({ ...edge, from: place.get(edge.from) ?? 0, to: place.get(edge.to) ?? 0 })),
  };
}

function operationRow(sample: OperationSample, startTotal: number): api.OperationRow {
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
    ...(startTotal > 0 && { ofStart: sample.critical / startTotal }),
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
 * Up to {@link MOST_BUCKETS} buckets of equal width up to the 99th percentile, and one for the rest: durations have
 * long tails, which would squeeze all others into the first bucket.
 *
 * @param sorted values in order.
 */
function bucketsOf(sorted: readonly number[]): api.Distribution["buckets"] {
  const first = sorted[0];
  const last = sorted.at(-1);
  if (first === undefined || last === undefined) return [];
  const high = Math.max(percentile(sorted, 0.99), first + 1);
  const drawn = Math.min(MOST_BUCKETS, Math.max(LEAST_BUCKETS, Math.round(2 * Math.sqrt(sorted.length))));
  const width = (high - first) / drawn;
  const counts = new Array<number>(drawn + 1).fill(0);
  for (const value of sorted) {
    const bucket = Math.min(drawn, Math.floor((value - first) / width));
    counts[bucket] = (counts[bucket] as number) + 1;
  }
  return counts.map((count, bucket) => ({
    from: first + bucket * width,
    to: bucket === drawn ? Math.max(last, high) : first + (bucket + 1) * width,
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

  /** The ranges of some operations, as `side name`. */
  ranges(label: string, operations: Iterable<string>): Record<string, api.OperationRange> {
    const ranges: Record<string, api.OperationRange> = {};
    const durations = this.durations(label);
    for (const key of operations) {
      const sorted = durations.get(key);
      if (sorted === undefined) continue;
      ranges[key] = { count: sorted.length, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) };
    }
    return ranges;
  }
}

/** How long percentiles may be behind, milliseconds. */
const RANGES_KEPT_MS = 5_000;
