import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "../../../src/view/statistics/histogram.ts";
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

test("a histogram's percentiles are right within 1.6 %, from nanoseconds to days", () => {
  let seed = 42;
  const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  const histogram = new Histogram();
  const values = Array.from({ length: 5000 }, () => Math.floor(2 ** (random() * 47)));
  for (const value of values) histogram.add(value);
  values.sort((a, b) => a - b);
  assert.equal(histogram.total, 5000);
  for (const share of [0.01, 0.25, 0.5, 0.95, 0.99, 1]) {
    const exact = values[Math.ceil(share * values.length) - 1] as number;
    const found = histogram.percentile(share);
    assert.ok(Math.abs(found - exact) <= exact / 64 + 0.5, `p${share * 100}: ${found} is not near ${exact}`);
  }
});

test("each value lies in its bucket", () => {
  for (
    const value of [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 2 ** 29 - 1, 2 ** 29, 2 ** 49 - 1, 2 ** 49, 2 ** 53 - 1]
  ) {
    const histogram = new Histogram();
    histogram.add(value);
    const [bucket] = histogram.buckets();
    assert.ok(bucket !== undefined && bucket.from <= value && value < bucket.to, String(value));
  }
});

test("a histogram is the same after it was written and read, merged, or a value was removed", () => {
  const histogram = new Histogram();
  for (const value of [5, 5, 1000, 123_456_789]) histogram.add(value);
  const read = Histogram.parse(histogram.serialize());
  assert.deepEqual(read.buckets(), histogram.buckets());
  read.merge(histogram);
  assert.equal(read.total, 8);
  read.remove(1000);
  read.remove(77);
  assert.equal(read.total, 7);
  assert.throws(() => Histogram.parse("5:x"), RangeError);
  assert.throws(() => Histogram.parse("5:1:2"), RangeError);
});
