import assert from "node:assert/strict";
import { test } from "node:test";
import { TICK_MS } from "../../../src/receivers/vsock/receiver.ts";
import { FakeConnection, setUp } from "./support.ts";

const HALF_FRAME = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 9, 1]);

/** Lets time pass as it does while the process runs. */
function pass(receiver: ReturnType<typeof setUp>["receiver"], ms: number): void {
  for (const end = receiver.time + ms; receiver.time < end;) {
    receiver.time += TICK_MS;
    receiver.tick();
  }
}

test("time in which the process was held does not count against guests", () => {
  const { receiver, metrics, vsock } = setUp({ frameTimeoutMs: 5000, idleTimeoutMs: 8000 });
  const begun = new FakeConnection();
  const idle = new FakeConnection();
  receiver.accept(begun).data(HALF_FRAME);
  receiver.accept(idle);
  pass(receiver, 2000);
  receiver.time += 3_600_000;
  receiver.tick();
  pass(receiver, 2000);
  assert.deepEqual([vsock.invalid, idle.isDestroyed], [{}, false]);
  pass(receiver, 1500);
  assert.deepEqual([vsock.invalid, idle.isDestroyed], [{ truncated: 1 }, false]);
  pass(receiver, 3000);
  assert.deepEqual([begun.isDestroyed, idle.isDestroyed], [true, true]);
  assert.deepEqual(metrics.disconnected, { "idle-timeout": 2 });
});

test("what is read right after the process was held has its whole time, and no more", () => {
  const { receiver, vsock } = setUp({ frameTimeoutMs: 5000 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  receiver.time += 3_600_000;
  guest.data(HALF_FRAME);
  receiver.tick();
  pass(receiver, 5000);
  assert.deepEqual(vsock.invalid, {});
  pass(receiver, 500);
  assert.deepEqual(vsock.invalid, { truncated: 1 });
});

test("a pause during which the process was held is not taken off twice", () => {
  const { receiver, sink, vsock } = setUp({ frameTimeoutMs: 5000 });
  const connection = new FakeConnection();
  receiver.accept(connection).data(HALF_FRAME);
  sink.setPaused(true);
  receiver.time += 3_600_000;
  receiver.tick();
  sink.setPaused(false);
  pass(receiver, 5000);
  assert.deepEqual(vsock.invalid, {});
  pass(receiver, 500);
  assert.deepEqual(vsock.invalid, { truncated: 1 });
});
