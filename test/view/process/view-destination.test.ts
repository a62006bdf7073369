import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Chunk } from "../../../src/pipeline/destination.ts";
import { type DestinationMetrics, Metrics } from "../../../src/pipeline/metrics.ts";
import type { Source } from "../../../src/pipeline/source.ts";
import { ViewDestination } from "../../../src/view/process/view-destination.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { until } from "../../support/until.ts";

const CHILD = fileURLToPath(new URL("./viewer.child.ts", import.meta.url));
const MIB = 1024 * 1024;
const GUEST: Source = { kind: "guest", name: "a", account: "vsock:3", attributes: new Map([["kata.vsock.cid", 3]]) };
const OTHER: Source = { kind: "guest", name: "b", account: "vsock:4", attributes: new Map([["kata.vsock.cid", 4]]) };

async function started(mode: string): Promise<{
  destination: ViewDestination;
  metrics: DestinationMetrics;
  log: RecordingLogger;
  heard: () => string[];
}> {
  const metrics = new Metrics().destination("store");
  const log = new RecordingLogger();
  const run = process.versions.bun === undefined ? ["run", "--no-check", "--allow-all"] : [];
  const destination = await ViewDestination.start({
    viewer: { storeBytes: MIB, storeKeepMs: 1000, label: "" },
    metrics,
    log,
    command: [process.execPath, ...run, CHILD, mode],
  });
  return { destination, metrics, log, heard: () => log.records.map(({ message }) => message) };
}

/** A chunk of a number of spans, and how often it was released. */
function chunkOf(text: string | Uint8Array, spans = 1): { chunk: Chunk; released: () => number } {
  let releases = 0;
  const chunk = new Chunk(GUEST, typeof text === "string" ? Buffer.from(text) : text, spans);
  const release = chunk.release.bind(chunk);
  chunk.release = (isRead) => {
    releases++;
    release(isRead);
  };
  return { chunk, released: () => releases };
}

test("chunks and notices arrive in order, each chunk is released once, and the figures add up", async () => {
  const { destination, metrics, heard } = await started("reads");
  assert.equal(destination.url, "http://127.0.0.1:1/#token=x");
  const chunks = ["one", "two", "three"].map((text) => chunkOf(text, text.length));
  destination.opened(GUEST);
  for (const { chunk } of chunks) destination.push(chunk);
  destination.closed(GUEST);
  assert.equal(destination.isPaused(), false);
  assert.equal(await destination.drain(20_000), 0);
  assert.deepEqual(heard(), ["opened vsock:3", "chunk one", "chunk two", "chunk three", "closed vsock:3"]);
  for (const { released } of chunks) assert.equal(released(), 1);
  assert.deepEqual([metrics.forwarded, metrics.heldQueued, metrics.dropped], [11, 0, {}]);
  const late = chunkOf("late");
  destination.push(late.chunk);
  assert.deepEqual([metrics.heldQueued, metrics.dropped, late.released()], [0, { shutdown: 1 }, 1]);
});

test("a viewer that never reads costs its oldest chunks, and nobody is paused", async () => {
  const { destination, metrics } = await started("never reads");
  const chunks = Array.from({ length: 40 }, () => chunkOf(new Uint8Array(MIB), 10));
  for (const { chunk } of chunks) {
    destination.push(chunk);
    assert.equal(destination.isPaused(), false);
    assert.ok(metrics.queueBytes <= metrics.queueCapacityBytes);
  }
  const dropped = metrics.dropped["queue-full"] ?? 0;
  // What waits for the viewer is 16 MiB at most; some are in the pipe.
  assert.ok(dropped >= 200 && dropped % 10 === 0, String(dropped));
  assert.equal(metrics.heldQueued + dropped, 400);
  const oldest = chunks.map(({ released }) => released());
  assert.ok(oldest.lastIndexOf(1) < 39 && oldest.indexOf(1) >= 0);
  const lost = await destination.drain(300);
  assert.equal(lost, metrics.dropped["shutdown"]);
  await until(() => metrics.heldQueued === 0, "what was in the pipe is accounted for");
  assert.equal(metrics.forwarded + Object.values(metrics.dropped).reduce((sum, spans) => sum + spans, 0), 400);
  for (const { released } of chunks) assert.equal(released(), 1);
});

test("a viewer that takes the place of a killed one is told who is connected", async () => {
  const { destination, heard } = await started("reads");
  destination.opened(GUEST);
  destination.opened(OTHER);
  destination.opened(OTHER);
  destination.closed(GUEST);
  destination.push(chunkOf("again").chunk);
  await until(() => heard().includes("reset"), "the viewer begins again");
  assert.equal(await destination.drain(20_000), 0);
  const said = heard();
  assert.deepEqual(said.slice(said.indexOf("reset")), ["reset", "opened vsock:4", "opened vsock:4"]);
});

test("a viewer that cannot start says why; a program that is not there, too", async () => {
  await assert.rejects(started("fails"), {
    name: "ViewerError",
    message: "the viewer cannot be started: the port is in use",
  });
  const options = { metrics: new Metrics().destination("store"), log: new RecordingLogger() };
  const viewer = { storeBytes: MIB, storeKeepMs: 1000, label: "" };
  await assert.rejects(ViewDestination.start({ ...options, viewer, command: ["/no/such/program"] }), {
    name: "ViewerError",
  });
});

test("an abort kills the viewer at once, and counts what was lost", async () => {
  const { destination, metrics, log } = await started("never reads");
  for (let i = 0; i < 10; i++) destination.push(chunkOf(new Uint8Array(MIB), 1).chunk);
  const lost = await destination.abort();
  assert.equal(lost, metrics.dropped["shutdown"]);
  assert.ok(lost >= 8);
  assert.equal(await destination.abort(), 0);
  assert.ok(!log.records.some(({ message }) => message.includes("supervisor has ended")));
});
