// What processors cost on the span path, with a real agent's spans.
import { performance } from "node:perf_hooks";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { SpanSink } from "../../src/pipeline/sink.ts";
import { JoinTraces } from "../../src/processors/join-traces/join-traces.ts";
import { redacting } from "../../src/processors/redact.ts";
import { splitFrames } from "../../test/decode/support/fixtures.ts";
import { REAL_STREAMS, streamBytes } from "../../test/decode/support/recorded-streams.ts";
import { guest } from "../../test/processors/join-traces/support.ts";
import { RecordingLogger } from "../../test/support/recording-logger.ts";
import { median } from "./machine.ts";
import type { Measured } from "./parts.ts";

/** Rounds of each way, taken in turns, and how long each is, milliseconds. */
const ROUNDS = 9;
const ROUND_MS = 200;

/** Takes spans and does nothing. */
const NOWHERE: SpanSink = {
  open: () => ({ accept: () => {}, settled: () => Promise.resolve(), close: () => {} }),
  isPaused: () => false,
  readOn: () => {},
  subscribe: () => () => {},
  drain: () => Promise.resolve(0),
  abort: () => Promise.resolve(0),
};

/** The benchmark's part about processors. */
export function measureProcessors(): Promise<Measured> {
  const stream = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));
  if (stream === undefined) throw new Error("the recorded session is not there");
  const payloads = splitFrames(streamBytes(stream));
  const bytes = payloads.reduce((sum, { length }) => sum + length, 0) / payloads.length;
  const joining = new JoinTraces({ sink: NOWHERE, metrics: new Metrics(), log: new RecordingLogger() });
  const ways = {
    none: NOWHERE,
    redact: redacting(NOWHERE, { debugText: true, names: new Set() }),
    join: joining,
  };
  const times = new Map<string, number[]>(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, sink] of Object.entries(ways)) times.get(name)?.push(timeOf(sink, payloads));
  }
  const of = (name: keyof typeof ways): number => median(times.get(name) ?? []);
  const row = (figure: string, name: "redact" | "join") => ({
    figure,
    value: (of(name) - of("none")) / 1000,
    unit: `µs a span of ${Math.round(bytes)} bytes`,
    comparisons: [{ with: "what decoding it takes", ratio: (of(name) - of("none")) / of("none") }],
  });
  return Promise.resolve({
    rows: [row("--redact default", "redact"), row("--join-traces", "join")],
    notes: [],
    raw: Object.fromEntries(times),
  });
}

/** Decodes payloads into a sink for a while; nanoseconds a span. */
function timeOf(sink: SpanSink, payloads: readonly Uint8Array[]): number {
  const decoder = new PayloadDecoder();
  const spans = new EncodedSpans();
  const way = sink.open(guest());
  let count = 0;
  const began = performance.now();
  do {
    for (const payload of payloads) {
      decoder.decode(payload, 0, payload.length, spans);
      count += spans.count;
      way.accept(spans);
    }
  } while (performance.now() - began < ROUND_MS);
  const elapsed = performance.now() - began;
  way.close();
  return elapsed * 1e6 / count;
}
