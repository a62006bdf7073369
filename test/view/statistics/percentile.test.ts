import assert from "node:assert/strict";
import { test } from "node:test";
import { percentile, shareBelow } from "../../../src/view/statistics/percentile.ts";

test("percentiles are NumPy's", () => {
  const values = [3, 5, 5, 8, 13, 21, 34, 34, 55, 1, 2, 2, 2, 9, 10, 11, 12, 40, 41, 42].sort((a, b) => a - b);
  assert.equal(percentile(values, 0), 1);
  assert.equal(percentile(values, 0.5), 10.5);
  assert.ok(Math.abs(percentile(values, 0.95) - 42.65) < 1e-12);
  assert.ok(Math.abs(percentile(values, 0.99) - 52.53) < 1e-12);
  assert.equal(percentile(values, 1), 55);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test("the share below a value counts equal ones half", () => {
  assert.equal(shareBelow([1, 2, 2, 3], 2), 0.5);
  assert.equal(shareBelow([1, 2, 2, 3], 0), 0);
  assert.equal(shareBelow([1, 2, 2, 3], 9), 1);
});
