import assert from "node:assert/strict";
import { test } from "node:test";
import { LAST_TRY_MS, LONGEST_ASKED_MS, Outage } from "../../src/queue/outage.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { until } from "../support/until.ts";

const AWAY = new Error("connection refused");
const DAY_MS = 24 * 3600 * 1000;

function setUp(retry = { initialMs: 1000, maxMs: 30_000 }) {
  const log = new RecordingLogger();
  const clock = { now: 1000 };
  let retries = 0;
  const outage = new Outage({ log, retry, now: () => clock.now, onRetry: () => retries++ });
  return { outage, log, clock, retries: () => retries };
}

test("a collector that asks for years is tried again after five minutes, and the log says when", () => {
  const { outage, log, clock } = setUp();
  const before = Date.now();
  outage.failed({ error: AWAY, retryAfterMs: 1_000_000_000_000 });
  assert.deepEqual([outage.isActive, outage.isWaiting], [true, true]);
  const [record, ...more] = log.find("asks for a pause");
  assert.deepEqual([record?.level, more.length], ["warn", 0]);
  const until = Date.parse(String(record?.fields["until"])) - before;
  assert.ok(until >= LONGEST_ASKED_MS && until < LONGEST_ASKED_MS + 10_000, `${until} ms`);
  assert.equal(LONGEST_ASKED_MS, 300_000);
  // An answer to a request that was under way by then does not end it, one after that does.
  clock.now += LONGEST_ASKED_MS - 1;
  outage.answered();
  assert.equal(outage.isActive, true);
  clock.now += 1;
  outage.answered();
  assert.deepEqual([outage.isActive, outage.isWaiting], [false, false]);
  outage.close();
});

test("a pause no longer than the forwarder's own is not worth a line", () => {
  const { outage, log } = setUp();
  outage.failed({ error: AWAY, retryAfterMs: 30_000 });
  assert.equal(log.find("asks for a pause").length, 0);
  assert.equal(log.find("collector unreachable").length, 1);
  outage.close();
});

test("a shorter wait that comes later does not shorten a longer one", async () => {
  const { outage, retries, clock } = setUp({ initialMs: 1, maxMs: 1 });
  outage.failed({ error: AWAY, retryAfterMs: DAY_MS });
  outage.failed({ error: AWAY, retryAfterMs: 10 });
  outage.failed({ error: AWAY });
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual([retries(), outage.isWaiting], [0, true]);
  clock.now += DAY_MS;
  outage.close();
});

test("the wait ends by itself, and nothing more is waited for until the next failure", async () => {
  const { outage, retries } = setUp({ initialMs: 1, maxMs: 1 });
  outage.failed({ error: AWAY });
  await until(() => retries() === 1);
  assert.deepEqual([outage.isActive, outage.isWaiting], [true, false]);
  outage.close();
});

test("at the end the last try is made shortly before the deadline, and none after it", async () => {
  const { outage, clock, retries } = setUp();
  outage.failed({ error: AWAY, retryAfterMs: DAY_MS });
  const deadline = clock.now + LAST_TRY_MS + 50;
  outage.finish(deadline);
  assert.deepEqual([outage.isActive, outage.isWaiting, outage.isFutile], [true, false, false]);
  outage.failed({ error: AWAY, retryAfterMs: DAY_MS });
  assert.deepEqual([outage.isWaiting, outage.isFutile], [true, false]);
  await until(() => retries() === 1);
  clock.now += 50;
  outage.failed({ error: AWAY, retryAfterMs: DAY_MS });
  assert.equal(outage.isFutile, true);
  outage.close();
});
