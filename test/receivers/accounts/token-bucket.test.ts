import assert from "node:assert/strict";
import { test } from "node:test";
import { TokenBucket } from "../../../src/receivers/accounts/token-bucket.ts";

test("one second's worth may be taken at once, and no more is saved up", () => {
  const bucket = new TokenBucket(100, 5000);
  assert.equal(bucket.take(100, 5000), 0);
  assert.equal(bucket.take(1, 5000), 10);
  const rested = new TokenBucket(100, 0);
  assert.equal(rested.take(100, 3_600_000), 0);
  assert.equal(rested.take(50, 3_600_000), 500);
});

test("more may be taken at once where it is told so, and comes back at the rate", () => {
  const bucket = new TokenBucket(100, 0, 1000);
  assert.equal(bucket.take(1000, 0), 0);
  assert.equal(bucket.take(1, 0), 10);
  assert.equal(bucket.untilFull(5010), 5000);
  assert.equal(bucket.take(500, 5010), 0);
  assert.equal(bucket.take(1000, 3_600_000), 0);
  assert.equal(bucket.take(100, 3_600_000), 1000);
});

test("a debt is paid at the rate, and grows by what is taken meanwhile", () => {
  const bucket = new TokenBucket(10, 0);
  assert.equal(bucket.take(30, 0), 2000);
  assert.equal(bucket.take(0, 500), 1500);
  assert.equal(bucket.take(5, 1000), 1500);
  assert.equal(bucket.take(0, 2500), 0);
  assert.equal(bucket.take(1, 2500), 100);
});

test("over a long time the rate is what it is", () => {
  const bucket = new TokenBucket(1000, 0);
  let now = 0;
  let taken = 0;
  while (now < 60_000) {
    now += bucket.take(7, now);
    taken += 7;
  }
  // What a full bucket gives at the beginning comes on top.
  assert.ok(taken >= 61_000 - 7 && taken <= 61_000 + 14, `${taken}`);
});
