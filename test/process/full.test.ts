import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Forwarder } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN, IMPATIENT } from "./support/process.ts";
import { spanId } from "../support/numbers.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

const AWAY = { kind: "status", status: 503 } as const;
const OK = { kind: "ok" } as const;

/** About 10 kB each, 8 MB together, which is far more than fits into the queues below and into sockets. */
const COUNT = 800;
const SPAN_BYTES = 10_000;

/** Asserts for a while, long enough to read everything, that no more than `most` spans are read. */
async function staysBelow(forwarder: Forwarder, limit: number): Promise<void> {
  for (let look = 0; look < 100; look++) {
    const { received } = await forwarder.recentFigures();
    assert.ok(received < limit, `${received} spans are read`);
    await sleep(20);
  }
}

test("while --queue-bytes is reached guests are not read, and no span is lost", async () => {
  await using pipeline = await Pipeline.start(
    ["--queue-bytes", "1MiB", "--metrics", "0"],
    IMPATIENT,
  );
  const { sandbox, stub, forwarder } = pipeline;
  stub.answer = () => AWAY;
  using guest = await Guest.connect(sandbox.address);
  const written = guest.write(plainFrames(1, COUNT, SPAN_BYTES)).then(() => guest.end());
  // A test that fails before it waits for this must not make the next one fail too.
  written.catch(() => {});
  await forwarder.record("queue full: guests are not read until there is room");
  // This ends by itself, so the forwarder is neither broken nor useless.
  for (const path of ["/healthz", "/readyz"]) {
    assert.equal((await fetch(await forwarder.metricsUrl(path))).status, 200);
  }
  const reading = await forwarder.reading();
  assert.equal(reading.metric("queue_capacity_bytes"), 1024 * 1024);
  assert.ok(reading.metric("delivery_fill_ratio") >= 1);
  // What exceeds the limit was read before it was reached: a chunk of half a MiB, and open batches.
  await staysBelow(forwarder, Math.ceil(4 * 1024 * 1024 / SPAN_BYTES));
  // A guest that connects now is accepted, and waits too.
  using late = await Guest.connect(sandbox.address);
  await late.write(plainFrames(5001, 1));
  stub.answer = () => OK;
  await written;
  await taken(stub, COUNT + 1);
  assert.deepEqual(takenIds(stub), [...plainIds(1, COUNT), ...plainIds(5001, 1)]);
  await forwarder.record("queue has room: guests are read again");
  assert.ok(await forwarder.metric("backpressure_pauses_total") >= 1);
  assert.equal(await forwarder.metric("spans_dropped_total"), 0);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("with --when-full drop-oldest guests are read, the newest spans stay, and each drop is counted", async () => {
  await using pipeline = await Pipeline.start(
    ["--queue-bytes", "2MiB", "--when-full", "drop-oldest", "--metrics", "0"],
    IMPATIENT,
  );
  const { sandbox, stub, forwarder } = pipeline;
  stub.answer = () => AWAY;
  await guestLife(sandbox.address, plainFrames(1, COUNT, SPAN_BYTES));
  await until(async () => (await forwarder.figures()).received === COUNT, "all are read");
  await forwarder.record("queue full: the oldest spans are dropped");
  stub.answer = () => OK;
  await until(async () => (await forwarder.figures()).held === 0, "the rest is delivered");
  const dropped = await forwarder.metric("spans_dropped_total", "queue-full");
  assert.equal(dropped, (await forwarder.figures()).dropped);
  assert.ok(dropped > COUNT / 2, `${dropped} dropped`);
  // No others are missing. Some that were accepted, but too late to count, may have been dropped as well.
  assert.ok(COUNT - stub.taken.size <= dropped, `${stub.taken.size} taken, ${dropped} dropped`);
  // Those that were under way when the queue was full may be older.
  const newest = plainIds(1 + COUNT - 100, 100);
  assert.deepEqual(newest.filter((id) => !stub.taken.has(id)), []);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("guests are not read while --spool-bytes is reached, and the spool empties without a loss", async () => {
  await using pipeline = await startWithSpool("8MiB");
  const { sandbox, stub, forwarder } = pipeline;
  stub.answer = () => AWAY;
  using guest = await Guest.connect(sandbox.address);
  const count = 2 * COUNT;
  const written = guest.write(plainFrames(1, count, SPAN_BYTES)).then(() => guest.end());
  // A test that fails before it waits for this must not make the next one fail too.
  written.catch(() => {});
  await forwarder.record("queue full: guests are not read until there is room");
  const reading = await forwarder.reading();
  assert.equal(reading.metric("spool_capacity_bytes"), 8 * 1024 * 1024);
  assert.ok(reading.metric("spool_bytes") <= 8 * 1024 * 1024);
  assert.ok(reading.metric("delivery_fill_ratio") >= 1);
  await staysBelow(forwarder, count);
  stub.answer = () => OK;
  await written;
  await taken(stub, count);
  assert.deepEqual(takenIds(stub), plainIds(1, count));
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

async function startWithSpool(bytes: string): Promise<Pipeline> {
  const { Sandbox } = await import("./support/sandbox.ts");
  const spool = new Sandbox();
  const pipeline = await Pipeline.start(
    ["--spool-dir", spool.path("spool"), "--spool-bytes", bytes, "--metrics", "0"],
    IMPATIENT,
  );
  const dispose = pipeline[Symbol.asyncDispose].bind(pipeline);
  return Object.assign(pipeline, {
    [Symbol.asyncDispose]: async () => {
      await dispose();
      spool[Symbol.dispose]();
    },
  });
}

test("a span that is rejected costs only itself, and is in the --dead-letter file", async () => {
  const { Sandbox } = await import("./support/sandbox.ts");
  using letters = new Sandbox();
  const file = letters.path("dead-letters");
  await using pipeline = await Pipeline.start(["--dead-letter", file, "--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  const bad = spanId(37);
  stub.answer = ({ spans }) => spans.some(({ spanId }) => spanId === bad) ? { kind: "status", status: 400 } : OK;
  await guestLife(sandbox.address, plainFrames(1, 100));
  await until(async () => (await forwarder.figures()).held === 0, "all are settled");
  assert.deepEqual(takenIds(stub), plainIds(1, 100).filter((id) => id !== bad));
  assert.equal(await forwarder.metric("spans_dropped_total", "rejected"), 1);
  const { level, spans } = await forwarder.record("collector refuses spans: they are given up");
  assert.deepEqual([level, spans], ["ERRO", 1]);
  const lines = readFileSync(file, "utf8").split("\n");
  assert.deepEqual([lines.length, lines[1]], [2, ""]);
  const letter = JSON.parse(lines[0] ?? "") as {
    resourceSpans: { scopeSpans: { spans: { spanId: string }[] }[] }[];
  };
  const ids = letter.resourceSpans.flatMap(({ scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans.map(({ spanId }) => spanId))
  );
  assert.deepEqual(ids, [bad]);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
