// Measures the JSON decoder alone, on one core: `bun test/decode/json/decoder.bench.ts [FILE]`, a file of frames for
// its own payloads.
import { readFileSync } from "node:fs";
import process from "node:process";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeJson } from "../../../src/decode/json/decoder.ts";
import { fixture, splitFrames } from "../support/fixtures.ts";
import { encodeJson } from "../support/json-encoder.ts";
import { loadSpans } from "../support/load.ts";

/** Short rounds, of which the best counts too: on a busy machine some of them are left alone. */
const ROUNDS = 300;
const SPANS_A_ROUND = 4_000;

function measure(name: string, payloads: readonly Uint8Array[]): void {
  const spans = new EncodedSpans();
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const began = process.hrtime.bigint();
    let done = 0;
    for (; done < SPANS_A_ROUND; done += payloads.length) {
      for (const payload of payloads) {
        spans.clear();
        decodeJson(payload, 0, payload.length, spans);
      }
    }
    rounds.push(Number(process.hrtime.bigint() - began) / done);
  }
  rounds.sort((left, right) => left - right);
  const median = rounds[ROUNDS >> 1] as number;
  const best = rounds[0] as number;
  const bytes = payloads.reduce((sum, { length }) => sum + length, 0) / payloads.length;
  console.log(
    `${name}: ${payloads.length} payloads of ${bytes.toFixed(0)} bytes: ${median.toFixed(0)} ns/span ` +
      `(best ${best.toFixed(0)}, ${(best / bytes).toFixed(2)} ns/byte), ` +
      `${(1e3 / median).toFixed(2)} million spans/s`,
  );
}

const [file] = process.argv.slice(2);
if (file !== undefined) measure(file, splitFrames(new Uint8Array(readFileSync(file))));
else {
  measure("load", loadSpans(2_000).map((span) => encodeJson(span)));
  measure("session-isolated", fixture("session-isolated").json);
  measure("random", fixture("random").json);
}
