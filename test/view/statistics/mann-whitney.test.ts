import assert from "node:assert/strict";
import { test } from "node:test";
import { mannWhitney, upperTail } from "../../../src/view/statistics/mann-whitney.ts";
import { holm } from "../../../src/view/statistics/holm.ts";

/** Whether two numbers agree to ten digits. */
function assertClose(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 1e-10 * Math.abs(expected), `${actual} is not ${expected}`);
}

test("the tail of the normal distribution is SciPy's", () => {
  for (
    const [z, p] of [
      [0, 0.5],
      [0.5, 0.3085375387259869],
      [1, 0.15865525393145707],
      [2, 0.022750131948179195],
      [2.8, 0.002555130330427932],
      [2.9, 0.0018658133003840375],
      [4, 3.167124183311986e-05],
      [6, 9.865876450376946e-10],
      [10, 7.61985302416047e-24],
      [20, 2.7536241186061556e-89],
    ] as const
  ) assertClose(upperTail(z), p);
});

test("Mann–Whitney's U and p with ties are SciPy's", () => {
  const first = [3, 5, 5, 8, 13, 21, 34, 34, 55, 1, 2, 2, 2, 9, 10, 11, 12, 40, 41, 42];
  const second = [4, 4, 4, 6, 7, 8, 8, 9, 10, 20, 30, 31, 32, 33, 33, 50, 60, 61, 70, 80, 90];
  const { u, p } = mannWhitney(first, second);
  assert.equal(u, 156);
  assertClose(p, 0.16258723122889363);
  assert.equal(mannWhitney(second, first).u, first.length * second.length - 156);
  assertClose(mannWhitney(second, first).p, p);
});

test("samples of equal values do not differ", () => {
  assert.equal(mannWhitney([7, 7, 7], [7, 7]).p, 1);
  assert.equal(mannWhitney([], []).p, 1);
});

test("Holm's correction multiplies the smallest p by the number of tests and never decreases", () => {
  assert.deepEqual(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
  assert.deepEqual(holm([0.9, 0.8]), [1, 1]);
  assert.deepEqual(holm([]), []);
});
