import assert from "node:assert/strict";
import type { Forwarder } from "../../process/support/forwarder.ts";
import { spanId } from "../../support/numbers.ts";
import { until } from "../../support/until.ts";
import { test } from "../../process/support/test.ts";
import { assertEquation } from "./support/equation.ts";
import type { Done } from "./support/hostile.ts";
import { HostileGuests } from "./support/hostile-guests.ts";
import { percentile, report } from "./support/report.ts";
import type { LoadGuest } from "./support/load.ts";
import { Stage } from "./support/stage.ts";

/** What the well-behaved guest sends meanwhile, one span at a time. */
const GOOD_SPANS = 300;
const GOOD = { frames: 1, everyMs: 10 };
/** Ids of the others' spans begin here, far above its own. */
const OTHERS = 1_000_000_000_000;
const CLEAN = { code: 0, signal: null };

/** The forwarder's own batching; guests' limits that tests need not wait long for. */
const SETTINGS = {
  args: () => ["--frame-timeout", "1s"],
  run: {
    env: {
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "2048",
      OTEL_BSP_SCHEDULE_DELAY: "50",
      OTEL_EXPORTER_OTLP_TIMEOUT: "10000",
    },
  },
};

interface Case {
  readonly what: string;
  /** See `hostile.ts`. */
  readonly kind: string;
  /** How many guests there are at once, the good one apart; absent: they come and go. */
  readonly atOnce?: number;
  /** Connections to wait for. */
  readonly connections?: number;
  /** What the forwarder must have done about them. */
  readonly check?: (forwarder: Forwarder, done: Done) => Promise<void>;
}

/** A metric has counted at least one. */
function counted(metric: string, label: string) {
  return async (forwarder: Forwarder): Promise<void> => {
    assert.ok(await forwarder.metric(metric, label) > 0, `${metric} of ${label}`);
  };
}

const CASES: readonly Case[] = [
  { what: "1,000 guests at once", kind: "thousand", atOnce: 1000 },
  {
    what: "10,000 guests that connect, send a span and leave",
    kind: "passing",
    connections: 10_000,
  },
  {
    what: "300 guests that write a byte now and then",
    kind: "slow",
    check: counted("spans_invalid_total", "truncated"),
  },
  { what: "1,000 silent guests", kind: "silent", atOnce: 1000 },
  {
    what: "guests that leave in the middle of a frame",
    kind: "half",
    check: counted("spans_invalid_total", "truncated"),
  },
  {
    what: "guests that write garbage",
    kind: "garbage",
    check: async (forwarder) => assert.ok(await forwarder.metric("spans_invalid_total") > 0),
  },
  {
    what: "frames of 2^63 bytes",
    kind: "lengths",
    check: counted("spans_invalid_total", "too-large"),
  },
  { what: "4 guests that flood it with spans", kind: "flood", atOnce: 4 },
  {
    what: "4 guests that flood it with rubbish",
    kind: "rubbish",
    check: async (forwarder) => {
      assert.ok(await forwarder.metric("spans_invalid_total") > 100_000);
      await counted("guests_disconnected_total", "invalid-rate")(forwarder);
    },
  },
];

/** Has the well-behaved guest send; resolves with the time from each write to its arrival, milliseconds. */
async function sendBeside(stage: Stage, good: LoadGuest): Promise<number[]> {
  const before = good.count();
  await until(() => good.count() >= before + GOOD_SPANS, `${GOOD_SPANS} spans are written`);
  await good.stop();
  await until(() => stage.missing().length === 0, "they arrive");
  assert.equal(good.connections, 1);
  return good.written.slice(before).map(({ first, at }) => {
    const arrival = stage.farEnd.arrivals.get(spanId(first));
    // A span may arrive before its writer has been told that it is written.
    return Math.max(0, (arrival?.at ?? NaN) - at);
  });
}

function latency(times: readonly number[]): Readonly<Record<string, string>> {
  return Object.fromEntries([0.5, 0.99, 1].map((share) => [
    share === 1 ? "slowest" : `p${share * 100}`,
    `${percentile(times, share)} ms`,
  ]));
}

test("a well-behaved guest alone, to compare with", async () => {
  await using stage = await Stage.open(SETTINGS);
  await stage.start();
  const times = await sendBeside(stage, stage.load(GOOD));
  report("alone", { spans: times.length, ...latency(times) });
  stage.assertNothingElse();
});

for (const { what, kind, atOnce, connections = 0, check } of CASES) {
  test(`${what}: all spans of the guest beside them arrive, while they are at it`, async () => {
    await using stage = await Stage.open(SETTINGS);
    const { farEnd } = stage;
    const forwarder = await stage.start();
    const equation = stage.watch();
    const good = stage.load(GOOD);
    await until(() => farEnd.spans > 0, "its spans flow");
    await using hostile = await HostileGuests.start(kind, stage.sandbox.address, OTHERS);
    const times = await sendBeside(stage, good);
    assert.ok(hostile.running);
    if (atOnce !== undefined) {
      await until(async () => await forwarder.metric("guests") === atOnce, "all are still there");
    }
    if (connections > 0) {
      await until(
        async () => await forwarder.metric("guests_accepted_total") > connections,
        `${connections} have come`,
      );
    }
    const done = await hostile.stop();
    await until(
      async () => await forwarder.metric("guests_accepted_total") === done.connections + 1,
      "all that have connected are accepted",
    );
    await until(async () => await forwarder.metric("guests") === 0, "all have gone");
    await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
    await equation.stop();
    const { received, forwarded, dropped, invalid } = await assertEquation(forwarder);
    const { families } = await forwarder.reading();
    const memory = families.get("process_resident_memory_bytes")?.series.values().next().value;
    report(what, {
      ...latency(times),
      connections: done.connections,
      "cut off": done.cut,
      MB: Math.round(done.bytes / 1e6),
      "their spans": done.spans,
      invalid,
      "resident MB": Math.round((memory ?? NaN) / 1e6),
      "readings of the equation": equation.readings,
    });
    // What good spans they have sent arrives as well, each once.
    const sent = done.spans + good.count();
    assert.deepEqual([farEnd.spans, farEnd.duplicates], [sent, 0]);
    assert.deepEqual([received, forwarded, dropped], [sent + invalid, sent, 0]);
    await check?.(forwarder, done);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  });
}
