import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import type { SpanRecord } from "../../../src/otlp/span-record.ts";
import { JoinTraces } from "../../../src/processors/join-traces/join-traces.ts";
import { jaegerBodies, jaegerFile } from "../../decode/support/jaeger-fixtures.ts";
import { fixture, splitFrames } from "../../decode/support/fixtures.ts";
import { readPayload, REAL_STREAMS, streamBytes } from "../../decode/support/recorded-streams.ts";
import { attribute, encodedSpans } from "../../otlp/support/encoded.ts";
import { otlpRequest } from "../../process/support/spans.ts";
import { RecordingSink } from "../../receivers/support/recording-sink.ts";
import {
  acceptAll,
  acceptBodies,
  attributeOf,
  expectedIds,
  guest,
  IDS,
  Joining,
  rootsOf,
  runtime,
  SANDBOX,
} from "./support.ts";

const ORIGINAL = "kata.original_trace_id";

/** A span as it was, but for what joining changes. */
function unjoined(span: SpanRecord): SpanRecord {
  const traceId = String(attributeOf(span, ORIGINAL));
  const parentSpanId = span.parentSpanId === IDS.rootId ? "" : span.parentSpanId;
  return { ...span, traceId, parentSpanId, attributes: span.attributes.filter(({ key }) => key !== ORIGINAL) };
}

for (const stream of REAL_STREAMS) {
  test(`${stream.file}: one trace with one root, and nothing else changes`, () => {
    const payloads = splitFrames(streamBytes(stream));
    const plain = new RecordingSink();
    acceptAll(plain.open(guest()), payloads);

    const joining = new Joining();
    const way = joining.join.open(guest());
    acceptAll(way, payloads);
    assert.equal(joining.sink.spans.length, stream.spans);
    assert.deepEqual(joining.sink.spans.map(unjoined), plain.spans);
    for (const [at, span] of joining.sink.spans.entries()) {
      const { parentSpanId, traceId } = readPayload(stream.encoding, payloads[at] as Uint8Array);
      assert.equal(span.traceId, IDS.traceId);
      assert.equal(attributeOf(span, ORIGINAL), traceId);
      assert.equal(span.parentSpanId, parentSpanId === "" ? IDS.rootId : parentSpanId);
    }

    way.close();
    joining.pass(60_000);
    assert.deepEqual(rootsOf(joining.sink.spans), ["sandbox"]);
    assert.equal(joining.roots.length, 1);
    assert.equal(joining.metrics.receiver("join-traces").received, joining.own.length);
    const [root] = joining.roots as [SpanRecord];
    const starts = plain.spans.map(({ startTimeUnixNano }) => BigInt(startTimeUnixNano));
    assert.equal(root.startTimeUnixNano, String(starts.reduce((min, time) => time < min ? time : min)));
    // That is later than any span: it is when the guest left.
    assert.equal(root.endTimeUnixNano, "1800000000000000000");
    assert.deepEqual([root.traceId, root.spanId, root.parentSpanId], [IDS.traceId, IDS.rootId, ""]);
  });
}

test("encodings make no difference, and a payload may have many spans", () => {
  const { bincode, json, expected } = fixture("session-isolated");
  const [first, ...others] = [bincode, json, [otlpRequest(expected)]].map((payloads) => {
    const joining = new Joining();
    acceptAll(joining.join.open(guest()), payloads);
    return joining.sink.spans.map(({ attributes, flags: _, ...span }) => ({
      ...span,
      attributes: attributes.toSorted((a, b) => a.key < b.key ? -1 : 1).map(({ key }) => key),
    }));
  });
  assert.equal(first?.length, 36);
  for (const other of others) assert.deepEqual(other.map(({ spanId }) => spanId), first?.map(({ spanId }) => spanId));
  for (const other of others) {
    assert.deepEqual(
      other.map(({ parentSpanId, attributes }) => [parentSpanId, attributes]),
      first?.map(({ parentSpanId, attributes }) => [parentSpanId, attributes]),
    );
  }
});

