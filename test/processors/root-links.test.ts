import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import type { SourceSink, SpanSink } from "../../src/pipeline/sink.ts";
import type { Source } from "../../src/pipeline/source.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { linkingRoots } from "../../src/processors/root-links.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { varintSize } from "../../src/otlp/protobuf-writer.ts";
import { largeStreams } from "../hostile/large-payloads.ts";
import { encodedSpans } from "../otlp/support/encoded.ts";
import { otlpRequest } from "../process/support/spans.ts";
import { decodeSpan } from "../decode/support/decode-span.ts";
import { fixture, FIXTURES, splitFrames } from "../decode/support/fixtures.ts";
import { readFields } from "../decode/support/protobuf-reader.ts";
import { readPayload, REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";

const CONTEXT = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  flags: 1,
};
/**
 * The expected `Span.links` (13) field: trace_id (1), span_id (2) and flags (6, fixed32) of a context that is sampled
 * and remote.
 */
const LINK = Buffer.from(
  `6a 21 0a10${CONTEXT.traceId} 1208${CONTEXT.spanId} 35 01030000`.replaceAll(" ", ""),
  "hex",
);

/** What a sink received from one payload: each span with its scope and resource. */
interface Taken {
  readonly span: Uint8Array;
  readonly scope: Uint8Array;
  readonly resource: Uint8Array;
}

function slices(spans: EncodedSpans): Taken[] {
  const { buffer } = spans.writer;
  return Array.from({ length: spans.count }, (_, i) => ({
    span: buffer.slice(spans.spanStart(i), spans.spanEnd(i)),
    scope: buffer.slice(spans.scopeStart(i), spans.scopeEnd(i)),
    resource: buffer.slice(spans.resourceStart(i), spans.resourceEnd(i)),
  }));
}

const SOURCE: Source = { kind: "guest", name: "box", account: "box", attributes: new Map() };

class RecordingSink implements SpanSink {
  paused = false;
  readonly opened: Source[] = [];
  readonly subscribers = new Set<(account?: string) => void>();
  readonly calls: string[] = [];
  taken: Taken[] = [];

  open(source: Source): SourceSink {
    this.opened.push(source);
    return {
      accept: (spans) => this.taken = slices(spans),
      settled: () => {
        this.calls.push("settled");
        return Promise.resolve();
      },
      close: () => this.calls.push("close"),
    };
  }
  isPaused(account: string): boolean {
    return this.paused && account === "box";
  }
  readOn(account: string): void {
    this.calls.push(`readOn ${account}`);
  }
  subscribe(onChange: (account?: string) => void): () => void {
    this.subscribers.add(onChange);
    return () => void this.subscribers.delete(onChange);
  }
  drain(timeoutMs: number): Promise<number> {
    this.calls.push(`drain ${timeoutMs}`);
    return Promise.resolve(1);
  }
  abort(): Promise<number> {
    this.calls.push("abort");
    return Promise.resolve(2);
  }
}

/** Passes spans through, and returns what went in and what came out. */
function through(spans: EncodedSpans): [Taken[], Taken[]] {
  const sink = new RecordingSink();
  const before = slices(spans);
  linkingRoots(sink, CONTEXT).open(SOURCE).accept(spans);
  return [before, sink.taken];
}

function message(field: Uint8Array): Uint8Array {
  const [span, ...more] = readFields(field);
  assert.ok(span !== undefined && span.number === 2 && more.length === 0);
  return span.bytes;
}

/** Asserts that a root span has got the link as its last field, and that nothing else has changed. */
function assertLinked(
  before: readonly Taken[],
  after: readonly Taken[],
  roots: readonly boolean[],
) {
  assert.equal(after.length, before.length);
  for (const [i, { span, scope, resource }] of before.entries()) {
    assert.deepEqual([after[i]?.scope, after[i]?.resource], [scope, resource]);
    const now = after[i]?.span as Uint8Array;
    if (roots[i] === true) {
      assert.deepEqual(Buffer.from(message(now)), Buffer.concat([message(span), LINK]));
    } else assert.deepEqual(now, span);
  }
}

for (const name of FIXTURES) {
  test(`${name}: only root spans get the link, in bincode, JSON and OTLP alike`, () => {
    const { bincode, json, expected } = fixture(name);
    const otlp = expected.map((span) => otlpRequest([span]));
    if (name === "session-isolated") {
      assert.equal(expected.filter(({ parentSpanId }) => parentSpanId === "").length, 1);
    }
    for (const payloads of [bincode, json, otlp]) {
      const decoder = new PayloadDecoder();
      const spans = new EncodedSpans();
      for (const [i, payload] of payloads.entries()) {
        decoder.decode(payload, 0, payload.length, spans);
        const [before, after] = through(spans);
        const isRoot = expected[i]?.parentSpanId === "";
        assertLinked(before, after, [isRoot]);
        const was = decodeSpan(message(before[0]?.span as Uint8Array), "lenient");
        const { traceId, spanId, flags } = CONTEXT;
        assert.deepEqual(decodeSpan(message(after[0]?.span as Uint8Array), "lenient"), {
          ...was,
          links: isRoot
            ? [...was.links, {
              traceId,
              spanId,
              traceFlags: flags,
              isRemote: true,
              traceState: "",
              attributes: [],
              droppedAttributesCount: 0,
            }]
            : was.links,
        });
      }
    }
  });
}

