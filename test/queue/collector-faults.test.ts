import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exporter } from "../../src/pipeline/exporter.ts";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import { type Answer, CollectorStub } from "../support/collector-stub.ts";
import {
  balance,
  BALANCED,
  guestSource,
  payload,
  send,
  setUp,
  type SetUpOptions,
  type TestDelivery,
  type TestMetrics,
} from "./support.ts";
import { range, spanId } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { until } from "../support/until.ts";

/*
 * The exporter that is used in earnest, and a collector on a real socket that does everything wrong that one can do;
 * spans are counted one by one at the far end.
 */

const GUEST = guestSource("vsock:3", new Map([["kata.vsock.cid", 3]]));
const SLOW = { timeout: 60_000 };
/** A request's, milliseconds: short, so that a collector that hangs is not waited for long. */
const TIMEOUT_MS = 1500;

async function exporterFor(url: string): Promise<Exporter> {
  process.env["OTEL_EXPORTER_OTLP_TIMEOUT"] = String(TIMEOUT_MS);
  try {
    return await createExporter({ protocol: "http/protobuf", url }, new RecordingLogger(), { concurrency: 3 });
  } finally {
    delete process.env["OTEL_EXPORTER_OTLP_TIMEOUT"];
  }
}

interface Set {
  readonly stub: CollectorStub;
  readonly delivery: TestDelivery;
  readonly metrics: TestMetrics;
  readonly log: RecordingLogger;
}

/** A delivery to a stub. Both are gone afterwards, and the books must have balanced. */
async function withStub(
  run: (set: Set) => Promise<void>,
  options: SetUpOptions = {},
): Promise<void> {
  const stub = await CollectorStub.start();
  const exporter = await exporterFor(stub.url);
  const set = setUp({ exporter, retry: { initialMs: 5, maxMs: 20 }, ...options });
  try {
    await run({ ...set, stub });
    assert.deepEqual(balance(set.metrics, set.delivery), BALANCED);
  } finally {
    await set.delivery.abort();
    await stub.stop();
  }
}

function taken(stub: CollectorStub): number[] {
  return [...stub.taken.keys()].map((id) => parseInt(id, 16)).sort((a, b) => a - b);
}

function twice(stub: CollectorStub): number {
  return [...stub.taken.values()].filter((times) => times > 1).length;
}

test(
  "a collector that works takes each span once",
  SLOW,
  () =>
    withStub(async ({ stub, delivery, metrics }) => {
      const guest = delivery.open(GUEST);
      for (const number of range(1, 200)) send(metrics, guest, payload([number]));
      assert.equal(await delivery.drain(20_000), 0);
      assert.deepEqual(taken(stub), range(1, 200));
      assert.equal(twice(stub), 0);
      assert.equal(metrics.collector.forwarded, 200);
      assert.equal(metrics.collector.exportFailures, 0);
      assert.equal(metrics.collector.exportedBytes, stub.requests.reduce((sum, { bytes }) => sum + bytes, 0));
      assert.equal(metrics.collector.exportDuration.count, stub.requests.length);
    }),
);

/**
 * Faults after which spans must arrive all the same; some leave open whether a request was taken, so it comes twice.
 */
const PASSING: readonly [name: string, answer: Answer, mayRepeat: boolean][] = [
  ["429 with Retry-After", { kind: "status", status: 429, retryAfter: "1" }, false],
  ["503", { kind: "status", status: 503 }, false],
  ["502", { kind: "status", status: 502 }, false],
  ["504 with a date to retry after", {
    kind: "status",
    status: 504,
    retryAfter: new Date(Date.now() + 1000).toUTCString(),
  }, false],
  ["garbage", { kind: "garbage" }, false],
  ["half a response", { kind: "half" }, false],
  ["a reset", { kind: "reset" }, false],
  ["a reset after the request was taken", { kind: "reset", takes: true }, true],
  ["a hang", { kind: "hang" }, false],
];

