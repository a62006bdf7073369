import assert from "node:assert/strict";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import type { Destination } from "../../src/pipeline/destination.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { SpanSink } from "../../src/pipeline/sink.ts";
import type { Source } from "../../src/pipeline/source.ts";
import type { TraceContext } from "../../src/pipeline/trace-context.ts";
import { JoinTraces } from "../../src/processors/join-traces/join-traces.ts";
import { redacting } from "../../src/processors/redact.ts";
import { linkingRoots } from "../../src/processors/root-links.ts";
import { truncatingAttributes } from "../../src/processors/truncate-attributes.ts";
import { CollectorDestination } from "../../src/queue/collector-destination.ts";
import { prepareSpool } from "../../src/queue/spool/open-spool.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { largeStreams } from "./large-payloads.ts";
import { hostileStreams } from "./payloads.ts";
import { deliveryTo, sendStream } from "./requests.ts";

/** Each stream is sent so often: what it needs is compiled by the last time. */
const ROUNDS = 2;
const MINUTES = { timeout: 600_000 };
const NEVER = 1_000_000;

/** Leaves spans that are larger than a chunk, and cuts the largest. */
const MANY_BYTES = 3_000_000;
const SPOOL_BYTES = 64 * 1024 * 1024;

const CONTEXT: TraceContext = { traceId: "01".repeat(16), spanId: "02".repeat(8), flags: 1 };
const FIRST_OPTION = "--redact debug-text";

/** Makes what is between a socket and the collector. @param directory for a spool. */
type OpenSink = (metrics: Metrics, directory: string) => SpanSink | Promise<SpanSink>;

/** One for each option that has a part in it. */
const SINKS: Readonly<Record<string, OpenSink>> = {
  [FIRST_OPTION]: (metrics) => redacting(deliveryTo(metrics), { debugText: true, names: new Set() }),
  "--redact by name": (metrics) => redacting(deliveryTo(metrics), { debugText: false, names: new Set(["k", "req"]) }),
  "--max-attribute-bytes": (metrics) => truncatingAttributes(deliveryTo(metrics), metrics, 10),
  "--link-traceparent": (metrics) => linkingRoots(deliveryTo(metrics), CONTEXT),
  "--join-traces": (metrics) => joining(deliveryTo(metrics), metrics),
  "--spool-dir": async (metrics, directory) => deliveryTo(metrics, await spooling(metrics, directory)),
  "all of them": async (metrics, directory) => {
    const cut = truncatingAttributes(deliveryTo(metrics, await spooling(metrics, directory)), metrics, MANY_BYTES);
    return redacting(linkingRoots(joining(cut, metrics), CONTEXT), { debugText: true, names: new Set(["k"]) });
  },
};

/** The guest whose sandbox the host knows. */
const GUEST: Source = {
  kind: "guest",
  name: "guest",
  account: "guest",
  attributes: new Map([["kata.sandbox.id", "0123456789abcdef".repeat(4)]]),
};

function joining(sink: SpanSink, metrics: Metrics): SpanSink {
  return new JoinTraces({ sink, metrics, log: new RecordingLogger() });
}

/** A collector that accepts everything, behind a spool. */
async function spooling(metrics: Metrics, directory: string): Promise<Destination> {
  const log = new RecordingLogger();
  const open = await prepareSpool({ directory, maxBytes: SPOOL_BYTES }, undefined, await loadLibc());
  return new CollectorDestination({
    exporter: { concurrency: 1, send: () => Promise.resolve({ kind: "success" }), close: () => {} },
    limits: { maxSpans: 2048, maxBytes: 1024 * 1024 },
    queue: { maxBytes: SPOOL_BYTES, whenFull: "pause" },
    spool: open(log),
    metrics: metrics.destination("collector"),
    log,
  });
}

test("whatever a frame has in it, all of it is dealt with in turns, which are printed", MINUTES, async () => {
  using temporary = temporaryDirectory();
  const large = largeStreams();
  const all = [...large, ...hostileStreams().filter((_, index) => index % 4 === 0)];
  for (const [option, open] of Object.entries(SINKS)) {
    // What is small takes long nowhere if it does not with the first.
    const streams = option === FIRST_OPTION ? all : large;
    const rows: { readonly name: string; readonly longest: number }[] = [];
    for (const [stream, { name, bytes }] of streams.entries()) {
      let least = Infinity;
      for (let round = 0; round < ROUNDS; round++) {
        const metrics = new Metrics();
        const sink = await open(metrics, join(temporary.path, `${option}-${stream}-${round}`));
        let longest = 0;
        const ended = (began: number): void => {
          longest = Math.max(longest, performance.now() - began);
        };
        const { received, invalid } = await sendStream(bytes, sink, metrics, (work) => {
          const began = performance.now();
          work();
          ended(began);
          // A journal is written in a microtask, and may be told to in another one.
          queueMicrotask(() => queueMicrotask(() => ended(began)));
        }, GUEST);
        await sink.drain(NEVER);
        // All comes to something, and nothing counts as both.
        assert.ok(received > 0 && invalid <= received, `${name}: ${received} received, ${invalid} of them invalid`);
        assert.equal(metrics.heldOpen + metrics.destination("collector").heldQueued, 0, name);
        least = Math.min(least, longest);
      }
      rows.push({ name, longest: least });
    }
    process.stdout.write(`  ${option}\n`);
    const slowest = rows.sort((left, right) => right.longest - left.longest).slice(0, 5);
    for (const { name, longest } of slowest) process.stdout.write(`  ${longest.toFixed(1)} ms at a stretch: ${name}\n`);
  }
});