for (const name of ["random", "nonfinite"] as const) {
  test(`${name}: whatever a span has, nothing else changes, in bincode, JSON and OTLP alike`, () => {
    const { bincode, json, expected } = fixture(name);
    for (const payloads of [bincode, json, [otlpRequest(expected)]]) {
      const plain = new RecordingSink();
      acceptAll(plain.open(guest()), payloads);
      const joining = new Joining();
      acceptAll(joining.join.open(guest()), payloads);
      assert.equal(plain.spans.length, expected.length);
      assert.deepEqual(joining.sink.spans.map(unjoined), plain.spans);
      assert.deepEqual(new Set(joining.sink.spans.map(({ traceId }) => traceId)), new Set([IDS.traceId]));
    }
  });
}

test("a collated trace keeps its parents across both sides, and hangs below the sandbox", () => {
  const joining = new Joining();
  const shim = joining.join.open(runtime());
  const agent = joining.join.open(guest());
  acceptBodies(shim, jaegerBodies("go-session"));
  acceptAll(agent, splitFrames(jaegerFile("collated-agent.json-frames")));
  agent.close();
  joining.pass(60_000);
  assert.deepEqual(joining.roots, [], "the runtime is still connected");
  shim.close();
  joining.pass(60_000);
  assert.deepEqual(new Set(joining.sink.spans.map(({ traceId }) => traceId)), new Set([IDS.traceId]));
  assert.deepEqual(rootsOf(joining.sink.spans), ["sandbox"]);
  assert.equal(joining.sink.spans.length, 34 + 8 + 1);
  assert.equal(joining.sink.spans.find(({ name }) => name === "rootSpan")?.parentSpanId, IDS.rootId);
});

test("the root that the Rust runtime never exports is stood in for, under the runtime's service", () => {
  const joining = new Joining();
  const shim = joining.join.open(runtime());
  const agent = joining.join.open(guest());
  acceptBodies(shim, jaegerBodies("rust-session"));
  acceptAll(agent, fixture("session-isolated").json);
  agent.close();
  shim.close();
  joining.pass(60_000);
  assert.deepEqual(rootsOf(joining.sink.spans), ["sandbox"]);
  const missing = joining.own.filter(({ name }) => name === "missing span");
  assert.ok(missing.length > 0);
  const service = { key: "service.name", value: { stringValue: "kata-sb-9f3c51aa" } };
  for (const span of missing) {
    assert.equal(span.parentSpanId, IDS.rootId);
    assert.equal(attributeOf(span, "kata.missing"), true);
    assert.deepEqual(span.resource.attributes.find(({ key }) => key === "service.name"), service);
    const children = joining.sink.spans.filter(({ parentSpanId }) => parentSpanId === span.spanId);
    assert.ok(children.length > 0);
    assert.ok(children.every(({ startTimeUnixNano }) => BigInt(startTimeUnixNano) >= BigInt(span.startTimeUnixNano)));
    assert.ok(children.every(({ endTimeUnixNano }) => BigInt(endTimeUnixNano) <= BigInt(span.endTimeUnixNano)));
  }
});

test("a full ID and the half of it that Firecracker's guests know make the same trace", () => {
  const joining = new Joining();
  const payloads = fixture("session-isolated").json;
  acceptAll(joining.join.open(guest(SANDBOX.slice(0, 32))), payloads.slice(0, 3));
  acceptAll(joining.join.open(runtime(SANDBOX)), payloads.slice(3, 6));
  assert.deepEqual(new Set(joining.sink.spans.map(({ traceId }) => traceId)), new Set([IDS.traceId]));
  void joining.join.drain(0);
  assert.equal(joining.roots.length, 1);
  assert.equal(joining.sink.sources.at(-1)?.source.attributes.get("kata.sandbox.id"), SANDBOX);
});

test("other IDs are taken as they are", () => {
  const ids = ["box", "A".repeat(64), SANDBOX.slice(0, 63), "kata-1234"];
  for (const id of ids) {
    const joining = new Joining();
    acceptAll(joining.join.open(guest(id)), fixture("session-isolated").json.slice(0, 1));
    assert.equal(joining.sink.spans[0]?.traceId, expectedIds(id).traceId);
  }
});

const id = (first: number, length: number): number[] => [first, ...new Array<number>(length - 1).fill(7)];
const bytesOf = (hex: string): number[] => [...Buffer.from(hex, "hex")];

