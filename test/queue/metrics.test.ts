import assert from "node:assert/strict";
import { test } from "node:test";
import { DURATION_BOUNDS, Histogram, Metrics } from "../../src/pipeline/metrics.ts";

test("an invalid payload counts as received and invalid", () => {
  const metrics = new Metrics();
  metrics.received += 3;
  metrics.invalidate("truncated");
  metrics.invalidate("truncated");
  metrics.invalidate("too-deep");
  assert.equal(metrics.received, 6);
  assert.deepEqual(metrics.invalid, { truncated: 2, "too-deep": 1 });
  assert.equal(metrics.invalidTotal, 3);
});

test("held is counted, not worked out from the rest", () => {
  const metrics = new Metrics();
  metrics.received = 10;
  assert.equal(metrics.held, 0);
  metrics.heldOpen = 4;
  metrics.heldQueued = 5;
  assert.equal(metrics.held, 9);
});

test("drops and disconnections add up by reason", () => {
  const metrics = new Metrics();
  metrics.drop("queue-full", 5);
  metrics.drop("rejected", 1);
  metrics.drop("queue-full", 2);
  metrics.disconnect("max-guests");
  metrics.disconnect("max-guests");
  assert.deepEqual(metrics.dropped, { "queue-full": 7, rejected: 1 });
  assert.equal(metrics.droppedTotal, 8);
  assert.deepEqual(metrics.disconnected, { "max-guests": 2 });
});

test("a histogram puts a value at a bound below it, and one above all bounds last", () => {
  const histogram = new Histogram([1, 2]);
  for (const value of [0, 1, 1.5, 2, 2.1, 100]) histogram.observe(value);
  assert.deepEqual([...histogram.counts], [2, 2, 2]);
  assert.equal(histogram.count, 6);
  assert.equal(histogram.sum, 106.6);
  assert.equal(new Histogram(DURATION_BOUNDS).counts.length, 15);
});
