import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { setImmediate as nextTurn } from "node:timers/promises";
import { test } from "node:test";
import { StepQueue } from "../../../src/receivers/otlp/step-queue.ts";

/** Longer than a turn may be. */
const LONG_MS = 5;

test("each piece of work is done to its end before the next one begins", async () => {
  const queue = new StepQueue();
  const done: string[] = [];
  function* work(name: string): Generator<void, string> {
    for (let step = 1; step <= 3; step++) {
      done.push(`${name}${step}`);
      yield;
    }
    return name.toUpperCase();
  }
  const results = Promise.all(["a", "b"].map((name) => queue.run(work(name))));
  assert.deepEqual(done, []);
  assert.deepEqual(await results, ["A", "B"]);
  assert.deepEqual(done, ["a1", "a2", "a3", "b1", "b2", "b3"]);
});

test("work that fails is its caller's, and the next one is done", async () => {
  const queue = new StepQueue();
  function* failing(): Generator<void, void> {
    yield;
    throw new Error("a fault");
  }
  const failed = queue.run(failing());
  const next = queue.run(steps(1));
  await assert.rejects(failed, /a fault/);
  assert.equal(await next, 1);
});

test("work that takes longer than a turn may take is done in several", async () => {
  let turns = 0;
  let isDone = false;
  const counting = (async () => {
    while (!isDone) {
      await nextTurn();
      turns++;
    }
  })();
  assert.equal(await new StepQueue().run(steps(6, LONG_MS)), 6);
  isDone = true;
  await counting;
  assert.ok(turns >= 6, `${turns} turns`);
});

function* steps(count: number, milliseconds = 0): Generator<void, number> {
  for (let step = 0; step < count; step++) {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
    yield;
  }
  return count;
}
