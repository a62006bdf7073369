import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { alignClock } from "../../../src/view/model/clock.ts";
import { criticalPath } from "../../../src/view/model/critical-path.ts";
import { selfTimes } from "../../../src/view/model/self-time.ts";
import { type SpanInput, type SpanTable, spanTable } from "../../../src/view/model/span-table.ts";
import { holm } from "../../../src/view/statistics/holm.ts";
import { mannWhitney } from "../../../src/view/statistics/mann-whitney.ts";
import { percentile } from "../../../src/view/statistics/percentile.ts";
import { Random } from "../../decode/support/random.ts";
import { test } from "../../process/support/test.ts";
import { collatedSandbox, criticalTimes, recordedSpans, tableOf } from "../../view/model/support.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** What NumPy and SciPy, and other algorithms, make of cases. */
interface Opinion {
  readonly trees: readonly { readonly self: number[]; readonly critical: number[] }[];
  readonly samples: readonly { readonly u: number; readonly p: number; readonly percentiles: number[] }[];
  readonly holm: readonly number[][];
  readonly clocks: readonly ([number, number] | null)[];
}

interface Tree {
  readonly table: SpanTable;
  readonly from: number;
  readonly to: number;
}

function opinionOf(cases: object): Opinion {
  const python = execFileSync(here("scipy"), { encoding: "utf8" }).trim();
  const options = { input: JSON.stringify(cases), encoding: "utf8", maxBuffer: 2 ** 28 } as const;
  return JSON.parse(execFileSync(python, [here("second-opinion.py")], options)) as Opinion;
}

/** Microseconds in place of nanoseconds: the second opinion counts each unit of time. */
function coarse(spans: readonly SpanInput[]): SpanInput[] {
  return spans.map((span) => ({ ...span, startNs: span.startNs / 1000n, endNs: span.endNs / 1000n }));
}

function randomTree(random: Random): SpanTable {
  const count = 1 + random.below(30);
  return tableOf(...Array.from({ length: count }, (_, i) => {
    const from = random.below(1000);
    return { id: `s${i}`, ...(i > 0 && { in: `s${random.below(i + 2)}` }), from, to: from + random.below(500) };
  }));
}

function assertClose(actual: number, expected: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, not ${expected}`,
  );
}

test("what the viewer computes is what NumPy, SciPy and other algorithms compute", async () => {
  const random = new Random(11);
  const recorded = [collatedSandbox(), recordedSpans("rust-session", "runtime")].map((spans) =>
    spanTable(coarse(spans))
  );
  const trees = [...recorded, ...Array.from({ length: 300 }, () => randomTree(random))].map((table): Tree => {
    const ends = [...table.start].map((start, row) => start + (table.duration[row] as number));
    return { table, from: 0, to: Math.max(...ends) };
  });
  const values = (): number[] => Array.from({ length: 20 + random.below(200) }, () => random.below(500));
  const samples = Array.from({ length: 200 }, () => [values(), values()] as const);
  const families = Array.from(
    { length: 50 },
    () => Array.from({ length: 1 + random.below(30) }, () => random.below(1000) / 1000),
  );
  const clocks = Array.from({ length: 100 }, () =>
    Array.from({ length: 1 + random.below(5) }, () => {
      const low = random.below(100);
      return { low, high: low + random.below(200) };
    }));
  const opinion = opinionOf({
    trees: trees.map(({ table, from, to }) => ({
      from,
      to,
      spans: [...table.parent].map((parent, row) => [
        parent,
        table.start[row] as number,
        (table.start[row] as number) + (table.duration[row] as number),
      ]),
    })),
    samples,
    holm: families,
    clocks: clocks.map((intervals) => intervals.map(({ low, high }) => [low, high])),
  });
  for (const [index, { table, from, to }] of trees.entries()) {
    assert.deepEqual([...selfTimes(table)], opinion.trees[index]?.self, `self times of tree ${index}`);
    const times = criticalTimes(table, criticalPath(table, { from, to }));
    assert.deepEqual([...times], opinion.trees[index]?.critical, `critical path of tree ${index}`);
  }
  for (const [index, [a, b]] of samples.entries()) {
    const { u, p } = mannWhitney(a, b);
    const other = opinion.samples[index];
    assert.equal(u, other?.u);
    assertClose(p, other?.p ?? NaN, `p of sample ${index}`);
    const sorted = [...b].sort((x, y) => x - y);
    for (const [at, share] of [0, 0.25, 0.5, 0.95, 0.99, 1].entries()) {
      assertClose(percentile(sorted, share), other?.percentiles[at] ?? NaN, `percentile ${share} of sample ${index}`);
    }
  }
  for (const [index, family] of families.entries()) {
    for (const [at, p] of holm(family).entries()) assertClose(p, opinion.holm[index]?.[at] ?? NaN, `Holm ${index}`);
  }
  for (const [index, intervals] of clocks.entries()) {
    const clock = alignClock(intervals);
    const other = opinion.clocks[index];
    if (other === null) assert.equal(clock.state, "drifts");
    else assert.deepEqual(clock, { state: "aligned", offset: other?.[0], error: other?.[1] });
  }
  await Promise.resolve();
});
