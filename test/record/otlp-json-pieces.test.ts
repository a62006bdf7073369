import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { requestToRecords } from "../../src/otlp/json-record.ts";
import { splitRequest } from "../../src/otlp/request.ts";
import type { SpanPart } from "../../src/otlp/request-builder.ts";
import { otlpJsonPieces } from "../../src/record/otlp-json-pieces.ts";
import { parseRecord } from "../../src/record/parse-record.ts";
import { spansToOtlpJson } from "../../src/record/write-otlp-json.ts";
import { frame } from "../decode/support/fixtures.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { bytesField, fixed64Field, keyValue, textField, varintField } from "../decode/support/otlp-message.ts";
import { RandomSpans } from "../decode/support/random-span.ts";
import { REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";
import { largeStreams } from "../hostile/large-payloads.ts";
import { hostileStreams, IDS, repeated } from "../hostile/payloads.ts";
import { chunksOf } from "../hostile/requests.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

const MINUTES = { timeout: 600_000 };
const ID = { traceId: new Uint8Array(16).fill(1), spanId: new Uint8Array(8).fill(2) };

function lineOf(request: Uint8Array): string {
  return [...otlpJsonPieces(splitRequest(request))].join("");
}

/** Compares the line with what the records of the same spans become, in the other encoder. */
function assertSame(request: Uint8Array, name: string): void {
  const line = lineOf(request);
  const expected = `${spansToOtlpJson(requestToRecords(request))}\n`;
  if (line === expected) return;
  let at = 0;
  while (line[at] === expected[at]) at++;
  assert.equal(line.slice(Math.max(0, at - 50), at + 50), expected.slice(Math.max(0, at - 50), at + 50), name);
}

function requestOf(span: object): Uint8Array {
  return encode("ExportTraceServiceRequest", { resourceSpans: [{ scopeSpans: [{ spans: [{ ...ID, ...span }] }] }] });
}

function spanOf(line: string): Record<string, unknown> {
  return JSON.parse(line).resourceSpans[0].scopeSpans[0].spans[0] as Record<string, unknown>;
}

test("what agents have recorded becomes the same line as their records do", MINUTES, async () => {
  for (const stream of REAL_STREAMS) {
    const chunks = await chunksOf(new Uint8Array(streamBytes(stream)));
    assert.equal(chunks.reduce((sum, { spans }) => sum + spans, 0), stream.spans, stream.file);
    for (const { bytes } of chunks) assertSame(bytes, stream.file);
  }
});

test("what hostile guests send becomes the same line as its records do", MINUTES, async () => {
  let compared = 0;
  const streams = [...hostileStreams().filter((_, index) => index % 4 === 1), ...largeStreams()];
  for (const { name, bytes } of streams) {
    for (const chunk of await chunksOf(bytes)) {
      assertSame(chunk.bytes, name);
      compared += chunk.spans;
    }
  }
  assert.ok(compared > 10_000);
});

test("random spans become the same line as their records do, and are read back", MINUTES, async () => {
  const spans = new RandomSpans(7);
  for (let round = 0; round < 20; round++) {
    const frames = Array.from({ length: 50 }, () => new Uint8Array(frame(encodeBincode(spans.span()))));
    for (const { bytes } of await chunksOf(new Uint8Array(Buffer.concat(frames)))) {
      assertSame(bytes, `round ${round}`);
      assert.deepEqual(parseRecord(JSON.parse(lineOf(bytes))), requestToRecords(bytes));
    }
  }
});

test("every kind of value, in any order of fields, with unknown ones between", () => {
  const values = [
    { stringValue: 'a "quoted" \\ text\n\u009b31m\u2028 é🦀' },
    { boolValue: true },
    { boolValue: false },
    { intValue: "-9223372036854775808" },
    { doubleValue: 0.1 },
    { doubleValue: -0 },
    { doubleValue: NaN },
    { doubleValue: -Infinity },
    { bytesValue: Uint8Array.of(0, 255, 3, 4) },
    { arrayValue: { values: [{}, { intValue: "1" }, { arrayValue: { values: [] } }] } },
    { kvlistValue: { values: [{ key: "k", value: { stringValue: "v" } }, { key: "", value: {} }] } },
    {},
  ];
  const attributes = values.map((value, index) => ({ key: `key ${index}`, value }));
  const request = requestOf({
    traceState: "a=b",
    parentSpanId: new Uint8Array(8).fill(3),
    name: "n",
    kind: 3,
    startTimeUnixNano: "18446744073709551615",
    attributes,
    droppedAttributesCount: 4_294_967_295,
    events: [{ timeUnixNano: "5", name: "e", attributes }, {}],
    links: [{ ...ID, traceState: "s", attributes, droppedAttributesCount: 1, flags: 256 }],
    status: { code: 2, message: "bad" },
    flags: 257,
  });
  assertSame(request, "in order");
  const span = spanOf(lineOf(request)) as { attributes: { value: Record<string, unknown> }[] };
  assert.deepEqual(span.attributes[5]?.value, { doubleValue: "-0" });
  assert.deepEqual(span.attributes[6]?.value, { doubleValue: "NaN" });
  assert.deepEqual(span.attributes[8]?.value, { bytesValue: "AP8DBA==" });
  assert.ok(!lineOf(request).includes("\u009b"));
  // The fields that are not repeated come last, with a field between that nobody knows.
  const unknown = varintField(127, 1);
  const [one, other] = [keyValue(9, "a", varintField(2, 1)), keyValue(9, "b", textField(1, "x"))];
  const event = bytesField(11, keyValue(3, "k", varintField(3, -1n)), textField(2, "e"), fixed64Field(1, 5n));
  const fields = [one, event, unknown, other, event, textField(5, "n"), unknown, IDS];
  const shuffled = bytesField(1, bytesField(2, bytesField(2, ...fields)));
  assertSame(shuffled, "in another order");
  assert.deepEqual((spanOf(lineOf(shuffled))["events"] as unknown[]).length, 2);
});

test("long texts and bytes are cut into pieces between characters, and come out whole", () => {
  for (const character of ["x", "é", "人", "🦀", "\u0001", '"', "\u2028"]) {
    for (let offset = 0; offset < 4; offset++) {
      const text = "a".repeat(offset) + character.repeat(30_000);
      const line = lineOf(requestOf({ name: text, attributes: [{ key: text, value: { stringValue: text } }] }));
      assert.equal(spanOf(line)["name"], text);
      assert.deepEqual(spanOf(line)["attributes"], [{ key: text, value: { stringValue: text } }]);
    }
  }
  for (const length of [12_287, 12_288, 12_289, 100_000]) {
    const bytes = Uint8Array.from({ length }, (_, index) => index * 7);
    const line = lineOf(requestOf({ attributes: [{ key: "b", value: { bytesValue: bytes } }] }));
    const value = { bytesValue: Buffer.from(bytes).toString("base64") };
    assert.deepEqual(spanOf(line)["attributes"], [{ key: "b", value }]);
  }
});

test("a span however large comes in pieces of bounded text", () => {
  const events = Array.from({ length: 100_000 }, () => ({}));
  const values = Array.from({ length: 200_000 }, () => ({ intValue: "1" }));
  const attributes = [{ key: "k", value: { arrayValue: { values } } }];
  const pieces = [...otlpJsonPieces(splitRequest(requestOf({ events, attributes, name: "\u0001".repeat(1_000_000) })))];
  // A piece is handed out at 32 Ki characters, and a step adds 12 KiB at most, each byte six characters.
  const longest = pieces.reduce((most, { length }) => Math.max(most, length), 0);
  assert.ok(longest <= 32 * 1024 + 6 * 12 * 1024 + 1000, `${longest} characters`);
  assert.ok(pieces.length > 100);
  assert.equal((spanOf(pieces.join(""))["events"] as unknown[]).length, 100_000);
});

test("much that comes to no text takes pieces too", () => {
  const span = bytesField(2, repeated(varintField(127, 1), 3_000_000));
  const empty = new Uint8Array();
  const pieces = [...otlpJsonPieces([{ resource: empty, scope: empty, span }])];
  assert.ok(pieces.length > 5, `${pieces.length} pieces`);
  assert.equal(spanOf(pieces.join(""))["name"], "");
});

test("bytes that are not spans are refused", () => {
  const [part] = splitRequest(requestOf({ name: "n" })) as [SpanPart];
  const broken = Buffer.from(part.span);
  broken[2] = 0x0b;
  for (const span of [broken, part.span.subarray(0, 5), new Uint8Array()]) {
    assert.throws(() => [...otlpJsonPieces([{ ...part, span }])], { name: "ProtobufError" });
  }
  assert.equal([...otlpJsonPieces([])].join(""), '{"resourceSpans":[]}\n');
});
