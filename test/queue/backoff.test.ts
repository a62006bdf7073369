import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff, DEFAULT_RETRY } from "../../src/queue/backoff.ts";

test("waits double from the first to the longest, with full jitter", () => {
  const most = [1, 2, 3, 4, 5, 6, 7, 2000].map((n) => backoff(DEFAULT_RETRY, n, 0, () => 1));
  assert.deepEqual(most, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(backoff(DEFAULT_RETRY, 3, 0, () => 0), 0);
  assert.equal(backoff(DEFAULT_RETRY, 3, 0, () => 0.25), 1000);
});

test("what the collector asks for is a minimum, and no more than a timer can hold", () => {
  assert.equal(backoff(DEFAULT_RETRY, 1, 60_000, () => 1), 60_000);
  assert.equal(backoff(DEFAULT_RETRY, 6, 5000, () => 1), 30_000);
  assert.equal(backoff(DEFAULT_RETRY, 1, 1e12, () => 0), 2_147_483_647);
});
