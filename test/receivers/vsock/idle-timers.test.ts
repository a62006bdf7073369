import assert from "node:assert/strict";
import { test } from "node:test";
import { TICK_MS } from "../../../src/receivers/vsock/receiver.ts";
import { type PendingTimers, watchTimers } from "../../support/pending-timers.ts";
import { FakeConnection, setUp } from "./support.ts";

const HALF_FRAME = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 9, 1]);
const REST_OF_FRAME = new Uint8Array(8);

/** The delays of the timers that a receiver has set, milliseconds. Its log's, which fire once, are not its own. */
function delaysOf(timers: PendingTimers): () => number[] {
  return () => timers.list().filter(({ stack }) => !stack.includes("base/log.ts")).map(({ delayMs }) => delayMs);
}

test("guests that only say nothing need no timer", () => {
  using timers = watchTimers();
  const delays = delaysOf(timers);
  const { receiver } = setUp();
  const guests = [1, 2, 3].map((cid) => receiver.accept(new FakeConnection(`vsock:${cid}:1024`)));
  assert.deepEqual(delays(), []);
  guests[0]?.data(HALF_FRAME);
  guests[1]?.data(HALF_FRAME);
  assert.deepEqual(delays(), [TICK_MS]);
  guests[0]?.data(REST_OF_FRAME);
  receiver.time += TICK_MS;
  receiver.tick();
  assert.deepEqual(delays(), [TICK_MS]);
  guests[1]?.data(REST_OF_FRAME);
  receiver.time += TICK_MS;
  receiver.tick();
  assert.deepEqual(delays(), []);
  receiver.close();
});

test("a guest that is paused needs a timer until it is read again", () => {
  using timers = watchTimers();
  const delays = delaysOf(timers);
  const { receiver, sink } = setUp();
  receiver.accept(new FakeConnection());
  sink.setPaused(true);
  assert.deepEqual(delays(), [TICK_MS]);
  receiver.accept(new FakeConnection());
  assert.deepEqual(delays(), [TICK_MS]);
  sink.setPaused(false);
  receiver.time += TICK_MS;
  receiver.tick();
  assert.deepEqual(delays(), []);
  receiver.close();
});

test("with --idle-timeout one timer waits for the guest that has been silent for longest", () => {
  using timers = watchTimers();
  const delays = delaysOf(timers);
  const { receiver, metrics } = setUp({ idleTimeoutMs: 60_000 });
  const first = new FakeConnection("vsock:3:1");
  const second = new FakeConnection("vsock:4:1");
  receiver.accept(first);
  receiver.time += 20_000;
  const later = receiver.accept(second);
  assert.deepEqual(delays(), [60_000]);
  receiver.time += 40_000;
  receiver.tick();
  // Exactly as long as it may be.
  assert.deepEqual([first.isDestroyed, delays()], [false, [TICK_MS]]);
  receiver.time += TICK_MS;
  receiver.tick();
  assert.deepEqual([first.isDestroyed, delays()], [true, [20_000 - TICK_MS]]);
  later.data(Uint8Array.of(0));
  // In the middle of a frame it is looked at more often.
  assert.deepEqual(delays(), [TICK_MS]);
  receiver.close();
  assert.equal(delays().includes(TICK_MS), false);
  assert.deepEqual(metrics.disconnected, { "idle-timeout": 1 });
});

test("a guest whose bytes came while the process was held is not taken for a silent one", () => {
  const { receiver } = setUp({ idleTimeoutMs: 60_000 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  receiver.time += 90_000;
  receiver.tick();
  assert.equal(connection.isDestroyed, false);
  guest.data(HALF_FRAME);
  guest.data(REST_OF_FRAME);
  receiver.time += 59_000;
  receiver.tick();
  assert.equal(connection.isDestroyed, false);
  receiver.close();
});
