import assert from "node:assert/strict";
import { test } from "node:test";
import { AHEAD_BYTES, AHEAD_LOW_WATER, Pace } from "../../src/queue/pace.ts";
import { until } from "../support/until.ts";

const NEVER = 1_000_000;

function setUp(patienceMs: number) {
  let impatient = 0;
  const pace = new Pace(() => impatient++, patienceMs);
  return { pace, impatience: () => impatient };
}

test("guests wait at the mark, and until half of it is taken", () => {
  const { pace } = setUp(NEVER);
  assert.equal(pace.isAhead(0), false);
  assert.equal(pace.isAhead(AHEAD_BYTES - 1), false);
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  assert.equal(pace.isAhead(AHEAD_BYTES * AHEAD_LOW_WATER), true);
  assert.equal(pace.isAhead(AHEAD_BYTES * AHEAD_LOW_WATER - 1), false);
  assert.equal(pace.isAhead(AHEAD_BYTES - 1), false);
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  pace.close();
});

test("a collector that refuses is not waited for, until it takes again", () => {
  const { pace } = setUp(NEVER);
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  pace.refused();
  assert.equal(pace.isAhead(AHEAD_BYTES), false);
  assert.equal(pace.isAhead(4 * AHEAD_BYTES), false);
  pace.taken();
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  pace.close();
});

test("a collector that answers no more is not waited for, until it takes again", async () => {
  const { pace, impatience } = setUp(5);
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  await until(() => impatience() === 1);
  assert.equal(pace.isAhead(AHEAD_BYTES), false);
  pace.taken();
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  await until(() => impatience() === 2);
  assert.equal(pace.isAhead(AHEAD_BYTES), false);
});

test("nobody grows impatient once guests are not ahead any more, or all is over", async () => {
  const { pace, impatience } = setUp(5);
  assert.equal(pace.isAhead(AHEAD_BYTES), true);
  assert.equal(pace.isAhead(0), false);
  const other = setUp(5);
  assert.equal(other.pace.isAhead(AHEAD_BYTES), true);
  other.pace.close();
  // A timer set later for a later time comes after those that were not stopped.
  const last = setUp(20);
  assert.equal(last.pace.isAhead(AHEAD_BYTES), true);
  await until(() => last.impatience() === 1);
  assert.deepEqual([impatience(), other.impatience()], [0, 0]);
});
