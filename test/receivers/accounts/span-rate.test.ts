import assert from "node:assert/strict";
import { test } from "node:test";
import { SpanRate } from "../../../src/receivers/accounts/span-rate.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("what would take longer to pay for than a guest may be paused is refused, and costs nothing", () => {
  let now = 0;
  const rate = new SpanRate(100, () => now);
  // What is there, and 15 s in advance.
  assert.deepEqual([rate.take(1600), rate.wait], [true, 15_000]);
  assert.deepEqual([rate.take(1), rate.wait], [false, 15_000]);
  now += 1000;
  assert.deepEqual([rate.take(101), rate.take(100), rate.take(1)], [false, true, false]);
  now += 15_000;
  assert.equal(rate.wait, 0);
});

test("whether spans would be given is asked without taking them", () => {
  const rate = new SpanRate(100, () => 0);
  assert.deepEqual([rate.has(1600), rate.has(1601), rate.wait], [true, false, 0]);
  assert.equal(rate.take(1590), true);
  assert.deepEqual([rate.has(10), rate.has(11), rate.take(10), rate.has(1)], [true, false, true, false]);
});

test("connections are read again one after the other, and not before there is something to take", async () => {
  let now = 0;
  const rate = new SpanRate(1000, () => now);
  const resumed: number[] = [];
  const waiters = [1, 2, 3].map((number) => ({ resumeForRate: () => void resumed.push(number) }));
  rate.take(1050);
  for (const waiter of waiters) rate.enqueue(waiter);
  const [, second] = waiters;
  assert.ok(second !== undefined);
  rate.leave(second);
  await sleep(100);
  assert.deepEqual(resumed, []);
  now += 50;
  while (resumed.length < 1) await sleep(1);
  assert.deepEqual(resumed, [1]);
  while (resumed.length < 2) await sleep(1);
  assert.deepEqual(resumed, [1, 3]);
});

test("a connection that is read again and brings too much keeps the others waiting", async () => {
  let now = 0;
  const rate = new SpanRate(1000, () => now);
  const resumed: string[] = [];
  rate.take(1010);
  rate.enqueue({
    resumeForRate: () => {
      resumed.push("greedy");
      rate.take(2000);
    },
  });
  const other = { resumeForRate: () => void resumed.push("other") };
  rate.enqueue(other);
  now += 10;
  while (resumed.length < 1) await sleep(5);
  await sleep(50);
  assert.deepEqual(resumed, ["greedy"]);
  rate.leave(other);
});
