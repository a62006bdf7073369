import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { DumpSink, MOST_WAITING_BYTES } from "../../src/exporters/dump-sink.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { SourceSink } from "../../src/pipeline/sink.ts";
import type { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import type { SpanPart } from "../../src/otlp/request-builder.ts";
import { spanToRecord } from "../../src/otlp/json-record.ts";
import { frame } from "../decode/support/fixtures.ts";
import { bytesField, keyValue, textField } from "../decode/support/otlp-message.ts";
import { IDS } from "../hostile/payloads.ts";
import { sendStream } from "../hostile/requests.ts";
import { guestSource, payload, resourceOf } from "../queue/support.ts";
import { range, spanId } from "../support/numbers.ts";

/** A sink whose reader takes what there is when it is told to. */
function setUp(
  takes = true,
  textOf: (id: string, keys: string) => Iterable<string> = (id, keys) => [`${id} ${keys}\n`],
) {
  const metrics = new Metrics();
  const texts: string[] = [];
  const clock = { ms: 0, step: 0 };
  const output = {
    takes,
    onTaken: () => {},
    write: (text: string): void => {
      texts.push(text);
      if (output.takes) output.onTaken();
    },
  };
  const sink = new DumpSink({
    format: ({ resource, scope, span }) => {
      const record = spanToRecord(resource, scope, span);
      return textOf(record.spanId, record.resource.attributes.map(({ key }) => key).join(","));
    },
    output,
    traceName: "name",
    resourceAttributes: new Map([["host", "h"]]),
    metrics,
    now: () => clock.ms += clock.step,
  });
  const changes: boolean[] = [];
  sink.subscribe(() => changes.push(sink.isPaused("s")));
  const guest = sink.open(guestSource("s", new Map([["kata.sandbox.id", "s"]])));
  return { sink, metrics, output, texts, changes, guest, clock };
}

/** received, forwarded, dropped, held. */
function counts(metrics: Metrics): number[] {
  const dump = metrics.destination("dump");
  return [metrics.received, dump.forwarded, dump.droppedTotal, metrics.held(dump)];
}

function send(metrics: Metrics, source: SourceSink, spans: EncodedSpans): void {
  metrics.receiver("test").received += spans.count;
  source.accept(spans);
}

test("each span is shown with its resource, overlaid by the host's, and counts as forwarded", async () => {
  const { sink, metrics, texts, changes, guest } = setUp();
  send(metrics, guest, payload([1, 2], { resource: resourceOf("own", "x") }));
  send(metrics, guest, payload([3]));
  const host = "service.name,host,kata.sandbox.id,kata.component";
  assert.deepEqual(texts, [
    `${spanId(1)} own,${host}\n${spanId(2)} own,${host}\n`,
    `${spanId(3)} ${host}\n`,
  ]);
  assert.deepEqual(counts(metrics), [3, 3, 0, 0]);
  assert.deepEqual(changes, []);
  assert.equal(await sink.drain(0), 0);
});

test("while the reader is behind, guests are paused, and what it has not is held", async () => {
  const { sink, metrics, output, changes, guest } = setUp(false);
  send(metrics, guest, payload(range(1, 5)));
  send(metrics, guest, payload(range(6, 7)));
  assert.deepEqual(counts(metrics), [7, 0, 0, 7]);
  assert.deepEqual([changes, sink.isPaused("s")], [[true], true]);
  output.takes = true;
  output.onTaken();
  assert.deepEqual(counts(metrics), [7, 5, 0, 2]);
  while (metrics.destination("dump").forwarded < 7) await nextTurn();
  assert.deepEqual(counts(metrics), [7, 7, 0, 0]);
  assert.deepEqual([changes, sink.isPaused("s")], [[true, false], false]);
  assert.equal(metrics.destination("dump").backpressurePauses, 1);
});

test("drain waits for the reader, as long as it may", async () => {
  const patient = setUp(false);
  send(patient.metrics, patient.guest, payload(range(1, 3)));
  setTimeout(() => patient.output.onTaken(), 10);
  assert.equal(await patient.sink.drain(60_000), 0);
  assert.deepEqual(counts(patient.metrics), [3, 3, 0, 0]);

  const vain = setUp(false);
  send(vain.metrics, vain.guest, payload(range(1, 3)));
  assert.equal(await vain.sink.drain(10), 3);
  assert.deepEqual(counts(vain.metrics), [3, 0, 3, 0]);
  assert.deepEqual(vain.metrics.destination("dump").dropped, { shutdown: 3 });
});

test("abort gives up what the reader has not, and ends a drain that waits for it", async () => {
  const { sink, metrics, guest } = setUp(false);
  send(metrics, guest, payload(range(1, 4)));
  const draining = sink.drain(60_000);
  assert.equal(await sink.abort(), 4);
  assert.equal(await draining, 0, "they are counted once");
  assert.deepEqual(counts(metrics), [4, 0, 4, 0]);
});

test("a runtime is never paused, a guest may be read on, and spans that find no room are dropped", async () => {
  const { sink, metrics, output, guest } = setUp(false);
  const runtime = sink.open({ ...guestSource("r"), kind: "runtime" });
  const large = { nameBytes: MOST_WAITING_BYTES / 2 };
  send(metrics, guest, payload([1, 2]));
  assert.deepEqual([sink.isPaused("s"), sink.isPaused("r")], [true, false]);
  send(metrics, runtime, payload([3], large));
  sink.readOn("s");
  send(metrics, guest, payload([4], large));
  assert.deepEqual(counts(metrics), [4, 0, 0, 4]);
  send(metrics, guest, payload([5, 6]));
  send(metrics, runtime, payload([7]));
  assert.deepEqual(metrics.destination("dump").dropped, { "paused-too-long": 2, "queue-full": 1 });
  while (metrics.destination("dump").forwarded < 4) {
    output.onTaken();
    await nextTurn();
  }
  assert.deepEqual(counts(metrics), [7, 4, 3, 0]);
  send(metrics, guest, payload([8]));
  assert.deepEqual(counts(metrics), [8, 4, 3, 1]);
});

/** As many characters as are written at a stretch. */
const STRETCH = 32 * 1024;
/** A span that is not written at once. */
const LARGE = { nameBytes: 20_000 };

test("a large payload is written in pieces, each in its own turn, and what comes meanwhile follows it", async () => {
  const { sink, metrics, texts, guest } = setUp(
    true,
    (id) => [`${id} `, "a".repeat(STRETCH), "b".repeat(STRETCH), "\n"],
  );
  send(metrics, guest, payload([1, 2], LARGE));
  send(metrics, guest, payload([3]));
  assert.deepEqual([texts, sink.isPaused("s"), counts(metrics)], [[], true, [3, 0, 0, 3]]);
  const [a, b] = ["a".repeat(STRETCH), "b".repeat(STRETCH)];
  const expected = [`${spanId(1)} ${a}`, b, `\n${spanId(2)} ${a}`, b, "\n", `${spanId(3)} ${a}`, b, "\n"];
  for (let turn = 0; metrics.destination("dump").forwarded < 3; turn++) {
    assert.ok(texts.length <= turn, `${texts.length} pieces in ${turn} turns`);
    // Both spans of the first payload count when its last piece is taken.
    assert.equal(metrics.destination("dump").forwarded, texts.length < 5 ? 0 : 2);
    await nextTurn();
  }
  assert.deepEqual(texts, expected);
  assert.deepEqual([sink.isPaused("s"), counts(metrics)], [false, [3, 3, 0, 0]]);
  assert.equal(await sink.drain(0), 0);
});

test("what takes long is written in more pieces", async () => {
  const { metrics, texts, guest, clock } = setUp(true, (id) => [...id]);
  send(metrics, guest, payload([1], LARGE));
  clock.step = 3;
  while (metrics.destination("dump").forwarded < 1) await nextTurn();
  assert.deepEqual(texts, [...spanId(1)]);
});

test("the next piece is made when the reader has the one before, and not at all once this ends", async () => {
  let made = 0;
  const { sink, metrics, texts, output, guest } = setUp(false, function* () {
    for (;;) {
      made++;
      yield "a".repeat(STRETCH);
    }
  });
  send(metrics, guest, payload([1], LARGE));
  for (let pieces = 1; pieces <= 3; pieces++) {
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    assert.deepEqual([texts.length, made], [pieces, pieces]);
    if (pieces < 3) output.onTaken();
  }
  assert.equal(await sink.abort(), 1);
  output.onTaken();
  for (let turn = 0; turn < 10; turn++) await nextTurn();
  assert.deepEqual([texts.length, made, counts(metrics)], [3, 3, [1, 0, 1, 0]]);
});

test("spans of one payload are shown with the resource and the scope that each belongs to", async () => {
  const metrics = new Metrics();
  const shown: (string | undefined)[][] = [];
  const format = (part: SpanPart): string[] => {
    const { name, resource, scope } = spanToRecord(part.resource, part.scope, part.span);
    const attribute = resource.attributes.find(({ key }) => key === "k");
    shown.push([name, attribute?.value.stringValue, scope.name]);
    return [];
  };
  const output = { write: () => output.onTaken(), onTaken: () => {} };
  const sink = new DumpSink({ format, output, metrics, traceName: "t", resourceAttributes: new Map() });
  const scopeSpans = (scope: string, ...names: string[]): Uint8Array =>
    bytesField(2, bytesField(1, textField(1, scope)), ...names.map((name) => bytesField(2, IDS, textField(5, name))));
  const resourceSpans = (value: string, ...scopes: Uint8Array[]): Uint8Array =>
    bytesField(1, bytesField(1, keyValue(1, "k", textField(1, value))), ...scopes);
  const request = Buffer.concat([
    resourceSpans("a", scopeSpans("s", "1", "2"), scopeSpans("t", "3")),
    resourceSpans("b", scopeSpans("t", "4")),
    resourceSpans("a", scopeSpans("t", "5", "6")),
  ]);
  await sendStream(new Uint8Array(frame(request)), sink, metrics);
  assert.deepEqual(shown, [
    ["1", "a", "s"],
    ["2", "a", "s"],
    ["3", "a", "t"],
    ["4", "b", "t"],
    ["5", "a", "t"],
    ["6", "a", "t"],
  ]);
});
