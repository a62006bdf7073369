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

test("slower than the reference is not enough, whatever the goal", () => {
  const goal = { kind: "min", value: 1 } as const;
  assert.equal(reached({ ...ROW, value: 2, goal, ratio: 1 }), true);
  assert.equal(reached({ ...ROW, value: 2, goal, ratio: 0.99 }), false);
});
