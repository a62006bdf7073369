import assert from "node:assert/strict";
import { test } from "node:test";
import { reached } from "../../scripts/benchmark/report.ts";

const ROW = { figure: "it", unit: "s" };

test("a figure reaches a goal, or not, or has none", () => {
  assert.equal(reached({ ...ROW, value: 1 }), undefined);
  assert.equal(reached({ ...ROW, value: 1.5, goal: { kind: "max", value: 1.5 } }), true);
  assert.equal(reached({ ...ROW, value: 1.51, goal: { kind: "max", value: 1.5 } }), false);
  assert.equal(reached({ ...ROW, value: 1.5, goal: { kind: "min", value: 1.5 } }), true);
  assert.equal(reached({ ...ROW, value: 1.49, goal: { kind: "min", value: 1.5 } }), false);
});

test("each comparison may have a goal too, and all of them count", () => {
  const goal = { kind: "min", value: 1 } as const;
  const against = (...ratios: number[]) => ratios.map((ratio) => ({ with: "another", ratio, goal }));
  assert.equal(reached({ ...ROW, value: 2, comparisons: [{ with: "another", ratio: 9 }] }), undefined);
  assert.equal(reached({ ...ROW, value: 2, comparisons: against(1) }), true);
  assert.equal(reached({ ...ROW, value: 2, goal, comparisons: against(1, 0.99) }), false);
  assert.equal(reached({ ...ROW, value: 0.5, goal, comparisons: against(1) }), false);
});
