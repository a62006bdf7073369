import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WireError } from "../../../src/decode/wire-error.ts";
import { decodeBody, thriftSpan } from "../support/jaeger-decode.ts";
import { malformedBodies } from "../support/jaeger-fixtures.ts";
import {
  encodeProcess,
  encodeThriftBatch,
  encodeThriftSpan,
  string,
  thriftField,
  thriftI32,
  thriftI64,
  thriftList,
  thriftString,
  thriftStruct,
} from "../support/thrift-encoder.ts";

/** Why a body is refused. */
function refusal(body: Uint8Array): string {
  try {
    decodeBody(body);
  } catch (error) {
    if (error instanceof WireError) return `${error.reason}: ${error.message}`;
    throw error;
  }
  throw new Error("was not refused");
}

describe("recorded oddities", () => {
  const bodies = malformedBodies();
  const body = (name: string): Uint8Array => bodies.get(name) as Uint8Array;
  const refused: Record<string, string> = {
    "01-string-length-2GiB": "truncated: a string of 2147483647 bytes is cut at byte 6",
    "02-string-length-negative": "invalid-value: a string of -1 bytes at byte 6",
    "03-list-of-2147483647-spans": "truncated: a list of 2147483647 elements is cut at byte 19",
    "04-list-size-negative": "invalid-value: a list of -5 elements at byte 19",
    "05-unknown-field-20000-structs-deep": "too-deep: a value nests more than 64 deep at byte 210",
    "07-cut-in-the-middle-of-a-span": "truncated: the body ends in the middle at byte 77",
    "09-required-fields-missing": "missing-field: a Span without what it has to have at byte 47",
    "10-field-type-wrong-operationName-is-i64": "invalid-tag: Span.5 has type 10, not 11 at byte 70",
    "11-spans-are-a-list-of-strings": "invalid-tag: spans are not structs at byte 18",
    "14-message-envelope-submitBatches-strict":
      "invalid-tag: a Thrift message instead of a bare struct, no field at byte 0",
    "15-compact-protocol-as-of-udp-6831":
      "invalid-tag: Thrift's compact protocol instead of the binary one, no field at byte 0",
    "18-empty": "truncated: the body ends in the middle at byte 0",
    "19-only-stop-no-process-no-spans": "missing-field: a Batch without what it has to have at byte 1",
    "20-json-instead": "invalid-tag: JSON instead of Thrift, no field at byte 0",
  };
  for (const [name, message] of Object.entries(refused)) {
    test(`${name} is refused`, () => assert.equal(refusal(body(name)), message));
  }

  test("a good body is taken, with bytes after it too", () => {
    for (const name of ["00-well-formed", "08-bytes-after-the-batch"]) {
      const { batch, records } = decodeBody(body(name));
      assert.equal(batch.serviceName, "kata");
      assert.deepEqual(records.map(({ name, traceId, spanId }) => [name, traceId, spanId]), [
        ["op", "00000000000000020000000000000001", "0000000000000003"],
      ]);
    }
  });
  test("a tag with another value than it says is taken", () => {
    const [span] = decodeBody(body("13-tag-says-string-carries-only-long-and-type-99")).records;
    assert.deepEqual(span?.attributes, [
      { key: "a", value: { stringValue: "" } },
      { key: "b", value: { stringValue: "x" } },
      { key: "c", value: { bytesValue: "AP/+" } },
    ]);
  });
  test("a span that OTLP cannot tell costs itself", () => {
    assert.deepEqual([...decodeBody(body("16-times-overflow-nanoseconds")).batch.invalid], [["time-out-of-range", 1]]);
    assert.deepEqual([...decodeBody(body("17-ids-all-zero")).batch.invalid], [["invalid-value", 1]]);
  });
  test("all of them are known here", () => {
    const taken = ["00", "08", "13", "16", "17"];
    assert.deepEqual([...bodies.keys()].filter((name) => !taken.includes(name.slice(0, 2))), Object.keys(refused));
  });
});

const process = thriftField(12, 1, encodeProcess({ serviceName: "kata", spans: [] }));
const noSpans = thriftField(15, 2, thriftList(12, []));
/** A batch with an unknown field in front. */
const withUnknown = (type: number, value: Uint8Array): Uint8Array =>
  thriftStruct(thriftField(type, 99, value), process, noSpans);

