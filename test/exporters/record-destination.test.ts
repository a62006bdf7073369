import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RecordDestination } from "../../src/exporters/record-destination.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { recordToPart } from "../../src/otlp/record-encoder.ts";
import { Chunk } from "../../src/pipeline/destination.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import { parseRecord } from "../../src/record/parse-record.ts";
import { madeUp } from "../store/support.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

function chunkOf(ids: readonly number[], text = ""): Chunk {
  const builder = new RequestBuilder();
  for (const id of ids) builder.appendPart(recordToPart(madeUp({ id }, { "kata.sandbox.id": "a" }, { text })));
  return new Chunk({ account: "a", kind: "guest" }, builder.finish(), ids.length);
}

function idsIn(file: string): number[] {
  return readFileSync(file, "utf8").trim().split("\n").flatMap((line) => parseRecord(JSON.parse(line)))
    .map(({ spanId }) => Number.parseInt(spanId, 16));
}

async function opened(file: string, maxBytes = 2 ** 20) {
  const metrics = new Metrics().destination("record");
  const log = new RecordingLogger();
  return { metrics, log, record: await RecordDestination.open({ file, maxBytes, metrics, log }) };
}

test("spans are kept as lines of OTLP/JSON, and appended to by the next process", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "spans.jsonl");
  for (const ids of [[1, 2], [3]]) {
    const { record, metrics } = await opened(file);
    record.push(chunkOf(ids));
    assert.equal(await record.drain(5000), 0);
    assert.deepEqual([metrics.forwarded, metrics.heldQueued], [ids.length, 0]);
  }
  assert.deepEqual(idsIn(file), [1, 2, 3]);
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

test("the file is rotated, and both together stay within the bytes that are allowed", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "spans.jsonl");
  const { record } = await opened(file, 100_000);
  for (let id = 1; id <= 100; id++) record.push(chunkOf([id], "x".repeat(5000)));
  assert.equal(await record.drain(5000), 0);
  assert.ok(statSync(file).size + statSync(`${file}.1`).size <= 100_000);
  const kept = [...idsIn(`${file}.1`), ...idsIn(file)];
  assert.deepEqual(kept, Array.from({ length: kept.length }, (_, i) => 101 - kept.length + i));
  assert.ok(kept.length > 8);
});

test("what comes faster than it can be written costs the oldest, counted", async () => {
  using directory = temporaryDirectory();
  const { record, metrics } = await opened(join(directory.path, "spans.jsonl"), 2 ** 30);
  for (let id = 1; id <= 30; id++) record.push(chunkOf([id], "x".repeat(2 ** 20)));
  assert.ok((metrics.dropped["queue-full"] ?? 0) > 0);
  await record.drain(20_000);
  assert.equal(metrics.forwarded + (metrics.dropped["queue-full"] ?? 0), 30);
  record.push(chunkOf([31]));
  assert.equal(metrics.dropped["shutdown"], 1);
});

test("other work goes on between two lines, which are short or hold one span", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "spans.jsonl");
  const { record } = await opened(file, 2 ** 30);
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const ids = Array.from({ length: 200 }, (_, i) => i + 1);
  record.push(chunkOf(ids, "x".repeat(10_000)));
  record.push(chunkOf([201, 202], "x".repeat(200_000)));
  await until(() => readFileSync(file, "utf8").split('"spanId"').length === 203, "all spans are written");
  isOver = true;
  assert.deepEqual(idsIn(file), [...ids, 201, 202]);
  const lines = readFileSync(file, "utf8").trim().split("\n");
  assert.equal(lines.length, Math.ceil(200 / 6) + 2);
  assert.ok(turns >= lines.length, `${turns} turns for ${lines.length} lines`);
  await record.abort();
});

test("what is not written of a chunk when it ends is counted as lost", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "spans.jsonl");
  const { record, metrics } = await opened(file, 2 ** 30);
  const ids = Array.from({ length: 200 }, (_, i) => i + 1);
  record.push(chunkOf(ids, "x".repeat(100_000)));
  record.push(chunkOf([201]));
  await until(() => statSync(file).size > 0, "the first line is written");
  const lost = await record.abort();
  const written = idsIn(file).length;
  assert.ok(written > 0 && lost > 1);
  assert.equal(written + lost, 201);
  assert.deepEqual([metrics.forwarded, metrics.dropped, metrics.heldQueued], [written, { shutdown: lost }, 0]);
});

test("a directory, a link or nowhere is refused in one line that names the file", async () => {
  using directory = temporaryDirectory();
  const link = join(directory.path, "link");
  symlinkSync("/etc/hostname", link);
  const folder = join(directory.path, "folder");
  mkdirSync(folder);
  for (const file of [link, folder, join(directory.path, "none", "file")]) {
    await assert.rejects(opened(file), (error: Error) => {
      assert.equal(error.name, "RecordFileError");
      assert.ok(error.message.startsWith(`--record ${file}: `) && !error.message.includes("\n"));
      return true;
    });
  }
  assert.ok(!existsSync(join(directory.path, "none")));
});

test("half a line that a killed process has left is ended before the next", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "spans.jsonl");
  writeFileSync(file, '{"half');
  const { record } = await opened(file);
  record.push(chunkOf([1]));
  assert.equal(await record.drain(5000), 0);
  const [half, line, end] = readFileSync(file, "utf8").split("\n");
  assert.deepEqual([half, end], ['{"half', ""]);
  assert.equal(parseRecord(JSON.parse(line!))[0]?.spanId, "0000000000000001");
});

test("a span whose line is longer than what is written at once begins a file, and is whole", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "spans.jsonl");
  const { record } = await opened(file, 2 ** 30);
  record.push(chunkOf([1]));
  // Each of its characters takes six in JSON.
  const text = "\u0001".repeat(4_000_000);
  record.push(chunkOf([2], text));
  record.push(chunkOf([3]));
  assert.equal(await record.drain(60_000), 0);
  assert.deepEqual(idsIn(`${file}.1`), [1]);
  assert.deepEqual(idsIn(file), [2, 3]);
  const [line] = readFileSync(file, "utf8").split("\n");
  assert.ok(line!.length > 24_000_000);
  assert.ok(JSON.stringify(parseRecord(JSON.parse(line!))).includes(JSON.stringify(text).slice(1, -1)));
});
