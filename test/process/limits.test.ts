import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

const MIB = 1024 * 1024;

test("beyond --max-guests a guest is refused, counted and logged once, until another one leaves", async () => {
  await using pipeline = await Pipeline.start(["--max-guests", "2", "--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using first = await Guest.connect(sandbox.address);
  {
    using second = await Guest.connect(sandbox.address);
    await until(async () => await forwarder.metric("guests") === 2, "two guests");
    for (let i = 0; i < 3; i++) {
      // The connection may end before this side has noticed that it was made.
      using refused = await Guest.connect(sandbox.address).catch(() => undefined);
      await refused?.write(plainFrames(100, 1)).catch(() => {});
      await refused?.gone();
    }
    await second.write(plainFrames(1, 1));
    await second.end();
  }
  await until(async () => await forwarder.metric("guests") === 1, "one has left");
  using third = await Guest.connect(sandbox.address);
  await third.write(plainFrames(2, 1));
  await first.write(plainFrames(3, 1));
  await taken(stub, 3);
  assert.deepEqual(takenIds(stub), plainIds(1, 3));
  assert.equal(await forwarder.metric("guests_disconnected_total", "max-guests"), 3);
  assert.equal(await forwarder.metric("guests_limit"), 2);
  const refusals = forwarder.recordsOf(/^guest refused/);
  assert.deepEqual(refusals.map(({ guest, limit }) => [guest, limit]), [[sandbox.id, 2]]);
});

test("after --frame-timeout a frame is given up, but its guest stays connected", async () => {
  await using pipeline = await Pipeline.start(["--frame-timeout", "1s", "--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using slow = await Guest.connect(sandbox.address);
  const frame = plainFrames(9000, 1);
  using steady = await Guest.connect(sandbox.address);
  // Also always within a frame, but never for long within the same one.
  const stream = plainFrames(2, 1000);
  const half = stream.length / 1000 / 2;
  await steady.write(stream.subarray(0, half));
  let whole = 0;
  const invalid = () => forwarder.metric("spans_invalid_total", "truncated");
  for (; forwarder.recordsOf(/^invalid payload/).length === 0; whole++) {
    await slow.write(frame.subarray(whole, whole + 1));
    await steady.write(stream.subarray((2 * whole + 1) * half, (2 * whole + 3) * half));
    await sleep(50);
  }
  // The rest of that frame is not a frame, but what follows is.
  await slow.write(frame.subarray(whole));
  await slow.write(plainFrames(1, 1));
  await taken(stub, 1 + whole);
  assert.deepEqual(takenIds(stub), plainIds(1, 1 + whole));
  assert.deepEqual([slow.closed, steady.closed], [false, false]);
  assert.equal(await invalid(), 1);
  assert.equal(await forwarder.metric("guests_disconnected_total"), 0);
  const { guest, reason, error } = await forwarder.record("invalid payload skipped");
  assert.deepEqual([guest, reason], [sandbox.id, "truncated"]);
  assert.match(String(error), /--frame-timeout/);
});

test("--idle-timeout, off by default, disconnects only guests that send nothing", async () => {
  await using pipeline = await Pipeline.start(["--idle-timeout", "1s", "--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using idle = await Guest.connect(sandbox.address);
  await idle.write(plainFrames(1, 1));
  using busy = await Guest.connect(sandbox.address);
  let spans = 1;
  for (; !idle.closed; spans++) {
    await busy.write(plainFrames(1 + spans, 1));
    await sleep(50);
  }
  await taken(stub, spans);
  assert.deepEqual(takenIds(stub), plainIds(1, spans));
  assert.equal(busy.closed, false);
  assert.equal(await forwarder.metric("guests_disconnected_total", "idle-timeout"), 1);
  const { reason } = await forwarder.record("guest disconnected");
  assert.match(String(reason), /--idle-timeout/);
});

/**
 * Has four unfinished frames, 1.7 MiB in all, the second of them in a connection to `second`. That one is the largest,
 * so it must be closed for `reason`, and the others must continue.
 */
async function holdFrames(
  { sandbox, stub, forwarder }: Pipeline,
  second: string,
  reason: string,
): Promise<void> {
  const bytes = [0.3, 0.9, 0.3, 0.2].map((share) => Math.floor(share * MIB));
  const guests: Guest[] = [];
  const rest: Uint8Array[] = [];
  for (const [i, size] of bytes.entries()) {
    const frame = plainFrames(1 + i, 1, size);
    const guest = await Guest.connect(i === 1 ? second : sandbox.address);
    guests.push(guest);
    rest.push(frame.subarray(-1));
    await guest.write(frame.subarray(0, -1));
    // One after the other, so that it is known which one exceeds the limit.
    await until(
      async () => await forwarder.metric("received_bytes_total") >= sum(bytes.slice(0, i + 1)),
      "it is read",
    );
  }
  await guests[1]?.gone();
  for (const [i, last] of rest.entries()) if (i !== 1) await guests[i]?.write(last);
  await taken(stub, 3);
  assert.deepEqual(takenIds(stub), [...plainIds(1, 1), ...plainIds(3, 2)]);
  assert.equal(await forwarder.metric("guests_disconnected_total", reason), 1);
  const record = await forwarder.record("guest disconnected");
  assert.match(String(record["reason"]), new RegExp(`--max-${reason}`));
  for (const guest of guests) guest[Symbol.dispose]();
}

const SMALL_FRAMES = [
  "--max-frame-bytes",
  "1MiB",
  "--max-guest-bytes",
  "1536KiB",
  "--metrics",
  "0",
];

test("beyond --max-guest-bytes a guest's largest connection is closed, and the others continue", async () => {
  await using pipeline = await Pipeline.start(SMALL_FRAMES);
  await holdFrames(pipeline, pipeline.sandbox.address, "guest-bytes");
});

test("beyond --max-total-guest-bytes the guest that holds the most is disconnected, but no other", async () => {
  using other = new Sandbox();
  await using pipeline = await Pipeline.start([
    ...SMALL_FRAMES,
    ...["--max-total-guest-bytes", "1536KiB", "--socket-path", other.socketPath],
  ]);
  await holdFrames(pipeline, other.address, "total-guest-bytes");
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

test("beyond --max-spans-per-second a guest is throttled, and loses nothing even if it leaves", async () => {
  using other = new Sandbox();
  await using pipeline = await Pipeline.start([
    ...["--max-spans-per-second", "100", "--metrics", "0", "--socket-path", other.socketPath],
  ]);
  const { sandbox, stub, forwarder } = pipeline;
  using fast = await Guest.connect(sandbox.address);
  // As many as four seconds allow: they have been read, so they are accepted, followed by a pause of three seconds.
  await fast.write(plainFrames(1, 400));
  const { guest, limit } = await forwarder.record(
    "guest is over its rate: it is throttled, and its spans wait in the guest",
  );
  assert.deepEqual([guest, limit], [sandbox.id, 100]);
  await fast.write(plainFrames(401, 400));
  await fast.end();
  // This does not slow down another guest.
  await guestLife(other.address, plainFrames(2001, 10));
  await until(() => stub.taken.has(plainIds(2001, 1)[0] as string), "the other's spans arrive");
  assert.equal(stub.taken.has(plainIds(401, 1)[0] as string), false);
  await taken(stub, 810);
  assert.deepEqual(takenIds(stub), [...plainIds(1, 800), ...plainIds(2001, 10)]);
  assert.ok(await forwarder.metric("rate_limit_pauses_total") >= 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("with too few file descriptors guests wait until others leave, and all are served", async () => {
  await using pipeline = await Pipeline.start(["--metrics", "0"], {
    through: ["prlimit", "--nofile=128"],
  });
  const { sandbox, stub, forwarder } = pipeline;
  const warned = await forwarder.record(/leaves fewer descriptors than --max-guests/);
  assert.deepEqual([warned.level, warned["descriptors"], warned["maxGuests"]], ["WARN", 64, 4096]);
  const count = 300;
  const guests = await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const guest = await Guest.connect(sandbox.address);
      await guest.write(plainFrames(1 + i, 1));
      return guest;
    }),
  );
  const problem = await forwarder.record(/file descriptors/);
  assert.equal(problem.level, "WARN");
  // The warning may come before those for whom there is a descriptor have been accepted.
  let connected = 0;
  await until(async () => (connected = await forwarder.metric("guests")) > 10, "many are served at once");
  assert.ok(connected < 128, `${connected} guests at once`);
  assert.ok(stub.taken.size < count);
  // Guests that were served leave, so that others can connect.
  await Promise.all(guests.map((guest) => guest.end()));
  await taken(stub, count);
  assert.deepEqual(takenIds(stub), plainIds(1, count));
  assert.equal(await forwarder.metric("guests_accepted_total"), count);
  for (const guest of guests) guest[Symbol.dispose]();
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