for (const [name, answer, mayRepeat] of PASSING) {
  test(
    `${name}: nothing is lost`,
    SLOW,
    () =>
      withStub(async ({ stub, delivery, metrics, log }) => {
        stub.script.push(answer, answer, { kind: "ok" }, answer);
        send(metrics, delivery.open(GUEST), payload(range(1, 60)));
        await until(() => metrics.heldNow === 0);
        assert.equal(stub.script.length, 0);
        assert.deepEqual(taken(stub), range(1, 60));
        assert.equal(metrics.collector.forwarded, 60);
        assert.deepEqual(metrics.collector.dropped, {});
        assert.equal(twice(stub) > 0, mayRepeat);
        // Each outage that is said is over.
        const began = log.find("collector unreachable").length;
        assert.equal(log.find("collector is back").length, began);
        assert.equal(await delivery.drain(20_000), 0);
      }),
  );
}

test(
  "500: one bad span costs only itself",
  SLOW,
  () =>
    withStub(async ({ stub, delivery, metrics }) => {
      stub.answer = ({ spans }) =>
        spans.some((span) => span.spanId === spanId(33)) ? { kind: "status", status: 500 } : { kind: "ok" };
      send(metrics, delivery.open(GUEST), payload(range(1, 60)));
      assert.equal(await delivery.drain(20_000), 0);
      assert.deepEqual(taken(stub), range(1, 60).filter((number) => number !== 33));
      assert.equal(twice(stub), 0);
      assert.deepEqual(metrics.collector.dropped, { rejected: 1 });
    }),
);

test(
  "413: a request that is too large is split until it fits",
  SLOW,
  () =>
    withStub(async ({ stub, delivery, metrics }) => {
      stub.answer = ({ bytes }) => bytes > 700 ? { kind: "status", status: 413 } : { kind: "ok" };
      send(metrics, delivery.open(GUEST), payload(range(1, 60), { nameBytes: 100 }));
      assert.equal(await delivery.drain(20_000), 0);
      assert.deepEqual(taken(stub), range(1, 60));
      assert.deepEqual(metrics.collector.dropped, {});
    }),
);

test(
  "401: given up whole, said once",
  SLOW,
  () =>
    withStub(async ({ stub, delivery, metrics, log }) => {
      stub.answer = () => ({ kind: "status", status: 401 });
      send(metrics, delivery.open(GUEST), payload(range(1, 60)));
      assert.equal(await delivery.drain(20_000), 0);
      assert.equal(stub.requests.length, 6);
      assert.deepEqual(metrics.collector.dropped, { rejected: 60 });
      assert.equal(log.find("refuses all requests").length, 1);
      assert.match(String(log.find("refuses all")[0]?.fields["error"]), /401/);
    }),
);

test(
  "partial success: counted and not sent again",
  SLOW,
  () =>
    withStub(async ({ stub, delivery, metrics, log }) => {
      stub.script.push({ kind: "partial", rejectedSpans: 4, message: "four are bad" });
      send(metrics, delivery.open(GUEST), payload(range(1, 20)));
      assert.equal(await delivery.drain(20_000), 0);
      assert.equal(stub.requests.length, 2);
      assert.equal(metrics.collector.forwarded, 16);
      assert.deepEqual(metrics.collector.dropped, { rejected: 4 });
      assert.equal(log.find("except for some spans")[0]?.fields["message"], "four are bad");
    }),
);

test(
  "a collector that is not there, comes, goes while spans flow, and comes again",
  SLOW,
  async () => {
    const first = await CollectorStub.start();
    const { port } = first;
    const exporter = await exporterFor(first.url);
    await first.stop();
    const { delivery, metrics, log } = setUp({ exporter, retry: { initialMs: 5, maxMs: 20 } });
    const guest = delivery.open(GUEST);
    send(metrics, guest, payload(range(1, 30)));
    await until(() => log.find("collector unreachable").length === 1);
    assert.equal(metrics.heldNow, 30);

    const second = await CollectorStub.start(port);
    await until(() => metrics.collector.forwarded === 30);
    const failures = metrics.collector.exportFailures;
    for (const number of range(31, 100)) {
      send(metrics, guest, payload([number]));
      if (number === 60) await second.stop();
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await until(() => metrics.collector.exportFailures > failures);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
    const third = await CollectorStub.start(port);
    assert.equal(await delivery.drain(20_000), 0);
    await third.stop();
    const all = new Set([...second.taken.keys(), ...third.taken.keys()]);
    assert.deepEqual([...all].sort(), range(1, 100).map(spanId));
    assert.equal(metrics.collector.forwarded, 100);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
  },
);
