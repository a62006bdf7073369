import type { StoreReader } from "../store/store-reader.ts";
import type * as api from "./api.ts";
import { distributionOf, type OperationSample, sampleOperations } from "./operations-view.ts";
import type { SandboxIndex } from "./sandbox-index.ts";
import { startsOf } from "./sandbox-index.ts";
import { holm } from "./statistics/holm.ts";
import { LEAST_VALUES, mannWhitney } from "./statistics/mann-whitney.ts";

/** Differences that chance alone makes less often than this are said. */
export const SIGNIFICANCE = 0.01;

/** The name of the row that compares how long sandboxes took to start. */
export const WHOLE_START = "whole start";

/** One side of a comparison. */
export interface Cohort {
  readonly label: string;
  readonly reader: StoreReader;
  readonly index: SandboxIndex;
}

interface Pair {
  readonly name: string;
  readonly side: api.CompareRow["side"];
  readonly a: number[];
  readonly b: number[];
  readonly slowest: OperationSample["slowest"];
}

/**
 * Compares sandboxes of two labels, operation by operation. Several spans of an operation in one sandbox are not
 * independent of each other, so a sandbox counts once, with the sum of what its spans of the operation took.
 */
export function compareCohorts(a: Cohort, b: Cohort): api.Comparison {
  const first = perSandbox(a);
  const second = perSandbox(b);
  const pairs = [...new Set([...first.sums.keys(), ...second.sums.keys()])].map((key): Pair => {
    const one = first.sums.get(key);
    const other = second.sums.get(key);
    const { name, side } = (other ?? one) as OperationSums;
    return { name, side, a: [...(one?.values() ?? [])], b: [...(other?.values() ?? [])], slowest: other?.slowest };
  });
  const whole: Pair = { name: WHOLE_START, side: "sandbox", a: first.starts, b: second.starts, slowest: undefined };
  const rows = judge([whole, ...pairs]);
  const [wholeRow, ...others] = rows as [api.CompareRow, ...api.CompareRow[]];
  return {
    a: { label: a.label, sandboxes: first.sandboxes },
    b: { label: b.label, sandboxes: second.sandboxes },
    labels: [...new Set([...a.index.labels(), ...b.index.labels()])].sort(),
    rows: [wholeRow, ...others.sort(clearestFirst)],
  };
}

class OperationSums {
  readonly name: string;
  readonly side: OperationSample["side"];
  readonly slowest: OperationSample["slowest"];
  readonly #bySandbox = new Map<string, number>();

  constructor({ name, side, slowest }: OperationSample) {
    this.name = name;
    this.side = side;
    this.slowest = slowest;
  }

  add(sandbox: string, duration: number): void {
    this.#bySandbox.set(sandbox, (this.#bySandbox.get(sandbox) ?? 0) + duration);
  }

  values(): Iterable<number> {
    return this.#bySandbox.values();
  }
}

function perSandbox(
  { label, reader, index }: Cohort,
): { sums: Map<string, OperationSums>; starts: number[]; sandboxes: number } {
  const sums = new Map<string, OperationSums>();
  const { samples } = sampleOperations(reader, index, { label });
  for (const sample of samples) {
    const one = new OperationSums(sample);
    for (const [at, duration] of sample.durations.entries()) one.add(sample.sandboxOf[at] as string, duration);
    sums.set(`${sample.side} ${sample.name}`, one);
  }
  const sandboxes = index.ofLabel(label);
  return { sums, starts: startsOf(sandboxes.map(({ summary }) => summary)), sandboxes: sandboxes.length };
}

function judge(pairs: readonly Pair[]): api.CompareRow[] {
  const isEnough = ({ a, b }: Pair): boolean => a.length >= LEAST_VALUES && b.length >= LEAST_VALUES;
  const tested = pairs.filter(isEnough);
  const corrected = holm(tested.map(({ a, b }) => mannWhitney(b, a).p));
  const pOf = new Map(tested.map((pair, at) => [pair, corrected[at] as number]));
  return pairs.map((pair): api.CompareRow => {
    const { name, side, slowest } = pair;
    const a = distributionOf(pair.a);
    const b = distributionOf(pair.b);
    const p = pOf.get(pair);
    const change = a.count > 0 && b.count > 0 && a.p50 > 0 ? (b.p50 - a.p50) / a.p50 : undefined;
    return {
      name,
      side,
      a,
      b,
      ...(change !== undefined && { change }),
      ...(p !== undefined && { p }),
      verdict: verdictOf(a, b, p, change),
      ...(slowest !== undefined && { slowest }),
    };
  });
}

function verdictOf(
  a: api.Distribution,
  b: api.Distribution,
  p: number | undefined,
  change: number | undefined,
): api.CompareRow["verdict"] {
  if (a.count === 0) return "only in b";
  if (b.count === 0) return "only in a";
  if (p === undefined) return "too few";
  if (p >= SIGNIFICANCE || change === undefined || change === 0) return "same";
  return change > 0 ? "slower" : "faster";
}

function clearestFirst(a: api.CompareRow, b: api.CompareRow): number {
  const isSaid = ({ verdict }: api.CompareRow): number => verdict === "slower" || verdict === "faster" ? 0 : 1;
  return isSaid(a) - isSaid(b) || Math.abs(b.b.p50 - b.a.p50) - Math.abs(a.b.p50 - a.a.p50) ||
    a.name.localeCompare(b.name, "en");
}
