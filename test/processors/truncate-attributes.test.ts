import assert from "node:assert/strict";
import { test } from "node:test";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { SpanSink } from "../../src/pipeline/sink.ts";
import {
  MOST_RESOURCE_BYTES,
  MOST_SPAN_BYTES,
  truncatingAttributes,
} from "../../src/processors/truncate-attributes.ts";
import { span } from "../decode/support/bincode-decode.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { decodeEncodedSpans } from "../decode/support/decode-span.ts";
import { fixture, splitFrames } from "../decode/support/fixtures.ts";
import { bytesField } from "../decode/support/otlp-message.ts";
import { streamBytes } from "../decode/support/recorded-streams.ts";
import type { AttributeRecord, OtlpRecord, SpanRecord } from "../decode/support/span-record.ts";

const MARK = "kata.truncated_attributes";

/** What becomes of a payload, and how large its span and resource are. */
function truncated(payload: Uint8Array, mostBytes?: number, isRead = true) {
  const metrics = new Metrics();
  let records: readonly OtlpRecord[] = [];
  let [spanBytes, resourceBytes] = [0, 0];
  const sink: SpanSink = {
    open: () => ({
      accept: (spans) => {
        // The mark comes last.
        if (isRead) records = decodeEncodedSpans(spans, "lenient");
        spanBytes = spans.spanEnd(0) - spans.spanStart(0);
        resourceBytes = spans.resourceEnd(0) - spans.resourceStart(0);
      },
      settled: () => Promise.resolve(),
      close: () => {},
    }),
    isPaused: () => false,
    readOn: () => {},
    subscribe: () => () => {},
    drain: () => Promise.resolve(0),
    abort: () => Promise.resolve(0),
  };
  const source = truncatingAttributes(sink, metrics, mostBytes)
    .open({ kind: "guest", name: "box", account: "box", attributes: new Map() });
  const spans = new EncodedSpans();
  new PayloadDecoder().decode(payload, 0, payload.length, spans);
  source.accept(spans);
  const [record] = records;
  assert.equal(records.length, isRead ? 1 : 0);
  return { record: record as OtlpRecord, spanBytes, resourceBytes, count: metrics.truncatedAttributes };
}

function untouched(payload: Uint8Array): OtlpRecord {
  const spans = new EncodedSpans();
  new PayloadDecoder().decode(payload, 0, payload.length, spans);
  const [record] = decodeEncodedSpans(spans);
  assert.ok(record !== undefined);
  return record;
}

function text(key: string, stringValue: string): AttributeRecord {
  return { key, value: { stringValue } };
}

function valueOf(record: OtlpRecord, key: string): string {
  const value = record.attributes.find((attribute) => attribute.key === key)?.value;
  assert.ok(value !== undefined && "stringValue" in value, key);
  return value.stringValue;
}

/** What the span says was cut; undefined if it says nothing. */
function marked(record: OtlpRecord): string[] | undefined {
  const value = record.attributes.find(({ key }) => key === MARK)?.value;
  if (value === undefined) return undefined;
  assert.ok("arrayValue" in value);
  return value.arrayValue.values.map((item) => {
    assert.ok("stringValue" in item);
    return item.stringValue;
  });
}

const bincode = (parts: Partial<SpanRecord>): Uint8Array => encodeBincode(span(parts));

test("spans of agents are not touched", () => {
  for (const payload of [...fixture("random").bincode, ...fixture("session-isolated").json]) {
    const { record, count } = truncated(payload);
    assert.deepEqual([record, count], [untouched(payload), 0]);
  }
});

test("the span of a copied file fits into a request, and has everything but the end of its longest value", () => {
  const file = "real-agent/real-4.1.0-copyfile-1MiB.json-frames.gz";
  const payloads = splitFrames(streamBytes({ file, encoding: "json", spans: 36 }));
  const large = payloads.filter(({ length }) => length > 4_000_000);
  assert.equal(large.length, 1);
  const [payload = new Uint8Array()] = large;
  const before = untouched(payload);
  const { record, spanBytes, count } = truncated(payload);
  assert.ok(spanBytes <= MOST_SPAN_BYTES && spanBytes > MOST_SPAN_BYTES - 10_000, `${spanBytes} bytes`);
  assert.equal(count, 1);
  const [name = ""] = marked(record) ?? [];
  assert.ok(valueOf(before, name).startsWith(valueOf(record, name)));
  // Everything else is as it was.
  const without = (attributes: readonly AttributeRecord[]) =>
    attributes.filter(({ key }) => key !== name && key !== MARK);
  assert.deepEqual(without(record.attributes), without(before.attributes));
  assert.deepEqual({ ...record, attributes: [] }, { ...before, attributes: [] });
});

test("the longest values are cut to one length, and shorter ones are not", () => {
  const attributes = [
    text("first", "a".repeat(3_000_000)),
    text("short", "b".repeat(1000)),
    text("second", "c".repeat(2_500_000)),
  ];
  const { record, spanBytes, count } = truncated(bincode({ attributes }));
  const [first, second] = [valueOf(record, "first"), valueOf(record, "second")];
  assert.equal(first.length, second.length);
  assert.ok(spanBytes <= MOST_SPAN_BYTES && spanBytes > MOST_SPAN_BYTES - 10_000, `${spanBytes} bytes`);
  assert.equal(valueOf(record, "short").length, 1000);
  assert.deepEqual([marked(record), count], [["first", "second"], 2]);
});