/** How many root spans there are in each stream of a real agent. */
const REAL_ROOTS: Readonly<Record<string, number>> = {
  "real-agent/real-3.28.0-session.bincode": 22,
  "real-agent/real-3.28.0-session-traceparent.bincode": 6,
  "real-agent/real-3.28.0-busy.bincode.gz": 63,
  "real-agent/real-3.28.0-virtio-vsock-pid1.bincode": 12,
  "real-agent/real-4.1.0-session.json-frames": 26,
  "real-agent/real-4.1.0-session-1vcpu.json-frames": 26,
  "real-agent/real-4.1.0-session-traceparent.json-frames": 6,
  "real-agent/real-4.1.0-busy.json-frames.gz": 283,
  "real-agent/real-4.1.0-copyfile-1MiB.json-frames.gz": 7,
  "real-agent/real-4.1.0-virtio-vsock-pid1.json-frames": 12,
};
for (const stream of REAL_STREAMS) {
  test(`${stream.file}: the root of each trace gets the link, whatever else the agent did with its traces`, () => {
    const decoder = new PayloadDecoder();
    const spans = new EncodedSpans();
    let roots = 0;
    for (const payload of splitFrames(streamBytes(stream))) {
      decoder.decode(payload, 0, payload.length, spans);
      const [before, after] = through(spans);
      const { parentSpanId } = readPayload(stream.encoding, payload);
      assertLinked(before, after, [parentSpanId === ""]);
      if (parentSpanId === "") roots++;
    }
    assert.equal(roots, REAL_ROOTS[stream.file]);
  });
}

test("what the host's own programs send is not linked", () => {
  const { bincode } = fixture("session-isolated");
  const spans = new EncodedSpans();
  const sink = new RecordingSink();
  for (const kind of ["runtime", "host"] as const) {
    const source = linkingRoots(sink, CONTEXT).open({ ...SOURCE, kind });
    for (const payload of bincode) {
      new PayloadDecoder().decode(payload, 0, payload.length, spans);
      const before = slices(spans);
      source.accept(spans);
      assert.deepEqual(sink.taken, before);
    }
  }
});

const id = (length: number): number[] => Array.from({ length }, (_, i) => i + 1);

test("many spans of a payload are linked one by one, whatever their sizes", () => {
  const plain = [0, 50, 90, 127, 16_300, 300_000].flatMap((size) =>
    [undefined, id(8), new Array<number>(8).fill(0), []].map((parentSpanId) => ({
      resource: { resource: { attributes: [] } },
      span: { traceId: id(16), spanId: id(8), parentSpanId, name: "n".repeat(size) },
    }))
  );
  const [before, after] = through(encodedSpans(plain));
  // Eight zeros are not a parent, because no span has such an ID.
  assertLinked(before, after, plain.map((_, i) => i % 4 !== 1));
});

test("the last span of a payload is linked where it is, and only its length may move it, whatever its size", () => {
  // The link has 35 bytes, so some of these lengths take a byte more with it.
  for (const size of [0, 60, 80, 100, 127, 16_200, 16_300, 16_384, 2_097_000, 2_097_050, 2_097_100, 8_000_000]) {
    const spans = encodedSpans([{
      resource: { resource: { attributes: [] } },
      span: { traceId: id(16), spanId: id(8), name: "n".repeat(size) },
    }]);
    const { writer } = spans;
    const [start, end] = [spans.spanStart(0), spans.spanEnd(0)];
    assert.equal(end, writer.position);
    const [before, after] = through(spans);
    assertLinked(before, after, [true]);
    assert.equal(spans.spanStart(0), start);
    const contentBytes = message(after[0]?.span as Uint8Array).length;
    assert.equal(writer.position, start + 1 + varintSize(contentBytes) + contentBytes);
  }
});

test("a root span of megabytes is not copied, in whichever encoding it comes", () => {
  const large = largeStreams().filter(({ name }) => /: one long text$/.test(name));
  assert.deepEqual(large.map(({ name }) => name), [
    "large: JSON: one long text",
    "large: bincode: one long text",
    "large: OTLP: one long text",
  ]);
  for (const { name, bytes } of large) {
    const [payload] = splitFrames(bytes);
    assert.ok(payload !== undefined);
    let taken = 0;
    const steps = new PayloadDecoder().readLarge({ buffer: payload, start: 0, end: payload.length }, (spans) => {
      taken += spans.count;
      const { writer } = spans;
      const length = writer.position;
      const [before, after] = through(spans);
      assertLinked(before, after, [true]);
      assert.equal(writer.position, length + LINK.length, name);
    });
    while (steps.next().done !== true);
    assert.equal(taken, 1, name);
  }
});

test("a parent is found anywhere in the span", () => {
  const spans = new EncodedSpans();
  const { writer } = spans;
  const field = Buffer.from("120c" + "2a00" + "2208" + "0000000000000001", "hex");
  writer.bytes(field);
  spans.add(0, field.length);
  const [before, after] = through(spans);
  assertLinked(before, after, [false]);
});

test("everything else is passed on to the next sink", async () => {
  const sink = new RecordingSink();
  const links = linkingRoots(sink, CONTEXT);
  const changes: (string | undefined)[] = [];
  const unsubscribe = links.subscribe((account) => changes.push(account));
  for (const onChange of sink.subscribers) onChange("box");
  assert.deepEqual(changes, ["box"]);
  unsubscribe();
  assert.equal(sink.subscribers.size, 0);
  assert.equal(links.isPaused("box"), false);
  sink.paused = true;
  assert.deepEqual([links.isPaused("box"), links.isPaused("another")], [true, false]);
  links.readOn("box");
  const opened = links.open(SOURCE);
  await opened.settled();
  opened.close();
  assert.deepEqual(sink.opened, [SOURCE]);
  assert.equal(await links.drain(5), 1);
  assert.equal(await links.abort(), 2);
  assert.deepEqual(sink.calls, ["readOn box", "settled", "close", "drain 5", "abort"]);
});
