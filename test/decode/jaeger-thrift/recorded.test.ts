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
