import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

const MIB = 1024 * 1024;

test("--max-guests: one too many is refused, counted and logged once, until another has left", async () => {
  await using pipeline = await Pipeline.start(["--max-guests", "2", "--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using first = await Guest.connect(sandbox.address);
  {
    using second = await Guest.connect(sandbox.address);
    await until(async () => await forwarder.metric("guests") === 2, "two guests");
    for (let i = 0; i < 3; i++) {
      // The end may come before this side has noticed that it is connected.
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

test("--frame-timeout: a frame that does not come is given up, and its guest is not", async () => {
  await using pipeline = await Pipeline.start(["--frame-timeout", "1s", "--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using slow = await Guest.connect(sandbox.address);
  const frame = plainFrames(9000, 1);
  using steady = await Guest.connect(sandbox.address);
  // Always inside of a frame too, but never for long inside of the same.
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
  // The rest of that frame is no frame, and what comes then is.
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

test("--idle-timeout: off by default; who sends nothing is disconnected, who sends stays", async () => {
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
 * Holds four unfinished frames, 1.7 MiB in all, the second of them in a connection to `second`. That one, which is the
 * largest, must go for the reason, and the others must go on.
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
    // One after the other, so that it is known who is over the limit when.
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

test("--max-guest-bytes: of a guest that holds too much the largest connection goes, the others go on", async () => {
  await using pipeline = await Pipeline.start(SMALL_FRAMES);
  await holdFrames(pipeline, pipeline.sandbox.address, "guest-bytes");
});

test("--max-total-guest-bytes: the guest that holds most is disconnected, the others go on", async () => {
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

test("--max-spans-per-second: a guest is read more slowly, and loses nothing, even if it leaves", async () => {
  using other = new Sandbox();
  await using pipeline = await Pipeline.start([
    ...["--max-spans-per-second", "100", "--metrics", "0", "--socket-path", other.socketPath],
  ]);
  const { sandbox, stub, forwarder } = pipeline;
  using fast = await Guest.connect(sandbox.address);
  // What four seconds allow: taken, as it has been read, and paid for by a pause of three.
  await fast.write(plainFrames(1, 400));
  const { guest, limit } = await forwarder.record(
    "guest is over its rate: it is read more slowly, its spans wait in it",
  );
  assert.deepEqual([guest, limit], [sandbox.id, 100]);
  await fast.write(plainFrames(401, 400));
  await fast.end();
  // Another guest is not slowed down by that.
  await guestLife(other.address, plainFrames(2001, 10));
  await until(() => stub.taken.has(plainIds(2001, 1)[0] as string), "the other's spans arrive");
  assert.equal(stub.taken.has(plainIds(401, 1)[0] as string), false);
  await taken(stub, 810);
  assert.deepEqual(takenIds(stub), [...plainIds(1, 800), ...plainIds(2001, 10)]);
  assert.ok(await forwarder.metric("rate_limit_pauses_total") >= 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("too few file descriptors: guests wait until others have left, and all are served", async () => {
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
  const connected = await forwarder.metric("guests");
  assert.ok(connected > 10 && connected < 128, `${connected} guests at once`);
  assert.ok(stub.taken.size < count);
  // Those who are served leave, which lets others in.
  await Promise.all(guests.map((guest) => guest.end()));
  await taken(stub, count);
  assert.deepEqual(takenIds(stub), plainIds(1, count));
  assert.equal(await forwarder.metric("guests_accepted_total"), count);
  for (const guest of guests) guest[Symbol.dispose]();
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
