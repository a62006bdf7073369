import assert from "node:assert/strict";
import { test } from "node:test";
import { Replay, SplitRecord } from "../../src/queue/replay.ts";

test("less than a hundredth of a replay is under way, and always something", () => {
  const replay = new Replay();
  replay.found(10_000);
  replay.found(5000);
  assert.equal(replay.partSpans, 100);
  assert.ok(replay.mayTake(500), "nothing is under way");
  replay.take(60);
  assert.ok(replay.mayTake(40));
  assert.ok(!replay.mayTake(41));
  replay.settle(60);
  assert.ok(replay.mayTake(500));
});

test("of a small replay a few spans are under way at once", () => {
  const replay = new Replay();
  replay.found(100);
  assert.equal(replay.partSpans, 8);
});

test("a record that is sent in parts is settled as far as all parts before are", () => {
  const record = new SplitRecord(7, 100, [10, 20, 30]);
  assert.deepEqual([record.removedSpans, record.isSettled], [100, false]);
  record.settle(1);
  assert.deepEqual([record.removedSpans, record.isSettled], [100, false]);
  record.settle(0);
  assert.deepEqual([record.removedSpans, record.isSettled], [130, false]);
  record.settle(2);
  assert.deepEqual([record.removedSpans, record.isSettled], [160, true]);
});
