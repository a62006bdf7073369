import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { concatenate, frame } from "../decode/support/fixtures.ts";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife } from "./support/sandbox.ts";
import { plainFrames, plainIds, plainRecord, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** Just a frame's header. */
function header(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length);
  return bytes;
}

/** A span in bincode with one byte changed. */
function changed(offset: number, byte: number): Uint8Array {
  const payload = encodeBincode(plainRecord(1));
  payload[offset] = byte;
  return payload;
}

const BINCODE = encodeBincode(plainRecord(1));

/** Where bincode has `is_remote`, the tag of `trace_state`, and (without trace state) the name's first byte. */
const IS_REMOTE_OFFSET = 25;
const TRACE_STATE_OFFSET = 26;
const NAME_OFFSET = 27 + 8 + 4 + 8;

const text = new TextEncoder();

/** Payloads that are not spans, and how they are logged for a guest that has sent bincode before. */
const WRONG: readonly {
  readonly payload: Uint8Array;
  readonly reason: string;
  readonly offset: number;
}[] = [
  { payload: new Uint8Array(0), reason: "truncated", offset: 0 },
  { payload: changed(IS_REMOTE_OFFSET, 7), reason: "invalid-tag", offset: IS_REMOTE_OFFSET },
  { payload: changed(TRACE_STATE_OFFSET, 2), reason: "invalid-tag", offset: TRACE_STATE_OFFSET },
  { payload: changed(NAME_OFFSET, 0xff), reason: "invalid-utf8", offset: NAME_OFFSET },
  {
    payload: concatenate([BINCODE, Uint8Array.of(0)]),
    reason: "trailing-bytes",
    offset: BINCODE.length,
  },
];

test("payloads that are not spans are skipped, counted and logged, and framing continues", async () => {
  await using pipeline = await Pipeline.start(["--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  for (const [i, { payload }] of WRONG.entries()) {
    await guest.write(concatenate([plainFrames(1 + i, 1), frame(payload)]));
  }
  await guest.write(plainFrames(1 + WRONG.length, 1));
  await taken(stub, WRONG.length + 1);
  assert.deepEqual(takenIds(stub), plainIds(1, WRONG.length + 1));
  assert.deepEqual(
    forwarder.recordsOf("invalid payload skipped").map(({ level, guest, reason, offset }) => ({
      level,
      guest,
      reason,
      offset,
    })),
    WRONG.map(({ reason, offset }) => ({ level: "WARN", guest: sandbox.id, reason, offset })),
  );
  assert.equal(await forwarder.metric("spans_invalid_total"), WRONG.length);
  assert.equal(await forwarder.metric("spans_invalid_total", "invalid-tag"), 2);
  assert.equal(await forwarder.metric("spans_invalid_total", "invalid-utf8"), 1);
});

test("payloads in no known encoding are skipped", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  const garbage = frame(new Uint8Array(300).fill(0xa5));
  await guestLife(sandbox.address, concatenate([garbage, plainFrames(1, 1)]));
  await taken(stub, 1);
  const record = await forwarder.record("invalid payload skipped");
  assert.deepEqual([record["reason"], record["offset"]], ["unknown-encoding", 0]);
});

test("a frame over --max-frame-bytes is skipped, and takes no memory", async () => {
  const limit = 1024 * 1024;
  await using pipeline = await Pipeline.start([
    ...["--metrics", "0"],
    ...["--max-frame-bytes", `${limit}`],
  ]);
  const { sandbox, stub, forwarder } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  await guest.write(plainFrames(1, 1));
  await taken(stub, 1);
  const before = peakMemory(forwarder.pid);
  const length = 256 * 1024 * 1024;
  await guest.write(header(BigInt(length)));
  const chunk = new Uint8Array(4 * 1024 * 1024).fill(1);
  for (let at = 0; at < length; at += chunk.length) await guest.write(chunk);
  // A frame that is just too large, and a span that just fits.
  await guest.write(frame(new Uint8Array(limit + 1)));
  await guest.write(plainFrames(2, 1, limit - 1000));
  await taken(stub, 2);
  assert.deepEqual(takenIds(stub), plainIds(1, 2));
  const grown = peakMemory(forwarder.pid) - before;
  assert.ok(grown < length / 4, `${grown} bytes more for a frame of ${length}`);
  assert.equal(await forwarder.metric("spans_invalid_total", "too-large"), 2);
  assert.deepEqual(
    forwarder.recordsOf("invalid payload skipped").map(({ error }) => String(error)),
    [length, limit + 1].map((bytes) => `frame of ${bytes} bytes is over --max-frame-bytes ${limit} at byte 0`),
  );
});

