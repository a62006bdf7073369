/**
 * How long a span in JSON takes to become OTLP. Run it: `bun test/wire/json.bench.ts [FILE]`.
 *
 * The payloads are one with six attributes and an event, a recorded session's, random ones, or those of a file of frames.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { decodeJson } from "../../src/wire/json.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);
/** Short rounds, of which the best counts: on a busy machine some of them are left alone. */
const ROUNDS = 200;
const SPANS_A_ROUND = 5_000;

/** The payloads of a recording, each a range of the whole. */
function frames(file: string | URL): { bytes: Uint8Array; ranges: [number, number][] } {
  const bytes = new Uint8Array(readFileSync(file));
  const view = new DataView(bytes.buffer);
  const ranges: [number, number][] = [];
  for (let at = 0; at < bytes.length;) {
    const start = at + 8;
    at = start + Number(view.getBigUint64(at));
    ranges.push([start, at]);
  }
  return { bytes, ranges };
}

/** A span like a session's, with six attributes and one event. */
function typical(): { bytes: Uint8Array; ranges: [number, number][] } {
  const time = (nanos: number) => `{"secs_since_epoch":1767000000,"nanos_since_epoch":${nanos}}`;
  const text =
    `{"span_context":{"trace_id":184679819013504957992078808783379702946,"span_id":18200562058898920887,` +
    `"trace_flags":1,"is_remote":false,"trace_state":null},"parent_span_id":7900039403023855700,` +
    `"span_kind":"Internal","name":"setup_shared_namespaces","start_time":${time(636485099)},` +
    `"end_time":${
      time(641971299)
    },"attributes":{"map":{"busy_ns":{"I64":3840340},"idle_ns":{"I64":1645860},` +
    `"sandbox_id":{"String":"a20d86b28d3a087a4781729386a3eaa9"},"ratio":{"F64":0.25},"remote":{"Bool":true},` +
    `"req":{"String":"CreateContainerRequest"}},"evict_list":["req","remote","ratio","idle_ns","busy_ns","sandbox_id"],` +
    `"max_len":128,"dropped_count":0},"events":{"queue":[{"name":"in setup_shared_namespaces","timestamp":${
      time(636485109)
    },"attributes":[{"key":"level","value":{"String":"INFO"}}],"dropped_attributes_count":0}],` +
    `"max_len":128,"dropped_count":0},"links":{"queue":null,"max_len":128,"dropped_count":0},` +
    `"status_code":"Unset","status_message":"","resource":{"attrs":{}}}`;
  const bytes = new TextEncoder().encode(text);
  return { bytes, ranges: [[0, bytes.length]] };
}

function measure(
  name: string,
  { bytes, ranges }: { bytes: Uint8Array; ranges: [number, number][] },
): void {
  const spans = new EncodedSpans();
  const size = ranges.reduce((sum, [start, end]) => sum + end - start, 0) / ranges.length;
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const begin = process.hrtime.bigint();
    let done = 0;
    while (done < SPANS_A_ROUND) {
      for (const [start, end] of ranges) {
        spans.clear();
        decodeJson(bytes, start, end, spans);
      }
      done += ranges.length;
    }
    best = Math.min(best, Number(process.hrtime.bigint() - begin) / done);
  }
  console.log(
    `${name}: ${best.toFixed(0)} ns/span, ${(1e9 / best / 1e6).toFixed(2)} million spans/s, ` +
      `${size.toFixed(0)} bytes in, ${(best / size).toFixed(2)} ns/byte`,
  );
}

const [file] = process.argv.slice(2);
if (file !== undefined) {
  measure(file, frames(file));
} else {
  measure("typical", typical());
  for (const name of ["session-isolated", "random"]) {
    measure(name, frames(new URL(`${name}.json-frames`, FIXTURES)));
  }
}
