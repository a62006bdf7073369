import assert from "node:assert/strict";
import { test } from "node:test";
import { spanSizes } from "../../scripts/benchmark/decode.ts";
import { SpanCount } from "../../scripts/benchmark/count-spans.ts";
import { joinFrames, type LoadEncoding, readFrames, shares, stampEndTime } from "../../scripts/benchmark/frames.ts";
import { requestOf } from "../../scripts/benchmark/requests.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { FRAME_HEADER_BYTES, FrameReader } from "../../src/decode/frame-reader.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { decodeEncodedSpans } from "../decode/support/decode-span.ts";
import { frameSink } from "../decode/support/frame-sink.ts";

const ENCODINGS: readonly LoadEncoding[] = ["bincode", "json"];
/** What the benchmark sends. */
const FIXTURE_STREAMS: readonly [string, LoadEncoding][] = [
  ...["load", "session", "busy"].flatMap((name) =>
    ENCODINGS.map((encoding): [string, LoadEncoding] => [name, encoding])
  ),
  ...["traced", "4k", "60k", "file"].map((name): [string, LoadEncoding] => [name, "json"]),
];

/** The lengths of the payloads in a stream of frames; throws where one of them is no span. */
function payloads(stream: Uint8Array): number[] {
  const lengths: number[] = [];
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  const reader = new FrameReader(
    8 << 20,
    frameSink((buffer, start, end) => {
      decoder.decode(buffer, start, end, spans);
      lengths.push(end - start);
    }),
  );
  reader.push(stream);
  assert.equal(reader.inFrame, false);
  return lengths;
}

for (const encoding of ENCODINGS) {
  test(`${encoding}: recorded frames are read as they are, one after another`, () => {
    const frames = readFrames("load", encoding);
    const lengths = frames.map(({ bytes }) => bytes.length - FRAME_HEADER_BYTES);
    assert.deepEqual(payloads(joinFrames(frames, frames.length)), lengths);
    const more = payloads(joinFrames(frames, frames.length + 3));
    assert.deepEqual(more, [...lengths, ...lengths.slice(0, 3)]);
  });

  test(`${encoding}: spans are made as large as asked for, by their names alone`, () => {
    const plain = readFrames("load", encoding).map(({ bytes }) => bytes.length);
    const sizes = spanSizes("load", encoding, 0);
    const longer = readFrames("load", encoding, 5000);
    assert.deepEqual(payloads(joinFrames(longer, longer.length)), plain.map(() => 5000));
    assert.deepEqual(
      spanSizes("load", encoding, 5000),
      // The name's length takes a second byte.
      sizes.map((size, i) => size + 5000 - ((plain[i] as number) - FRAME_HEADER_BYTES) + 1),
    );
    assert.deepEqual(readFrames("load", encoding, 1), readFrames("load", encoding));
  });
}

test("guests share a load to its last span", () => {
  assert.deepEqual(shares(10, 3), [4, 3, 3]);
  assert.deepEqual(shares(2, 3), [2, 0, 0]);
  assert.deepEqual(shares(9, 1), [9]);
});

test("every named stream is there, in the encodings that it has, and is made of spans", () => {
  for (const [name, encoding] of FIXTURE_STREAMS) {
    const frames = readFrames(name, encoding);
    assert.ok(frames.length > 0, name);
    assert.deepEqual(
      payloads(joinFrames(frames, frames.length)),
      frames.map(({ bytes }) => bytes.length - FRAME_HEADER_BYTES),
    );
  }
  assert.throws(() => readFrames("none", "json"), /ENOENT/);
  assert.throws(() => readFrames("60k", "bincode"), RangeError);
});

for (const encoding of ENCODINGS) {
  test(`${encoding}: a time that is written into a frame is the span's end`, () => {
    const frame = readFrames("load", encoding).find(({ endTime }) => endTime >= 0);
    assert.ok(frame !== undefined);
    const spans = new EncodedSpans();
    const endTime = (unixMs: number): string => {
      stampEndTime(frame, unixMs);
      new PayloadDecoder().decode(frame.bytes, FRAME_HEADER_BYTES, frame.bytes.length, spans);
      return String(decodeEncodedSpans(spans)[0]?.endTimeUnixNano);
    };
    assert.equal(endTime(1_795_697_600_250.5), "1795697600250500000");
    // JSON has no room for fewer digits.
    assert.equal(endTime(1_795_697_600_025), encoding === "json" ? "1795697600100000000" : "1795697600025000000");
  });
}

test("a request is made of as many spans as asked for", () => {
  const frames = readFrames("load", "json");
  for (const count of [1, frames.length, frames.length + 1]) {
    const counter = new SpanCount();
    counter.add(requestOf(frames, count), 0);
    assert.equal(counter.spans, count);
  }
});
