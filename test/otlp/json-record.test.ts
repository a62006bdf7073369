import assert from "node:assert/strict";
import { test } from "node:test";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import { requestToRecords, type SpanRecord, spanToRecord } from "../../src/otlp/json-record.ts";
import { ProtobufError } from "../../src/otlp/protobuf-reader.ts";
import { fixture, FIXTURES } from "../decode/support/fixtures.ts";
import type { SpanRecord as Expected } from "../decode/support/span-record.ts";
import { attribute, spanField } from "./support/encoded.ts";
import { plainSpan, readableSpan } from "./support/expected.ts";
import { encode, type PlainMessage } from "./support/otlp-proto.ts";

const NONE = new Uint8Array();

/**
 * What a recorded span and a record both say, in the recorded shape. A link's `isRemote` is not in what is encoded
 * here.
 */
function comparable(record: SpanRecord): PlainMessage {
  const { flags, resource: _, scope: _scope, links, ...span } = record;
  return {
    ...span,
    traceFlags: flags,
    links: links.map(({ flags, ...link }) => ({ ...link, traceFlags: flags })),
  };
}

function expectedShape(expected: Expected): PlainMessage {
  const { isRemote: _, resource: _resource, links, ...span } = expected;
  return { ...span, links: links.map(({ isRemote: _, ...link }) => link) };
}

for (const name of FIXTURES) {
  test(`every span of ${name} is shown as it was recorded`, () => {
    const { expected } = fixture(name);
    assert.notEqual(expected.length, 0);
    for (const span of expected) {
      const header = encode("ResourceSpans", { resource: { attributes: span.resource ?? [] } });
      const record = spanToRecord(header, NONE, spanField(plainSpan(span)));
      assert.deepEqual(comparable(record), expectedShape(span));
      assert.deepEqual(record.resource, {
        attributes: span.resource ?? [],
        droppedAttributesCount: 0,
        schemaUrl: "",
      });
    }
  });
}

test("what OpenTelemetry's own serializer writes is shown as it was recorded", () => {
  for (const name of ["session-isolated", "session-collated"] as const) {
    const { expected } = fixture(name);
    const request = ProtobufTraceSerializer.serializeRequest(expected.map(readableSpan));
    assert.ok(request !== undefined);
    const records = requestToRecords(request);
    assert.equal(records.length, expected.length);
    const byId = new Map(records.map((record) => [record.spanId, record]));
    for (const span of expected) {
      const record = byId.get(span.spanId);
      assert.ok(record !== undefined);
      // Bits 8 and 9 say whether the parent is remote: the SDK knows and sets them, an agent's spans do not say.
      const flags = record.flags & 0xff;
      assert.deepEqual(comparable({ ...record, flags }), expectedShape(span));
    }
  }
});

test("a span without fields shows every default", () => {
  assert.deepEqual(spanToRecord(NONE, NONE, spanField({})), {
    traceId: "",
    spanId: "",
    traceState: "",
    parentSpanId: "",
    flags: 0,
    name: "",
    kind: 0,
    startTimeUnixNano: "0",
    endTimeUnixNano: "0",
    attributes: [],
    droppedAttributesCount: 0,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { code: 0, message: "" },
    resource: { attributes: [], droppedAttributesCount: 0, schemaUrl: "" },
    scope: { name: "", version: "", attributes: [], droppedAttributesCount: 0, schemaUrl: "" },
  });
});

test("every field that an agent does not write is shown too", () => {
  const record = spanToRecord(
    encode("ResourceSpans", {
      resource: { attributes: [attribute("r", "1")], droppedAttributesCount: 5 },
      schemaUrl: "resource-schema",
    }),
    encode("ScopeSpans", {
      scope: {
        name: "n",
        version: "v",
        attributes: [attribute("s", "2")],
        droppedAttributesCount: 6,
      },
      schemaUrl: "scope-schema",
    }),
    spanField({ flags: 0x301, kind: -1, droppedLinksCount: 4_294_967_295 }),
  );
  assert.deepEqual(record.resource, {
    attributes: [attribute("r", "1")],
    droppedAttributesCount: 5,
    schemaUrl: "resource-schema",
  });
  assert.deepEqual(record.scope, {
    name: "n",
    version: "v",
    attributes: [attribute("s", "2")],
    droppedAttributesCount: 6,
    schemaUrl: "scope-schema",
  });
  assert.deepEqual([record.flags, record.kind, record.droppedLinksCount], [
    0x301,
    -1,
    4_294_967_295,
  ]);
});

/** The values of attributes, shown. */
function shown(...values: PlainMessage[]): unknown[] {
  const attributes = values.map((value, i) => ({ key: `${i}`, value }));
  return spanToRecord(NONE, NONE, spanField({ attributes })).attributes.map(({ value }) => value);
}

test("values are shown by the JSON mapping", () => {
  assert.deepEqual(
    shown(
      { intValue: "9223372036854775807" },
      { intValue: "-9223372036854775808" },
      { intValue: "0" },
      { boolValue: true },
      { boolValue: false },
      { stringValue: "" },
      { doubleValue: NaN },
      { doubleValue: -Infinity },
      { doubleValue: 5e-324 },
      { bytesValue: [0, 255, 62] },
      { arrayValue: {} },
      {},
    ),
    [
      { intValue: "9223372036854775807" },
      { intValue: "-9223372036854775808" },
      { intValue: "0" },
      { boolValue: true },
      { boolValue: false },
      { stringValue: "" },
      { doubleValue: "NaN" },
      { doubleValue: "-Infinity" },
      { doubleValue: 5e-324 },
      { bytesValue: "AP8+" },
      { arrayValue: { values: [] } },
      {},
    ],
  );
});

