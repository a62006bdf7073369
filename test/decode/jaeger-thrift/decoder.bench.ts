// Measures the decoder of Jaeger Thrift alone, on one core: `bun test/decode/jaeger-thrift/decoder.bench.ts [seconds]`.
// With KTF_RUNTIME_EXPORTERS, as test/runtime-exporter/build prints it, beside it the Collector's and Jaeger's own: the
// same bodies to the same protobuf, decoded by Thrift's Go library and their translator.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { decodeJaegerThrift } from "../../../src/decode/jaeger-thrift/decoder.ts";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { exporterProgram } from "../../runtime-exporter/programs.ts";
import { concatenate, frame } from "../support/fixtures.ts";
import { jaegerBodies, type JaegerSet } from "../support/jaeger-fixtures.ts";

const ROUNDS = 9;
const seconds = Number(process.argv[2] ?? 3);
const spans = new EncodedSpans();
const KEEP = { keepHttp2Noise: true };

function decodeAll(bodies: readonly Uint8Array[]): number {
  let count = 0;
  for (const body of bodies) {
    spans.clear();
    decodeJaegerThrift(body, 0, body.length, spans, KEEP);
    count += spans.count;
  }
  return count;
}

/** Processor time of a span, nanoseconds: the median of several rounds, and how often all bodies were decoded. */
function measure(bodies: readonly Uint8Array[]): { median: number; passes: number } {
  const rounds: number[] = [];
  let passes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let count = 0;
    const began = performance.now();
    const before = process.cpuUsage().user;
    do {
      count += decodeAll(bodies);
      passes++;
    } while (performance.now() - began < seconds * 1000 / ROUNDS);
    rounds.push((process.cpuUsage().user - before) * 1000 / count);
  }
  rounds.sort((left, right) => left - right);
  return { median: rounds[ROUNDS >> 1] as number, passes };
}

const shown = (nanoseconds: number): string =>
  `${nanoseconds.toFixed(0)} ns/span, ${(1e6 / nanoseconds).toFixed(0)} thousand spans/s`;

for (const set of ["go-session", "rust-session", "go-random"] as const satisfies readonly JaegerSet[]) {
  const bodies = jaegerBodies(set);
  const bytes = bodies.reduce((sum, { length }) => sum + length, 0) / decodeAll(bodies);
  const { median, passes } = measure(bodies);
  console.log(`${set}, ${bytes.toFixed(0)} bytes a span: ${shown(median)}`);
  if (process.env["KTF_RUNTIME_EXPORTERS"] === undefined) continue;
  const { stdout, stderr, status } = spawnSync(exporterProgram("translate"), ["bench", String(Math.ceil(passes / 4))], {
    input: concatenate(bodies.map(frame)),
    env: { ...process.env, GOMAXPROCS: "1" },
  });
  if (status !== 0) throw new Error(String(stderr));
  const theirs = Number(stdout.toString());
  console.log(`  the Collector's in Go: ${shown(theirs)}, ${(theirs / median).toFixed(2)} times as long`);
}