test("a guest cannot get its spans into another sandbox's trace", () => {
  const other = expectedIds("other");
  const spans = encodedSpans([{
    span: { traceId: bytesOf(other.traceId), spanId: id(1, 8), parentSpanId: bytesOf(other.rootId), name: "n" },
  }]);
  const joining = new Joining();
  joining.join.open(guest("other"));
  joining.join.open(guest()).accept(spans);
  assert.equal(joining.sink.spans[0]?.traceId, IDS.traceId);

  // Nor can one that nobody knows the sandbox of. Its own traces stay as they are, all spans of one together.
  const unknown = joining.join.open({ ...guest(), attributes: new Map([["kata.vsock.cid", 4]]) });
  const plain = { traceId: id(1, 16), spanId: id(2, 8), name: "n" };
  const forged = { traceId: bytesOf(other.traceId), spanId: id(3, 8), name: "n" };
  unknown.accept(encodedSpans([{ span: plain }, { span: forged }, { span: forged }]));
  const [, untouched, ...changed] = joining.sink.spans;
  assert.equal(untouched?.traceId, Buffer.from(plain.traceId).toString("hex"));
  assert.equal(untouched?.parentSpanId, "");
  assert.deepEqual(changed.map(({ traceId }) => traceId), [1, 2].map(() => `eb${other.traceId.slice(2)}`));
});

test("a source cannot say what its original trace was", () => {
  const joining = new Joining();
  const own = { key: ORIGINAL, value: { stringValue: "forged" } };
  const like = { key: `${ORIGINAL}.`, value: { stringValue: "kept" } };
  const attributes = [own, like, own];
  const span = { traceId: id(1, 16), spanId: id(2, 8), name: "n", attributes };
  joining.join.open(guest()).accept(encodedSpans([{ span }]));
  assert.deepEqual(joining.sink.spans[0]?.attributes, [like, {
    key: ORIGINAL,
    value: { stringValue: Buffer.from(id(1, 16)).toString("hex") },
  }]);
});

test("links into the sandbox follow, and others stay", () => {
  const joining = new Joining();
  const first = { traceId: id(1, 16), spanId: id(2, 8), name: "first" };
  const elsewhere = { traceId: id(9, 16), spanId: id(9, 8), flags: 1 };
  const links = [{ traceId: first.traceId, spanId: first.spanId, traceState: "a=b" }, elsewhere];
  const second = { traceId: id(3, 16), spanId: id(4, 8), name: "second", links, droppedLinksCount: 1 };
  const linksOf = (name: string) =>
    joining.sink.spans.findLast((span) => span.name === name)?.links.map(({ traceId }) => traceId);
  const foreign = Buffer.from(elsewhere.traceId).toString("hex");

  const agent = joining.join.open(guest());
  agent.accept(encodedSpans([{ span: first }, { span: second }]));
  assert.deepEqual(linksOf("second"), [IDS.traceId, foreign]);

  // Another guest's links do not, although it may have guessed the trace ID.
  joining.join.open(guest("other")).accept(encodedSpans([{ span: second }]));
  assert.deepEqual(linksOf("second"), [Buffer.from(first.traceId).toString("hex"), foreign]);

  // The host's programs may link to what a runtime has begun, wherever they come from.
  joining.join.open(runtime()).accept(encodedSpans([{ span: first }]));
  const source = { kind: "host", name: "host", account: "host", attributes: new Map() } as const;
  joining.join.open(source).accept(encodedSpans([{ span: second }]));
  assert.deepEqual(linksOf("second"), [IDS.traceId, foreign]);
  const host = joining.sink.spans.at(-1);
  assert.equal(host?.traceId, Buffer.from(second.traceId).toString("hex"));
  assert.equal(host?.links[0]?.traceState, "a=b");
});

test("a runtime that does not say its sandbox is known by its trace", () => {
  const joining = new Joining();
  const span = { traceId: id(1, 16), spanId: id(2, 8), name: "known" };
  const unknown = joining.join.open({ ...runtime(), attributes: new Map([["kata.component", "runtime"]]) });
  unknown.accept(encodedSpans([{ span }]));
  joining.join.open(runtime()).accept(encodedSpans([{ span }]));
  unknown.accept(encodedSpans([{ span }, { span: { ...span, traceId: id(8, 16) } }]));
  assert.deepEqual(joining.sink.spans.map(({ traceId }) => traceId === IDS.traceId), [false, true, true, false]);
});