test("a negative zero is one", () => {
  const [zero] = shown({ doubleValue: -0 }) as { doubleValue: number }[];
  assert.ok(Object.is(zero?.doubleValue, -0));
});

test("values nest", () => {
  const nested = {
    kvlistValue: {
      values: [{
        key: "k",
        value: { arrayValue: { values: [{ intValue: "1" }, { kvlistValue: { values: [] } }] } },
      }],
    },
  };
  assert.deepEqual(shown(nested), [nested]);
});

test("the last member of a value counts, as decoders have it", () => {
  const value = [
    ...encode("AnyValue", { stringValue: "first" }),
    ...encode("AnyValue", { intValue: "2" }),
  ];
  const field = [0x4a, value.length + 2, 0x12, value.length, ...value];
  const span = Uint8Array.from([0x12, field.length, ...field]);
  assert.deepEqual(spanToRecord(NONE, NONE, span).attributes, [
    { key: "", value: { intValue: "2" } },
  ]);
});

test("values nested without end are an error, not a crash", () => {
  let value: Uint8Array = encode("AnyValue", { intValue: "1" });
  const wrap = (tag: number): void => {
    const length = value.length;
    value = Uint8Array.from([tag, ...varint(length), ...value]);
  };
  for (let depth = 0; depth < 100; depth++) for (const tag of [0x0a, 0x2a]) wrap(tag);
  const span = (): Uint8Array => {
    const attribute = Uint8Array.from([0x12, ...varint(value.length), ...value]);
    const field = Uint8Array.from([0x4a, ...varint(attribute.length), ...attribute]);
    return Uint8Array.from([0x12, ...varint(field.length), ...field]);
  };
  assert.equal(spanToRecord(NONE, NONE, span()).attributes.length, 1);
  for (const tag of [0x0a, 0x2a]) wrap(tag);
  assert.throws(() => spanToRecord(NONE, NONE, span()), {
    name: "ProtobufError",
    message: /nested too deep/,
  });
});

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

test("bytes that are no span are an error", () => {
  assert.throws(() => spanToRecord(NONE, NONE, NONE), ProtobufError);
  assert.throws(() => spanToRecord(NONE, NONE, Uint8Array.of(0x0a, 0)), ProtobufError);
  assert.throws(() => spanToRecord(NONE, NONE, Uint8Array.of(0x12, 2, 0x2a, 9)), ProtobufError);
});

test("a span cut anywhere is an error or fewer fields, never a crash", () => {
  const [expected] = fixture("random").expected;
  assert.ok(expected !== undefined);
  const whole = spanField(plainSpan(expected));
  const content = whole.subarray(whole.findIndex((byte, i) => i > 0 && byte < 0x80) + 1);
  let errors = 0;
  for (let length = 0; length < content.length; length++) {
    const cut = Uint8Array.from([0x12, ...varint(length), ...content.subarray(0, length)]);
    try {
      spanToRecord(NONE, NONE, cut);
    } catch (error) {
      assert.ok(error instanceof ProtobufError, String(error));
      errors++;
    }
  }
  assert.ok(errors > content.length / 2);
});

test("all spans of a request are shown with what they belong to", () => {
  const records = requestToRecords(encode("ExportTraceServiceRequest", {
    resourceSpans: [
      {
        resource: { attributes: [attribute("a", "1")] },
        scopeSpans: [
          { scope: { name: "s" }, spans: [{ name: "x" }, { name: "y" }] },
          { spans: [{ name: "z" }] },
        ],
      },
      { scopeSpans: [{ spans: [{ name: "w" }] }] },
    ],
  }));
  assert.deepEqual(
    records.map(({ name, scope, resource }) => [name, scope.name, resource.attributes.length]),
    [["x", "s", 1], ["y", "s", 1], ["z", "", 1], ["w", "", 0]],
  );
});

test("spans that follow each other in one scope share its record and their resource's", () => {
  const resource = (key: string) => ({ attributes: [attribute(key, "1")] });
  const [x, y, z, w] = requestToRecords(encode("ExportTraceServiceRequest", {
    resourceSpans: [
      {
        resource: resource("a"),
        scopeSpans: [{ scope: { name: "s" }, spans: [{ name: "x" }, { name: "y" }] }, { spans: [{ name: "z" }] }],
      },
      { resource: resource("b"), scopeSpans: [{ scope: { name: "s" }, spans: [{ name: "w" }] }] },
    ],
  }));
  assert.equal(x?.resource, y?.resource);
  assert.equal(x?.scope, y?.scope);
  assert.equal(z?.resource, x?.resource);
  assert.deepEqual([x, z, w].map((span) => span?.resource.attributes[0]?.key), ["a", "a", "b"]);
  assert.deepEqual([x, z, w].map((span) => span?.scope.name), ["s", "", "s"]);
});