test("a value is cut at the end of a character", () => {
  for (const character of ["é", "人", "🦀"]) {
    const bytes = new TextEncoder().encode(character).length;
    for (let most = 40; most < 44; most++) {
      const { record } = truncated(bincode({ attributes: [text("k", character.repeat(50))] }), most);
      assert.equal(valueOf(record, "k"), character.repeat(Math.floor(most / bytes)), `${character}, ${most}`);
    }
  }
});

test("a limit is for every value: of events and links too, and of each item of an array", () => {
  const long = "x".repeat(30);
  const short = "x".repeat(10);
  const values = [{ stringValue: long }, { stringValue: short }];
  const attributes = [text("long", long), text("short", short), { key: "all", value: { arrayValue: { values } } }];
  const event = { name: long, timeUnixNano: "5", attributes: [text("e", long)], droppedAttributesCount: 1 };
  const link = {
    traceId: "01".repeat(16),
    spanId: "02".repeat(8),
    traceFlags: 1,
    isRemote: false,
    traceState: "",
    attributes: [text("l", long)],
    droppedAttributesCount: 0,
  };
  const payload = bincode({ attributes, events: [event], links: [link], resource: [text("r", long)] });
  const { record, count } = truncated(payload, 10);
  assert.equal(count, 4);
  assert.deepEqual(marked(record), ["long", "all", "e", "l"]);
  assert.equal(valueOf(record, "long"), short);
  const all = record.attributes.find(({ key }) => key === "all");
  assert.deepEqual(all?.value, { arrayValue: { values: [{ stringValue: short }, { stringValue: short }] } });
  assert.deepEqual(record.events, [{ ...event, attributes: [text("e", short)] }]);
  assert.deepEqual(record.links[0]?.attributes, [text("l", short)]);
  // What is no attribute's value is not cut, and a resource only if it is too large.
  assert.deepEqual(record.resource, [text("r", long)]);
});

test("an array that is too long keeps its first items", () => {
  const values = Array.from({ length: 600_000 }, (_, i) => ({ intValue: String(1_000_000_000 + i) }));
  const payload = bincode({ attributes: [{ key: "a", value: { arrayValue: { values } } }, text("b", "b")] });
  const { record, spanBytes } = truncated(payload);
  const value = record.attributes[0]?.value;
  assert.ok(value !== undefined && "arrayValue" in value);
  const kept = value.arrayValue.values;
  assert.ok(kept.length > 450_000 && kept.length < 600_000);
  assert.deepEqual(kept, values.slice(0, kept.length));
  assert.ok(spanBytes <= MOST_SPAN_BYTES);
  assert.deepEqual(marked(record), ["a"]);
});

test("a resource that is too large is cut, and leaves its span as it is", () => {
  const resource = [text("host.name", "node"), text("long", "r".repeat(100_000))];
  const { record, resourceBytes } = truncated(bincode({ resource }));
  assert.ok(resourceBytes <= MOST_RESOURCE_BYTES && resourceBytes > MOST_RESOURCE_BYTES - 10_000);
  assert.deepEqual(record.resource[0], text("host.name", "node"));
  assert.equal(marked(record), undefined);
});

test("the mark has few names, and short ones", () => {
  const attributes = Array.from({ length: 20 }, (_, i) => text(`${"é".repeat(100)}${i}`, "x".repeat(20)));
  const { record, count } = truncated(bincode({ attributes }), 10);
  assert.equal(count, 20);
  assert.deepEqual(marked(record), Array(16).fill("é".repeat(64)));
});

test("a span that is too large because it has very many attributes stays as it is", () => {
  const attributes = Array.from({ length: 60_000 }, (_, i) => text(`k${i}`, "x".repeat(80)));
  const { record, count } = truncated(bincode({ attributes }));
  assert.deepEqual([record.attributes.length, count, marked(record)], [60_000, 0, undefined]);
});

test("text, bytes and lists of OTLP are cut too, and what is not known passes", () => {
  const utf8 = new TextEncoder();
  const ids = [bytesField(1, new Uint8Array(16).fill(1)), bytesField(2, new Uint8Array(8).fill(2))];
  const keyValue = (key: string, value: Uint8Array) => [bytesField(1, utf8.encode(key)), bytesField(2, value)];
  const list = bytesField(6, bytesField(1, ...keyValue("inner", bytesField(1, utf8.encode("y".repeat(50))))));
  const attributes = [
    bytesField(9, ...keyValue("bytes", bytesField(7, new Uint8Array(50).fill(0xff)))),
    bytesField(9, ...keyValue("list", list)),
  ];
  const payload = bytesField(1, bytesField(2, bytesField(2, ...ids, ...attributes)));
  const { count, spanBytes } = truncated(payload, 10, false);
  assert.equal(count, 2);
  assert.ok(spanBytes < payload.length + MARK.length + 40);
});