test("spans of all sizes are joined, whatever grows meanwhile", () => {
  const joining = new Joining();
  const plain = [0, 50, 90, 127, 16_300, 300_000].map((size, at) => ({
    span: { traceId: id(at + 1, 16), spanId: id(at + 1, 8), name: "n".repeat(size) },
  }));
  joining.join.open(guest()).accept(encodedSpans(plain));
  assert.deepEqual(joining.sink.spans.map(({ name }) => name.length), [0, 50, 90, 127, 16_300, 300_000]);
  assert.ok(
    joining.sink.spans.every(({ traceId, parentSpanId }) => traceId === IDS.traceId && parentSpanId === IDS.rootId),
  );
});

test("a large span is joined where it is, however often it has what only the forwarder says", () => {
  const joining = new Joining();
  const own = attribute(ORIGINAL, "forged".repeat(20));
  const names = ["a", "b", "c", "d"];
  const attributes = names.flatMap((name, at) => [attribute(name, "x".repeat(100_000)), ...Array(at).fill(own)]);
  const spans = encodedSpans([{
    span: { traceId: id(1, 16), spanId: id(2, 8), parentSpanId: new Array(8).fill(0), name: "n", attributes },
  }]);
  const { position } = spans.writer;
  joining.join.open(guest()).accept(spans);
  assert.ok(spans.writer.position < position + 100);
  const [span] = joining.sink.spans;
  assert.deepEqual([span?.traceId, span?.spanId, span?.parentSpanId, span?.name], [
    IDS.traceId,
    Buffer.from(id(2, 8)).toString("hex"),
    IDS.rootId,
    "n",
  ]);
  assert.deepEqual(span?.attributes, [
    ...names.map((name) => ({ key: name, value: { stringValue: "x".repeat(100_000) } })),
    { key: ORIGINAL, value: { stringValue: Buffer.from(id(1, 16)).toString("hex") } },
  ]);
});

test("IDs of a wrong length give way to right ones", () => {
  for (
    const [traceId, parentSpanId] of [[id(1, 4), []], [id(1, 32), [0]], [[], new Array<number>(20).fill(0)]] as const
  ) {
    const joining = new Joining();
    const span = { traceId, spanId: id(2, 8), parentSpanId, name: "n", kind: 1 };
    joining.join.open(guest()).accept(encodedSpans([{ span }]));
    const [joined] = joining.sink.spans;
    assert.deepEqual([joined?.traceId, joined?.parentSpanId, joined?.name, joined?.kind], [
      IDS.traceId,
      IDS.rootId,
      "n",
      1,
    ]);
    assert.equal(attributeOf(joined as SpanRecord, ORIGINAL), Buffer.from(traceId).toString("hex"));
  }
});

test("everything else is passed on to the next sink", async () => {
  const calls: string[] = [];
  const sink = new RecordingSink();
  sink.paused.add("box");
  const { join } = new Joining();
  const passing = new JoinTraces({
    sink: {
      open: (source) => sink.open(source),
      isPaused: (account) => sink.isPaused(account),
      readOn: (account) => calls.push(`readOn ${account}`),
      subscribe: () => () => calls.push("unsubscribed"),
      drain: (ms) => Promise.resolve(ms),
      abort: () => Promise.resolve(2),
    },
    metrics: new Joining().metrics,
    log: new Joining().log,
  });
  assert.deepEqual([passing.isPaused("box"), passing.isPaused("other")], [true, false]);
  passing.readOn("box");
  passing.subscribe(() => {})();
  assert.deepEqual(calls, ["readOn box", "unsubscribed"]);
  await passing.open(guest()).settled();
  assert.equal(await passing.drain(5), 5);
  assert.equal(await passing.abort(), 2);
  assert.equal(await join.drain(0), 0);
  const spans = new EncodedSpans();
  join.open(guest()).accept(spans);
});
