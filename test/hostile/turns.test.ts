import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { test } from "node:test";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { SpanSink } from "../../src/pipeline/sink.ts";
import type { TraceContext } from "../../src/pipeline/trace-context.ts";
import { redacting } from "../../src/processors/redact.ts";
import { linkingRoots } from "../../src/processors/root-links.ts";
import { truncatingAttributes } from "../../src/processors/truncate-attributes.ts";
import { largeStreams } from "./large-payloads.ts";
import { hostileStreams } from "./payloads.ts";
import { deliveryTo, sendStream } from "./requests.ts";

/** Each stream is sent so often: what it needs is compiled by the last time. */
const ROUNDS = 2;
const MINUTES = { timeout: 600_000 };

const FIRST_OPTION = "--redact debug-text";
/** What is between a socket and the queue, for each option that has a part in it. */
const SINKS: Readonly<Record<string, (metrics: Metrics) => SpanSink>> = {
  [FIRST_OPTION]: (metrics) => redacting(deliveryTo(metrics), { debugText: true, names: new Set() }),
  "--redact by name": (metrics) => redacting(deliveryTo(metrics), { debugText: false, names: new Set(["k", "req"]) }),
  "--max-attribute-bytes": (metrics) => truncatingAttributes(deliveryTo(metrics), metrics, 10),
  "--link-traceparent": (metrics) => linkingRoots(deliveryTo(metrics), CONTEXT),
};
const CONTEXT: TraceContext = { traceId: "01".repeat(16), spanId: "02".repeat(8), flags: 1 };

test("whatever a frame has in it, all of it is dealt with in turns, which are printed", MINUTES, async () => {
  const large = largeStreams();
  const all = [...large, ...hostileStreams().filter((_, index) => index % 4 === 0)];
  for (const [option, sinkOf] of Object.entries(SINKS)) {
    // What is small takes long nowhere if it does not with the first.
    const streams = option === FIRST_OPTION ? all : large;
    const rows: { readonly name: string; readonly longest: number }[] = [];
    for (const { name, bytes } of streams) {
      let least = Infinity;
      for (let round = 0; round < ROUNDS; round++) {
        const metrics = new Metrics();
        let longest = 0;
        const { received, invalid } = await sendStream(bytes, sinkOf(metrics), metrics, (work) => {
          const began = performance.now();
          work();
          longest = Math.max(longest, performance.now() - began);
        });
        // All comes to something, and nothing counts as both.
        assert.ok(received > 0 && invalid <= received, `${name}: ${received} received, ${invalid} of them invalid`);
        least = Math.min(least, longest);
      }
      rows.push({ name, longest: least });
    }
    process.stdout.write(`  ${option}\n`);
    const slowest = rows.sort((left, right) => right.longest - left.longest).slice(0, 5);
    for (const { name, longest } of slowest) process.stdout.write(`  ${longest.toFixed(1)} ms at a stretch: ${name}\n`);
  }
});
