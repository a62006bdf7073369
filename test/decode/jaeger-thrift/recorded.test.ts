import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeJaegerThrift } from "../../../src/decode/jaeger-thrift/decoder.ts";
import { JAEGER_SETS, jaegerBodies, jaegerExpected } from "../support/jaeger-fixtures.ts";
import { decodeJaegerSpans, type JaegerRecord, mapThriftBatch } from "../support/jaeger-record.ts";
import { readThriftBatch } from "../support/thrift-reference.ts";

const spans = new EncodedSpans();
const KEEP = { keepHttp2Noise: true };

function decode(body: Uint8Array): JaegerRecord[] {
  spans.clear();
  const batch = decodeJaegerThrift(body, 0, body.length, spans, KEEP);
  assert.equal(batch.invalid.size, 0);
  return decodeJaegerSpans(spans);
}

test("go-0.15, of the Go shim of Kata 2.1 to 2.2.3, means what test/runtime-exporter/go-0.15 says", () => {
  const records = jaegerBodies("go-0.15").flatMap(decode);
  const root = records.at(-1);
  assert.deepEqual(
    records.map(({ name, kind, status, parentSpanId, scope }) => [name, kind, status, parentSpanId, scope]),
    [
      ["operation 0", 1, { code: 0, message: "message 0" }, root?.spanId, { name: "kata", version: "" }],
      ["operation 1", 2, { code: 2, message: "message 1" }, root?.spanId, { name: "kata", version: "" }],
      ["operation 2", 3, { code: 1, message: "message 2" }, root?.spanId, { name: "kata", version: "" }],
      ["rootSpan", 1, { code: 0, message: "" }, "", { name: "kata", version: "" }],
    ],
  );
  for (const { attributes, events, links, resource, name } of records.slice(0, 3)) {
    assert.deepEqual(attributes, [{ key: "index", value: { intValue: name.slice(-1) } }]);
    assert.deepEqual(events.map((event) => [event.name, event.attributes]), [
      ["event", [{ key: "name", value: { stringValue: "an attribute" } }]],
    ]);
    assert.deepEqual(links.map(({ spanId }) => spanId), [root?.spanId]);
    assert.deepEqual(resource.map(({ key }) => key), ["exporter", "lib", "service.name"]);
  }
  assert.deepEqual(root?.attributes, []);
});

describe("recorded bodies", () => {
  for (const set of JAEGER_SETS) {
    test(`${set} means what its exporter was given`, () => {
      const expected = jaegerExpected(set);
      const decoded = jaegerBodies(set).flatMap(decode);
      assert.equal(decoded.length, expected.length);
      decoded.forEach((record, i) => assert.deepEqual(record, expected[i]));
    });

    test(`${set} is what the second decoder makes of it`, () => {
      for (const body of jaegerBodies(set)) assert.deepEqual(decode(body), mapThriftBatch(readThriftBatch(body), true));
    });
  }
});
