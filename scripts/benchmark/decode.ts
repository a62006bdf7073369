import { performance } from "node:perf_hooks";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { FrameReader } from "../../src/wire/frame-reader.ts";
import { PayloadDecoder } from "../../src/wire/payload-decoder.ts";
import { joinFrames, readFrames } from "./frames.ts";

/** What a socket hands over at once, bytes. */
const CHUNK_BYTES = 64 * 1024;
const ROUNDS = 9;
const ROUND_MS = 400;

/**
 * Nanoseconds a span takes on one core from a frame's bytes to its OTLP bytes: frames, decoding, encoding. The median of
 * nine rounds after a warm-up.
 */
export function measureDecode(file: string): number {
  const frames = readFrames(file);
  const stream = joinFrames(frames, Math.max(1024, frames.length));
  const count = Math.max(1024, frames.length);
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  let decoded = 0;
  const reader = new FrameReader(1 << 22, {
    payload: (buffer, start, end) => {
      spans.clear();
      decoder.decode(buffer, start, end, spans);
      decoded += spans.count;
    },
    oversized: () => {
      throw new Error("the load has a frame over the limit");
    },
  });
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < stream.length; at += CHUNK_BYTES) {
    chunks.push(stream.slice(at, at + CHUNK_BYTES));
  }
  const round = (): number => {
    const began = performance.now();
    const before = decoded;
    while (performance.now() - began < ROUND_MS) for (const chunk of chunks) reader.push(chunk);
    return ((performance.now() - began) * 1e6) / (decoded - before);
  };
  round();
  const rounds = Array.from({ length: ROUNDS }, round).sort((a, b) => a - b);
  if (decoded % count !== 0) throw new Error("spans were lost while decoding");
  return rounds[ROUNDS >> 1] as number;
}
