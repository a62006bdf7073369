import assert from "node:assert/strict";
import { test } from "node:test";
import { quantile, SpanCount } from "../../scripts/benchmark/count-spans.ts";
import { spanSizes } from "../../scripts/benchmark/decode.ts";
import { readFrames, stampEndTime } from "../../scripts/benchmark/frames.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { decodeBincode } from "../../src/decode/bincode/decoder.ts";
import { FRAME_HEADER_BYTES } from "../../src/decode/frame-reader.ts";
import { decodeRequest } from "../support/collector-stub.ts";

const FIXTURES = ["load", "random", "session-isolated"];

/**
 * All spans of a fixture in one request, as the forwarder makes it, with end times of so many milliseconds after the
 * epoch.
 */
function requestOf(fixture: string, endTimeMs?: number): Uint8Array {
  const spans = new EncodedSpans();
  const builder = new RequestBuilder();
  for (const frame of readFrames(fixture, "bincode")) {
    if (endTimeMs !== undefined) stampEndTime(frame, endTimeMs);
    spans.clear();
    decodeBincode(frame.bytes, FRAME_HEADER_BYTES, frame.bytes.length, spans);
    const resource = builder.resource(
      spans.writer.buffer.slice(spans.resourceStart(0), spans.resourceEnd(0)),
    );
    builder.append(resource, spans, 0);
  }
  return builder.finish();
}

for (const fixture of FIXTURES) {
  test(`each span of ${fixture} is counted, with its bytes`, () => {
    const request = requestOf(fixture);
    const count = new SpanCount();
    count.add(request, 0);
    const sizes = spanSizes(fixture, "bincode", 0);
    assert.equal(count.spans, decodeRequest(request).length);
    assert.equal(count.spans, sizes.length);
    assert.equal(count.bytes, sizes.reduce((a, b) => a + b, 0));
    assert.deepEqual(count.latencies, []);
    count.add(request, 0);
    assert.equal(count.spans, 2 * sizes.length);
  });
}

test("a latency is the time from a span's end to its receipt", () => {
  const endTimeMs = 1_767_225_600_123.25;
  const count = new SpanCount(true);
  count.add(requestOf("load", endTimeMs), endTimeMs + 40);
  assert.equal(count.latencies.length, count.spans);
  // A double of nanoseconds since the epoch is exact to some 256 ns.
  for (const latency of count.latencies) assert.ok(Math.abs(latency - 40) < 0.001, `${latency}`);
});

test("a request that is cut off is none", () => {
  const request = requestOf("load");
  for (const length of [1, 2, request.length >> 1, request.length - 1]) {
    assert.throws(() => new SpanCount().add(request.subarray(0, length), 0), RangeError);
  }
  new SpanCount().add(request.subarray(0, 0), 0);
});

test("a quantile is one of the numbers", () => {
  const numbers = Array.from({ length: 200 }, (_, i) => i + 1);
  assert.equal(quantile(numbers, 0.5), 100);
  assert.equal(quantile(numbers, 0.99), 198);
  assert.equal(quantile([7], 0.99), 7);
  assert.ok(Number.isNaN(quantile([], 0.5)));
});