test("after a frame with a length up to 2^64 - 1 the guest's next frame is found", async () => {
  await using pipeline = await Pipeline.start(["--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using good = await Guest.connect(sandbox.address);
  const lengths = [2n ** 32n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n];
  for (const [index, length] of lengths.entries()) {
    using bad = await Guest.connect(sandbox.address);
    await bad.write(concatenate([header(length), plainFrames(1000 + 100 * index, 100)]));
    await bad.end();
    await forwarder.record(
      "invalid payload skipped",
      ({ error }) => String(error).startsWith(`frame of ${length} bytes`),
    );
  }
  await good.write(plainFrames(1, 3));
  await taken(stub, 403);
  assert.deepEqual(takenIds(stub), [...plainIds(1, 3), ...plainIds(1000, 400)]);
  assert.equal(await forwarder.metric("spans_invalid_total", "too-large"), 4);
  assert.equal(await forwarder.metric("spans_invalid_total"), 4);
});

test("if a stream ends inside a frame, the log says what is missing", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  const span = plainFrames(1, 1);
  await guestLife(sandbox.address, concatenate([span, span.subarray(0, 5)]));
  await guestLife(sandbox.address, concatenate([plainFrames(2, 1), span.subarray(0, 108)]));
  await forwarder.record("invalid payload skipped", ({ offset }) => offset === 100);
  assert.deepEqual(
    forwarder.recordsOf("invalid payload skipped").map(({ reason, error }) => [reason, error]),
    [
      ["truncated", "a frame ends, after 5 bytes of its header, at byte 0"],
      ["truncated", `a frame of ${span.length - 8} bytes ends at byte 100`],
    ],
  );
  await taken(stub, 2);
  assert.deepEqual(takenIds(stub), plainIds(1, 2));
});

test("a flood of garbage does not flood the log, and every frame of it is counted", async () => {
  await using pipeline = await Pipeline.start(["--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  const garbage = frame(text.encode("garbage"));
  const count = 20_000;
  const flood = concatenate(Array.from({ length: count }, () => garbage));
  await guestLife(sandbox.address, concatenate([flood, plainFrames(1, 1)]));
  await taken(stub, 1);
  assert.equal(await forwarder.metric("spans_invalid_total"), count);
  await forwarder.stop();
  const records = forwarder.recordsOf("invalid payload skipped");
  // A few at first, and one at the end that sums up the rest.
  assert.ok(records.length <= 10, `${records.length} records`);
  const suppressed = Number(records.at(-1)?.["suppressed"]);
  assert.equal(records.length - 1 + suppressed, count);
});

test("a guest that sends nothing but garbage is disconnected in the end, but not another one", async () => {
  await using pipeline = await Pipeline.start(["--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  using good = await Guest.connect(sandbox.address);
  await good.write(plainFrames(1, 1));
  using bad = await Guest.connect(sandbox.address);
  const garbage = frame(text.encode("garbage"));
  const flood = concatenate(Array.from({ length: 10_000 }, () => garbage));
  // This would wait for ever on a machine that cannot send more than 10,000 a second.
  while (!bad.closed && bad.error === undefined) {
    await bad.write(flood).catch((error: Error) => bad.error ??= error);
  }
  assert.equal(await forwarder.metric("guests_disconnected_total", "invalid-rate"), 1);
  assert.ok(await forwarder.metric("spans_invalid_total") > 100_000);
  const { reason } = await forwarder.record("guest disconnected");
  assert.match(String(reason), /more than 10000 invalid payloads a second/);
  await good.write(plainFrames(2, 1));
  await taken(stub, 2);
  assert.deepEqual(takenIds(stub), plainIds(1, 2));
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("no guest's control character gets into the log", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, forwarder } = pipeline;
  const escaped = String.raw`{"span_context":{},"\u001b[2J\u202e":1,"\u001b]0;title\u0007":}`;
  const raw = JSON.parse(`"${escaped.replaceAll('"', '\\"')}"`) as string;
  assert.ok(!escaped.includes("\x1b") && raw.includes("\x1b[2J"));
  for (const payload of [escaped, raw]) {
    await guestLife(sandbox.address, frame(text.encode(payload)));
  }
  await until(() => forwarder.recordsOf("invalid payload skipped").length === 2, "both are logged");
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(forwarder.stdout, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
});

/** The most memory that a process has had so far, bytes (proc_pid_status(5)). */
function peakMemory(pid: number): number {
  const kibibytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kibibytes) * 1024;
}
