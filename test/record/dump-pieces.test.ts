import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { type SpanRecord, spanToRecord } from "../../src/otlp/json-record.ts";
import { splitRequest } from "../../src/otlp/request.ts";
import type { SpanPart } from "../../src/otlp/request-builder.ts";
import { dumpJsonPieces } from "../../src/record/dump-json-pieces.ts";
import { dumpTextPieces } from "../../src/record/dump-text-pieces.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { fixture, FIXTURES, frame } from "../decode/support/fixtures.ts";
import { bytesField, textField, varintField } from "../decode/support/otlp-message.ts";
import { RandomSpans } from "../decode/support/random-span.ts";
import { REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";
import { largeStreams } from "../hostile/large-payloads.ts";
import { hostileStreams, repeated } from "../hostile/payloads.ts";
import { chunksOf } from "../hostile/requests.ts";
import { attribute, spanField } from "../otlp/support/encoded.ts";
import { plainSpan } from "../otlp/support/expected.ts";
import { encode, type PlainMessage } from "../otlp/support/otlp-proto.ts";
import { jsonLine, textRecord } from "./support/record-text.ts";

const MINUTES = { timeout: 600_000 };

/** ESC, CSI in one byte, a bidirectional override, a line separator, DEL, a NUL and a newline. */
const EVIL = "\u001b[2J\u009b31m\u202eevil\u2028\u007f\u0000\n";
// deno-lint-ignore no-control-regex
const STEERING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

function partOf(span: PlainMessage, resource: PlainMessage = {}, scope: PlainMessage = {}): SpanPart {
  return {
    resource: encode("ResourceSpans", resource),
    scope: encode("ScopeSpans", scope),
    span: spanField(span),
  };
}

function recordOf({ resource, scope, span }: SpanPart): SpanRecord {
  return spanToRecord(resource, scope, span);
}

function lineOf(part: SpanPart): string {
  return [...dumpJsonPieces(part)].join("");
}

function textOf(part: SpanPart): string {
  return [...dumpTextPieces(part)].join("");
}

/** A span that has a hostile string wherever there is room for one. */
function evilSpan(evil = EVIL): SpanPart {
  const attributes = [
    attribute(evil, evil),
    { key: "list", value: { arrayValue: { values: [{ stringValue: evil }] } } },
    { key: "map", value: { kvlistValue: { values: [attribute(evil, evil)] } } },
  ];
  return partOf(
    {
      name: evil,
      traceState: evil,
      status: { code: 2, message: evil },
      attributes,
      events: [{ name: evil, attributes }],
      links: [{ traceState: evil, attributes }],
    },
    { resource: { attributes }, schemaUrl: evil },
    { scope: { name: evil, version: evil, attributes }, schemaUrl: evil },
  );
}

for (const name of FIXTURES) {
  test(`every span of ${name} is a line of JSON that says the same`, () => {
    for (const expected of fixture(name).expected) {
      const part = partOf(plainSpan(expected));
      const line = lineOf(part);
      assert.equal(line.indexOf("\n"), line.length - 1);
      assert.deepEqual(JSON.parse(line), recordOf(part));
    }
  });
}

test("a line of JSON keeps what doubles would round, and a negative zero", () => {
  const line = lineOf(partOf({
    startTimeUnixNano: "18446744073709551615",
    attributes: [
      { key: "a", value: { intValue: "9007199254740993" } },
      { key: "b", value: { doubleValue: -0 } },
      { key: "c", value: { doubleValue: NaN } },
    ],
  }));
  assert.match(line, /"startTimeUnixNano":"18446744073709551615"/);
  assert.match(line, /"value":{"intValue":"9007199254740993"}/);
  assert.match(line, /"value":{"doubleValue":-0\.0}/);
  assert.match(line, /"value":{"doubleValue":"NaN"}/);
  assert.ok(Object.is(JSON.parse(line).attributes[1].value.doubleValue, -0));
});

test("a line of JSON lets nothing through that steers a terminal, and loses nothing", () => {
  const evil = evilSpan();
  const line = lineOf(evil);
  assert.doesNotMatch(line.slice(0, -1), STEERING);
  assert.ok(!line.slice(0, -1).includes("\n"));
  assert.deepEqual(JSON.parse(line), recordOf(evil));
});

test("the indented form lets nothing through that steers a terminal", () => {
  const text = textOf(evilSpan());
  assert.doesNotMatch(text, STEERING);
  // The newlines are those of the form: none of them is the guest's.
  assert.equal(text.split("\n").length, textOf(evilSpan("evil")).split("\n").length);
  assert.match(text, /evil/);
});

test("the indented form", () => {
  const shown = partOf(
    {
      traceId: Array(16).fill(0xab),
      spanId: Array(8).fill(0xcd),
      parentSpanId: Array(8).fill(0xef),
      name: "create_sandbox",
      kind: 2,
      flags: 1,
      traceState: "k=v",
      startTimeUnixNano: "1767000000636465099",
      endTimeUnixNano: "1767000002000000000",
      attributes: [
        attribute("req", 'CreateSandbox "x"'),
        { key: "busy_ns", value: { intValue: "16867190" } },
        { key: "ratio", value: { doubleValue: -0 } },
        { key: "ok", value: { boolValue: false } },
        { key: "raw", value: { bytesValue: [1, 2] } },
        { key: "none", value: {} },
        {
          key: "list",
          value: {
            arrayValue: {
              values: [{ intValue: "1" }, { kvlistValue: { values: [attribute("k", "v")] } }],
            },
          },
        },
      ],
      droppedAttributesCount: 2,
      events: [{
        name: "in setup",
        timeUnixNano: "1767000000636485109",
        attributes: [attribute("level", "INFO")],
      }],
      links: [{ traceId: Array(16).fill(1), spanId: Array(8).fill(2), flags: 0x300 }],
      droppedLinksCount: 3,
      status: { code: 2, message: "no such file" },
    },
    { resource: { attributes: [attribute("service.name", "kata-agent")] }, schemaUrl: "s" },
    { scope: { name: "lib", version: "1.2" } },
  );
  assert.equal(
    textOf(shown),
    `span create_sandbox
  trace ${"ab".repeat(16)}  span ${"cd".repeat(8)}  parent ${"ef".repeat(8)}
  kind server  status error "no such file"
  start 2025-12-29T09:20:00.636465099Z
  end   2025-12-29T09:20:02.000000000Z  (1.363534901 s)
  flags 0x01 sampled  trace state "k=v"
  attributes 7  (2 dropped)
    req = "CreateSandbox \\"x\\""
    busy_ns = 16867190
    ratio = -0.0
    ok = false
    raw = base64 AQI=
    none = not set
    list = [1, {k = "v"}]
  events 1
    event in setup  at 2025-12-29T09:20:00.636485109Z
      attributes 1
        level = "INFO"
  links 1  (3 dropped)
    link trace ${"01".repeat(16)}  span ${"02".repeat(8)}  flags 0x300  trace state ""
      attributes 0
  scope "lib"  version "1.2"  schema ""
    attributes 0
  resource  schema "s"
    attributes 1
      service.name = "kata-agent"

`,
  );
});

test("the indented form of a span that says nothing, or nonsense", () => {
  const text = textOf(partOf({
    kind: 77,
    status: { code: 9 },
    startTimeUnixNano: "18446744073709551615",
    endTimeUnixNano: "1",
  }));
  assert.match(text, /^span \n/);
  assert.match(text, /parent none/);
  assert.match(text, /kind 77 {2}status 9\n/);
  assert.match(text, /start 2554-07-21T23:34:33\.709551615Z/);
  assert.match(text, /\(-18446744073\.709551614 s\)/);
});

test("a guest's long string is shown whole", () => {
  const long = "x".repeat(100_000);
  assert.ok(
    textOf(partOf({ name: long, attributes: [attribute("k", long)] }))
      .includes(`span ${long}\n`),
  );
});

/** Compares both forms with what is written of the span's record in one go. */
function assertSame(part: SpanPart, name: string): void {
  const record = recordOf(part);
  for (const [text, expected] of [[lineOf(part), jsonLine(record)], [textOf(part), textRecord(record)]] as const) {
    if (text === expected) continue;
    let at = 0;
    while (text[at] === expected[at]) at++;
    assert.equal(text.slice(Math.max(0, at - 50), at + 50), expected.slice(Math.max(0, at - 50), at + 50), name);
  }
}

test("what agents have recorded and hostile guests send is shown as their records are", MINUTES, async () => {
  const recorded = REAL_STREAMS.map((stream) => ({ name: stream.file, bytes: new Uint8Array(streamBytes(stream)) }));
  const hostile = hostileStreams().filter((_, index) => index % 32 === 1);
  const large = largeStreams().filter((_, index) => index % 3 === 0);
  let compared = 0;
  for (const { name, bytes } of [...recorded, ...hostile, ...large]) {
    for (const chunk of await chunksOf(bytes)) {
      const parts = splitRequest(chunk.bytes);
      // What follows each other in a hostile chunk is alike.
      const step = Math.ceil(parts.length / 50);
      for (let at = 0; at < parts.length; at += step, compared++) assertSame(parts[at] as SpanPart, name);
    }
  }
  assert.ok(compared > 300, `${compared} spans`);
});

test("random spans are shown as their records are", MINUTES, async () => {
  const random = new RandomSpans(11);
  const frames = Array.from({ length: 500 }, () => new Uint8Array(frame(encodeBincode(random.span()))));
  for (const { bytes } of await chunksOf(new Uint8Array(Buffer.concat(frames)))) {
    for (const part of splitRequest(bytes)) assertSame(part, "random");
  }
});

/** Longer than what is written in one step, in every place, and with characters where it is cut. */
function largeSpan(): SpanPart {
  const text = (offset: number): string => "a".repeat(offset) + 'é人🦀"\\\n\u202e\u0001'.repeat(3000);
  const values = [
    { stringValue: text(0) },
    { bytesValue: Uint8Array.from({ length: 50_000 }, (_, index) => index * 7) },
    { arrayValue: { values: Array.from({ length: 5000 }, (_, index) => ({ intValue: String(index) })) } },
    { kvlistValue: { values: [attribute(text(1), text(2)), { key: "k", value: {} }, attribute("", "")] } },
    { arrayValue: { values: [{ arrayValue: { values: [{ stringValue: text(3) }, { doubleValue: -0 }] } }, {}] } },
  ];
  const attributes = values.map((value, index) => ({ key: index === 0 ? text(1) : `k${index}`, value }));
  const counts = { droppedAttributesCount: 3 };
  return partOf(
    {
      name: text(2),
      traceState: text(3),
      status: { code: 1, message: text(1) },
      attributes: [...attributes, ...Array.from({ length: 5000 }, () => attribute("k", "v"))],
      events: [
        { name: text(1), timeUnixNano: "5", attributes, ...counts },
        ...Array.from({ length: 5000 }, () => ({})),
      ],
      links: [{ traceState: text(2), flags: 1, attributes, ...counts }, ...Array.from({ length: 5000 }, () => ({}))],
    },
    { resource: { attributes, ...counts }, schemaUrl: text(0) },
    { scope: { name: text(1), version: text(2), attributes, ...counts }, schemaUrl: text(3) },
  );
}

test("a large span is shown as its record is, in pieces of bounded text", () => {
  const part = largeSpan();
  assertSame(part, "large");
  const [resource, scope] = [part.resource.length, part.scope.length];
  for (const pieces of [[...dumpJsonPieces(part)], [...dumpTextPieces(part)]]) {
    const total = pieces.reduce((sum, { length }) => sum + length, 0);
    // A piece is handed out at 32 Ki characters, and a step adds 12 KiB at most, each byte eight characters; a schema's
    // URL is written at once.
    const most = 32 * 1024 + 8 * 12 * 1024 + Math.max(resource, scope);
    const longest = pieces.reduce((most, { length }) => Math.max(most, length), 0);
    assert.ok(longest <= most, `${longest} characters`);
    assert.ok(pieces.length >= total / most && pieces.length > 50, `${pieces.length} pieces of ${total} characters`);
  }
});

test("much that comes to no text takes pieces too", () => {
  const span = bytesField(2, repeated(varintField(127, 1), 300_000));
  const empty = new Uint8Array();
  const part = { resource: empty, scope: empty, span };
  assertSame(part, "unknown fields");
  assert.ok([...dumpTextPieces(part)].length > 40);
  const values = bytesField(2, repeated(varintField(127, 1), 30_000));
  assertSame({ ...part, span: bytesField(2, bytesField(9, textField(1, "k"), values)) }, "unknown values");
});

test("bytes that are not spans are refused", () => {
  const part = partOf({ name: "n" });
  for (const span of [part.span.subarray(0, 2), new Uint8Array(), Uint8Array.of(0x12, 2, 0x2a, 9)]) {
    for (const pieces of [dumpJsonPieces, dumpTextPieces]) {
      assert.throws(() => [...pieces({ ...part, span })], { name: "ProtobufError" });
    }
  }
});
