import assert from "node:assert/strict";
import { test } from "node:test";
import { criticalPath, type Stretch } from "../../../src/view/model/critical-path.ts";
import { type SpanTable, spanTable } from "../../../src/view/model/span-table.ts";
import { collatedSandbox, criticalTimes, tableOf } from "./support.ts";

function named(table: SpanTable, stretch: Stretch, background?: (row: number) => boolean): string[] {
  return criticalPath(table, stretch, background)
    .map(({ row, from, to }) => `${row === undefined ? "-" : table.name[row]} ${from}-${to}`);
}

test("the path follows the child that ends last, and the parent in between", () => {
  const table = tableOf(
    { id: "root", from: 0, to: 100 },
    { id: "a", in: "root", from: 10, to: 30 },
    { id: "b", in: "root", from: 30, to: 80 },
    { id: "beside", in: "root", from: 12, to: 60 },
    { id: "c", in: "b", from: 40, to: 70 },
  );
  assert.deepEqual(named(table, { from: 0, to: 100 }), [
    "root 0-10",
    "a 10-30",
    "b 30-40",
    "c 40-70",
    "b 70-80",
    "root 80-100",
  ]);
  assert.deepEqual([...criticalTimes(table, criticalPath(table, { from: 0, to: 100 }))], [30, 20, 0, 20, 30]);
});

test("where no span ran the path is nobody's", () => {
  const table = tableOf({ id: "a", from: 0, to: 10 }, { id: "b", from: 40, to: 60 });
  assert.deepEqual(named(table, { from: 0, to: 50 }), ["a 0-10", "- 10-40", "b 40-50"]);
});

test("a span that lasts as long as the sandbox is not on the path, its children are", () => {
  const table = tableOf(
    { id: "root-span", from: 0, to: 1000 },
    { id: "new", in: "root-span", from: 5, to: 20 },
    { id: "rpc", from: 30, to: 50 },
  );
  assert.deepEqual(named(table, { from: 0, to: 50 }, (row) => table.name[row] === "root-span"), [
    "- 0-5",
    "new 5-20",
    "- 20-30",
    "rpc 30-50",
  ]);
});

test("a child that outlasts its parent counts to the parent's end", () => {
  const table = tableOf({ id: "parent", from: 0, to: 10 }, { id: "child", in: "parent", from: 5, to: 90 });
  assert.deepEqual(named(table, { from: 0, to: 10 }), ["parent 0-5", "child 5-10"]);
});

test("segments cover the stretch without a gap, whatever the tree", () => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  for (let round = 0; round < 200; round++) {
    const table = tableOf(...Array.from({ length: 1 + random(40) }, (_, i) => {
      const from = random(1000);
      return { id: `s${i}`, ...(i > 0 && { in: `s${random(i + 3)}` }), from, to: from + random(400) };
    }));
    const from = random(300);
    const to = from + random(1200);
    let reached = from;
    for (const segment of criticalPath(table, { from, to })) {
      assert.equal(segment.from, reached);
      assert.ok(segment.to > segment.from);
      reached = segment.to;
    }
    assert.equal(reached, to);
  }
});

test("the path of a recorded sandbox takes as long as it does", () => {
  const table = spanTable(collatedSandbox());
  const to = table.duration[0] as number;
  const path = criticalPath(table, { from: 0, to });
  assert.equal(path.reduce((sum, segment) => sum + segment.to - segment.from, 0), to);
});
