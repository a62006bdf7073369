// Measures the bincode decoder alone, on one core: `bun test/decode/bincode/decoder.bench.ts [seconds]`.
import process from "node:process";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { FrameReader } from "../../../src/decode/frame-reader.ts";
import { frameSink } from "../support/frame-sink.ts";
import { concatenate, frame } from "../support/fixtures.ts";
import { loadPayloads } from "../support/load.ts";

/** As much as a socket read hands over at most. */
const CHUNK_BYTES = 64 * 1024;
const ROUNDS = 9;

const seconds = Number(process.argv[2] ?? 3);
const payloads = loadPayloads(2_000);
const stream = concatenate(payloads.map(frame));
const chunks: Uint8Array[] = [];
for (let at = 0; at < stream.length; at += CHUNK_BYTES) {
  chunks.push(stream.slice(at, at + CHUNK_BYTES));
}
const buffers = chunks.map((chunk) => Buffer.from(chunk));
const spans = new EncodedSpans();
let bytes = 0;

const frames = new FrameReader(
  4 * 1024 * 1024,
  frameSink((buffer, start, end) => {
    spans.clear();
    decodeBincode(buffer, start, end, spans);
    bytes += spans.writer.position;
  }),
);

/**
 * Processor time of a span over several rounds, nanoseconds: other processes' load counts for less than in elapsed
 * time.
 */
function measure(name: string, pass: () => void): void {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let passes = 0;
    const began = performance.now();
    const before = process.cpuUsage().user;
    do {
      pass();
      passes++;
    } while (performance.now() - began < seconds * 1000 / ROUNDS);
    rounds.push((process.cpuUsage().user - before) * 1000 / (passes * payloads.length));
  }
  rounds.sort((left, right) => left - right);
  const median = rounds[ROUNDS >> 1] as number;
  const best = rounds[0] as number;
  console.log(
    `${name}: ${median.toFixed(0)} ns/span (best ${best.toFixed(0)}), ` +
      `${(1e3 / median).toFixed(2)} million spans/s`,
  );
}

const payloadBytes = payloads.reduce((sum, payload) => sum + payload.length, 0) / payloads.length;
console.log(`${payloads.length} spans of ${payloadBytes.toFixed(0)} bytes`);
measure("payloads", () => {
  for (const payload of payloads) {
    spans.clear();
    decodeBincode(payload, 0, payload.length, spans);
    bytes += spans.writer.position;
  }
});
measure("frames in Uint8Array chunks", () => {
  for (const chunk of chunks) frames.push(chunk);
});
measure("frames in Buffer chunks", () => {
  for (const chunk of buffers) frames.push(chunk);
});
if (bytes === 0) throw new Error("nothing was decoded");
