import assert from "node:assert/strict";
import { test } from "node:test";
import { spanSizes } from "../../scripts/benchmark/decode.ts";
import { joinFrames, type LoadEncoding, readFrames, shares } from "../../scripts/benchmark/frames.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { FRAME_HEADER_BYTES, FrameReader } from "../../src/decode/frame-reader.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { frameSink } from "../decode/support/frame-sink.ts";

const ENCODINGS: readonly LoadEncoding[] = ["bincode", "json"];

/** The lengths of the payloads in a stream of frames; throws where one of them is no span. */
function payloads(stream: Uint8Array): number[] {
  const lengths: number[] = [];
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  const reader = new FrameReader(
    1 << 20,
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