describe("unknown fields", () => {
  const fine: Record<string, readonly [type: number, value: Uint8Array]> = {
    "a bool": [2, Uint8Array.of(7)],
    "a byte": [3, Uint8Array.of(7)],
    "a double": [4, Buffer.alloc(8)],
    "an i16": [6, Buffer.alloc(2)],
    "an i32": [8, Buffer.alloc(4)],
    "an i64": [10, Buffer.alloc(8)],
    "a string": [11, thriftString("x")],
    "a struct": [12, thriftStruct(thriftField(8, -1, Buffer.alloc(4)))],
    "a map": [13, Buffer.concat([Uint8Array.of(11, 8), thriftI32(1), thriftString("k"), thriftI32(5)])],
    "an empty map of nothing": [13, Buffer.concat([Uint8Array.of(0, 0), thriftI32(0)])],
    "a map of structs": [
      13,
      Buffer.concat([Uint8Array.of(12, 15), thriftI32(1), thriftStruct(), thriftList(2, [Uint8Array.of(1)])]),
    ],
    "a set": [14, thriftList(10, [thriftI64(1n), thriftI64(2n)])],
    "a list of lists": [15, thriftList(15, [thriftList(8, [thriftI32(1)]), thriftList(11, [thriftString("y")])])],
  };
  for (const [what, [type, value]] of Object.entries(fine)) {
    test(`${what} is skipped, and cut anywhere it is refused`, () => {
      const body = withUnknown(type, value);
      assert.equal(decodeBody(body).batch.serviceName, "kata");
      for (let end = 0; end < body.length; end++) assert.match(refusal(body.subarray(0, end)), /^(truncated|missing)/);
    });
  }
  test("64 values within each other are skipped, 65 are too deep", () => {
    const nested = (depth: number): Uint8Array =>
      depth === 1 ? thriftStruct() : thriftStruct(thriftField(12, 1, nested(depth - 1)));
    assert.deepEqual(decodeBody(withUnknown(12, nested(64))).records, []);
    assert.match(refusal(withUnknown(12, nested(65))), /^too-deep/);
    const lists = (depth: number): Uint8Array => depth === 1 ? thriftList(2, []) : thriftList(15, [lists(depth - 1)]);
    assert.deepEqual(decodeBody(withUnknown(15, lists(64))).records, []);
    assert.match(refusal(withUnknown(15, lists(65))), /^too-deep/);
  });
  test("elements that cost nothing are refused, however many", () => {
    const list = Buffer.concat([Uint8Array.of(1), thriftI32(2_000_000_000)]);
    assert.match(refusal(withUnknown(15, list)), /^invalid-tag: values of type 1 /);
    const map = Buffer.concat([Uint8Array.of(2, 1), thriftI32(2), Buffer.alloc(8)]);
    assert.match(refusal(withUnknown(13, map)), /^invalid-tag: values of type 1 /);
    assert.match(refusal(withUnknown(1, Buffer.alloc(0))), /^invalid-tag: type 1, no field/);
  });
  test("a million empty structs are skipped in passing", () => {
    const structs = Buffer.concat([Uint8Array.of(12), thriftI32(1_000_000), Buffer.alloc(1_000_000)]);
    assert.deepEqual(decodeBody(withUnknown(15, structs)).records, []);
  });
});

test("spans may stand before the process, though no exporter writes them so", () => {
  const spans = thriftField(15, 2, thriftList(12, [encodeThriftSpan(thriftSpan())]));
  const [span] = decodeBody(thriftStruct(spans, process)).records;
  assert.deepEqual(span?.resource, [{ key: "service.name", value: { stringValue: "kata" } }]);
});

test("a field that comes twice is refused: which of them counts is nowhere said", () => {
  assert.match(refusal(thriftStruct(process, process, noSpans)), /^duplicate-field: a second Batch.1/);
  const tag = thriftStruct(
    ...[1, 2].map(() => thriftField(11, 1, thriftString("k"))),
    thriftField(8, 2, thriftI32(0)),
  );
  const named = thriftStruct(thriftField(11, 1, thriftString("kata")), thriftField(15, 2, thriftList(12, [tag])));
  assert.match(refusal(thriftStruct(thriftField(12, 1, named), noSpans)), /^duplicate-field: a second Tag.1/);
});

test("an optional field of another type is skipped", () => {
  const oddTags = thriftStruct(thriftField(11, 1, thriftString("kata")), thriftField(8, 2, thriftI32(5)));
  const body = thriftStruct(thriftField(12, 1, oddTags), noSpans);
  assert.equal(decodeBody(body).batch.serviceName, "kata");
});

test("a batch without spans is a batch", () => {
  const { batch, records } = decodeBody(encodeThriftBatch({ serviceName: "kata", spans: [] }));
  assert.deepEqual([batch.serviceName, records.length], ["kata", 0]);
});

test("what spans share is bounded, each and all together", () => {
  const spans = (count: number) => Array.from({ length: count }, () => thriftSpan());
  const large = (bytes: number, count: number): Uint8Array =>
    encodeThriftBatch({ serviceName: "kata", processTags: [string("x", "y".repeat(bytes))], spans: spans(count) });
  assert.equal(decodeBody(large(65_000, 200)).records.length, 200);
  assert.match(refusal(large(66_000, 1)), /^too-large: a resource or scope of 660\d\d bytes/);
  assert.match(refusal(large(65_000, 300)), /^too-large: too many spans share too much/);
  const scope = thriftSpan({ tags: [string("otel.library.name", "z".repeat(66_000))] });
  assert.match(refusal(encodeThriftBatch({ serviceName: "kata", spans: [scope] })), /^too-large: a resource or scope/);
});

test("a list of very many tags is decoded in linear time", () => {
  const tags = Array.from({ length: 100_000 }, (_, i) => string(`key-${i % 50_000}`, "v"));
  const [span] = decodeBody(encodeThriftBatch({ serviceName: "kata", spans: [thriftSpan({ tags })] })).records;
  assert.equal(span?.attributes.length, 50_000);
});
