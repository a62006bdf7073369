import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { JsonTraceSerializer, ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import { requestToRecords, type SpanRecord } from "../../../src/otlp/json-record.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { fixture, FIXTURES } from "../support/fixtures.ts";
import {
  decodeJsonInSteps,
  decodeJsonRequest,
  decodeLeniently,
  jsonRequest,
  jsonSpan,
  requestOf,
} from "../support/otlp-json.ts";
import { RandomSpans } from "../support/random-span.ts";
import { expressible, readableSpan, serializeRecords } from "../support/readable-span.ts";
import { range, spanId } from "../../support/numbers.ts";

function decodeSpan(fields: Record<string, unknown>): SpanRecord {
  const { records, rejected } = decodeJsonRequest(requestOf(jsonSpan(fields)));
  assert.deepEqual(rejected, {});
  assert.equal(records.length, 1);
  return records[0] as SpanRecord;
}

/** Why a span is left out, though the one beside it is not. */
function rejection(fields: Record<string, unknown>): string {
  const { records, rejected } = decodeJsonRequest(requestOf(jsonSpan(fields), jsonSpan({ name: "good" })));
  assert.deepEqual(records.map(({ name }) => name), ["good"]);
  const [reason, ...others] = Object.keys(rejected);
  assert.deepEqual([others, Object.values(rejected)], [[], [1]]);
  return reason as string;
}

function refusal(request: unknown): string {
  try {
    decodeJsonRequest(request);
  } catch (error) {
    if (error instanceof WireError) return error.reason;
    throw error;
  }
  throw new Error("was taken");
}

const valueOf = (value: unknown) => decodeSpan({ attributes: [{ key: "k", value }] }).attributes[0]?.value;

describe("a second opinion", () => {
  test("what OpenTelemetry's serializer writes in JSON is what it writes in protobuf", () => {
    let compared = 0;
    for (const span of FIXTURES.flatMap((name) => fixture(name).expected).filter(expressible).map(readableSpan)) {
      const json = new TextDecoder().decode(JsonTraceSerializer.serializeRequest([span]));
      const protobuf = ProtobufTraceSerializer.serializeRequest([span]);
      // JavaScript's numbers have no more digits, and its JSON no infinity, so that the two are not the same there.
      if (protobuf === undefined || /"intValue":-?(?:\d{16}|\d*e)|"doubleValue":null/.test(json)) continue;
      const { records, rejected } = decodeJsonRequest(json);
      assert.deepEqual(rejected, {});
      assert.deepEqual(records, decodeLeniently(protobuf).records);
      compared++;
    }
    assert.ok(compared > 50, `${compared} were compared`);
  });

  test("random spans come out of JSON as they come out of protobuf", () => {
    const random = new RandomSpans(4711);
    for (let i = 0; i < 300; i++) {
      const protobuf = serializeRecords([random.span()].filter(expressible));
      const { records } = decodeJsonRequest(jsonRequest(requestToRecords(protobuf)));
      assert.deepEqual(records, decodeLeniently(protobuf).records);
    }
  });
});

describe("numbers", () => {
  test("64 bits are exact, as strings and as numbers", () => {
    for (const integer of ["0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808"]) {
      assert.deepEqual(valueOf({ intValue: integer }), { intValue: integer });
      const text = JSON.stringify(requestOf(jsonSpan({ attributes: [{ key: "k", value: { intValue: "X" } }] })));
      const { records } = decodeJsonRequest(text.replace('"X"', integer));
      assert.deepEqual(records[0]?.attributes[0]?.value, { intValue: integer });
    }
    assert.equal(decodeSpan({ startTimeUnixNano: "18446744073709551615" }).startTimeUnixNano, "18446744073709551615");
    assert.equal(decodeSpan({ startTimeUnixNano: 1787000000124071000 }).startTimeUnixNano, "1787000000124071000");
  });
  test("an integer beyond 64 bits is a double, as JavaScript's SDK means it", () => {
    assert.deepEqual(valueOf({ intValue: 1e308 }), { doubleValue: 1e308 });
    assert.deepEqual(valueOf({ intValue: 2 ** 64 }), { doubleValue: 2 ** 64 });
  });
  test("what is not one costs the span", () => {
    for (const intValue of ["", " 1", "1 ", "x", "1.5", "9223372036854775808", "1e3", true, {}, []]) {
      assert.equal(rejection({ attributes: [{ key: "k", value: { intValue } }] }), "invalid-value", String(intValue));
    }
    assert.equal(rejection({ droppedEventsCount: "4294967296" }), "invalid-value");
    assert.equal(rejection({ startTimeUnixNano: "-1" }), "invalid-value");
  });
  test("doubles may be strings, and those without a number become strings", () => {
    assert.deepEqual(valueOf({ doubleValue: 1.5 }), { doubleValue: 1.5 });
    assert.deepEqual(valueOf({ doubleValue: "-2.5e3" }), { doubleValue: -2500 });
    for (const text of ["NaN", "Infinity", "-Infinity"]) {
      assert.deepEqual(valueOf({ doubleValue: text }), { stringValue: text });
    }
    assert.equal(rejection({ attributes: [{ key: "k", value: { doubleValue: "1x" } }] }), "invalid-value");
  });
  test("enums are numbers or names, and one that OTLP does not have is left out", () => {
    assert.equal(decodeSpan({ kind: 3 }).kind, 3);
    assert.equal(decodeSpan({ kind: "SPAN_KIND_SERVER" }).kind, 2);
    assert.equal(decodeSpan({ kind: 77 }).kind, 0);
    assert.deepEqual(decodeSpan({ status: { code: "STATUS_CODE_ERROR", message: "m" } }).status, {
      code: 2,
      message: "m",
    });
    assert.equal(rejection({ kind: "SERVER" }), "invalid-value");
  });
});

describe("other forms", () => {
  test("IDs are hexadecimal in either case", () => {
    const { traceId, parentSpanId } = decodeSpan({ traceId: "ABCDEF0405060708090a0b0c0d0e0f10", parentSpanId: "" });
    assert.deepEqual([traceId, parentSpanId], ["abcdef0405060708090a0b0c0d0e0f10", ""]);
    for (const traceId of ["", "0", "xy02030405060708090a0b0c0d0e0f10", "0102", "AQIDBAUGBwgJCgsMDQ4PEA==", 5]) {
      assert.equal(rejection({ traceId }), "invalid-value", String(traceId));
    }
    assert.equal(rejection({ spanId: "0000000000000000" }), "invalid-value");
    assert.equal(rejection({ spanId: undefined }), "missing-field");
  });
  test("each of ten thousand spans has its IDs, with escapes in them or not", () => {
    const ids = range(1, 10_000).map(spanId);
    const text = JSON.stringify(requestOf(...ids.map((id) => jsonSpan({ spanId: id, name: "x".repeat(200) }))));
    assert.ok(text.length > 2_000_000);
    for (const json of [text, text.replaceAll('"spanId":"0', String.raw`"spanId":"\u0030`)]) {
      assert.deepEqual(decodeJsonRequest(json).records.map((span) => span.spanId), ids);
    }
  });

  test("values of every type", () => {
    const value = {
      kvlistValue: {
        values: [
          { key: "a", value: { arrayValue: { values: [{ boolValue: true }, { stringValue: "é🦀" }, {}] } } },
          { key: "b", value: { bytesValue: "AP/+" } },
        ],
      },
    };
    assert.deepEqual(valueOf(value), value);
    assert.deepEqual(valueOf({ bytesValue: "AP_-" }), { bytesValue: "AP/+" });
    assert.equal(rejection({ attributes: [{ key: "k", value: { bytesValue: "?" } }] }), "invalid-value");
  });
  test("null is as absent, unknown fields are ignored, and escapes in names are read", () => {
    const span = decodeSpan({ traceState: null, events: null, "no such field": { a: [1, { b: "\u0000" }] } });
    assert.equal(span.traceState, "");
    const { records } = decodeJsonRequest(JSON.stringify(requestOf(jsonSpan())).replace("traceId", "trace\\u0049d"));
    assert.equal(records[0]?.traceId, "0102030405060708090a0b0c0d0e0f10");
    assert.deepEqual(valueOf({ stringValue: null, intValue: "5" }), { intValue: "5" });
  });
  test("fields may come in any order", () => {
    const { records } = decodeJsonRequest({
      resourceSpans: [{
        scopeSpans: [{ spans: [jsonSpan()], schemaUrl: "scope", scope: { name: "lib" } }],
        schemaUrl: "resource",
        resource: { attributes: [{ value: { stringValue: "v" }, key: "k" }] },
      }],
    });
    assert.equal(records[0]?.scope.name, "lib");
    assert.equal(records[0]?.scope.schemaUrl, "scope");
    assert.equal(records[0]?.resource.schemaUrl, "resource");
    assert.deepEqual(records[0]?.resource.attributes, [{ key: "k", value: { stringValue: "v" } }]);
  });
  test("no spans are no error", () => {
    const empty = [{}, { resourceSpans: [] }, { resourceSpans: [{}] }, {
      resourceSpans: [{ scopeSpans: [{ spans: [] }] }],
    }];
    for (const request of empty) assert.deepEqual(decodeJsonRequest(request), { records: [], rejected: {} });
  });
});

describe("what is wrong", () => {
  test("in a span costs that span, whatever it is", () => {
    assert.equal(rejection({ name: 5 }), "invalid-value");
    assert.equal(rejection({ attributes: {} }), "invalid-value");
    assert.equal(
      rejection({ attributes: [{ key: "k", value: { stringValue: "a", intValue: "1" } }] }),
      "duplicate-field",
    );
    let deep: unknown = { stringValue: "deep" };
    for (let i = 0; i < 35; i++) deep = { arrayValue: { values: [deep] } };
    assert.equal(rejection({ attributes: [{ key: "k", value: deep }] }), "too-deep");
    const { records, rejected } = decodeJsonRequest(
      JSON.stringify(requestOf(jsonSpan(), jsonSpan({ name: "good" }))).replace('"op"', '"\\ud800"'),
    );
    assert.deepEqual([records.length, rejected], [1, { "invalid-value": 1 }]);
  });
  test("outside of spans costs the request", () => {
    for (
      const request of ["", "x", "[]", "5", "null", '"a"', "{", '{"resourceSpans":[{]}', "{}{}", '{"resourceSpans":{}}']
    ) {
      assert.match(refusal(request), /^(truncated|invalid-value|trailing-bytes)$/, request);
    }
    assert.equal(
      refusal({ resourceSpans: [{ resource: { attributes: [5] }, scopeSpans: [{ spans: [jsonSpan()] }] }] }),
      "invalid-value",
    );
    assert.equal(refusal('{"resourceSpans":[],"resourceSpans":[]}'), "duplicate-field");
    assert.equal(refusal(`{"x":${"[".repeat(1000)}${"]".repeat(1000)}}`), "too-deep");
  });
  test("all spans may be wrong", () => {
    const { records, rejected } = decodeJsonRequest(requestOf(jsonSpan({ name: 5 }), jsonSpan({ traceId: "" }), 7));
    assert.deepEqual(records, []);
    assert.deepEqual(rejected, { "invalid-value": 3 });
  });
});

describe("in steps", () => {
  test("what comes out is the same as at once", () => {
    const spans = range(1, 2000).map((number) =>
      jsonSpan({ spanId: spanId(number), name: `${number} ${"x".repeat(200)}`, kind: number % 100 === 0 ? "?" : 1 })
    );
    const scope = { scope: { name: "lib" }, spans, schemaUrl: "scope-schema" };
    const resource = { attributes: [{ key: "k", value: { stringValue: "v" } }] };
    const requests = [
      {},
      { resourceSpans: null },
      { resourceSpans: [{}, { scopeSpans: [] }, { scopeSpans: [{ spans: null }, { scope: { name: "empty" } }] }] },
      {
        "no such field": [{ spans: 1 }],
        resourceSpans: [{ scopeSpans: [scope, scope], resource, schemaUrl: "schema" }],
      },
      { resourceSpans: [{ resource, scopeSpans: [scope] }, requestOf(...spans).resourceSpans[0]] },
      jsonRequest(decodeJsonRequest(requestOf(...spans)).records.slice(0, 900)),
      requestOf(jsonSpan({ name: "\n\u2028".repeat(300_000) }), jsonSpan()),
    ];
    for (const request of requests) {
      const { records, rejected, steps } = decodeJsonInSteps(JSON.stringify(request));
      assert.deepEqual({ records, rejected }, decodeJsonRequest(request));
      if (records.length > 1000) assert.ok(steps > 10, `${steps} steps`);
    }
  });

  test("what is refused is refused, after spans as well", () => {
    const spans = range(1, 1000).map(() => jsonSpan({ name: "x".repeat(200) }));
    const [resource] = requestOf(...spans).resourceSpans;
    for (
      const request of [
        { resourceSpans: [resource, { scopeSpans: [{ scope: { name: 5 }, spans: [jsonSpan()] }] }] },
        { resourceSpans: [{ ...resource, schemaUrl: 5 }] },
        { resourceSpans: [resource, []] },
      ]
    ) {
      const reason = refusal(request);
      assert.throws(() => decodeJsonInSteps(JSON.stringify(request)), (error: WireError) => error.reason === reason);
    }
  });
});
