import assert from "node:assert/strict";
import { test } from "node:test";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import { Chunk, type Destination } from "../../src/pipeline/destination.ts";
import type { DestinationMetrics } from "../../src/pipeline/metrics.ts";
import type { Source } from "../../src/pipeline/source.ts";
import { CollectorDestination } from "../../src/queue/collector-destination.ts";
import { Delivery } from "../../src/queue/delivery.ts";
import { type Answer, CollectorStub } from "../support/collector-stub.ts";
import { range } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { until } from "../support/until.ts";
import { guestSource, payload, send, TestMetrics } from "./support.ts";

const SLOW = { timeout: 60_000 };
const BATCH = { maxSpans: 10, maxBytes: 1024 * 1024, maxDelayMs: 5 };
const AWAY: Answer = { kind: "status", status: 503 };

/** One collector on a real socket, and the destination that sends to it. */
class Collector {
  readonly stub: CollectorStub;
  readonly destination: CollectorDestination;
  readonly counters: DestinationMetrics;

  private constructor(stub: CollectorStub, destination: CollectorDestination, counters: DestinationMetrics) {
    this.stub = stub;
    this.destination = destination;
    this.counters = counters;
  }

  static async start(name: string, metrics: TestMetrics, maxBytes: number): Promise<Collector> {
    const stub = await CollectorStub.start();
    const log = new RecordingLogger();
    const exporter = await createExporter({ protocol: "http/protobuf", url: stub.url }, log, { concurrency: 2 });
    const counters = metrics.destination(name);
    const destination = new CollectorDestination({
      exporter,
      limits: BATCH,
      queue: { maxBytes, whenFull: "pause" },
      metrics: counters,
      log,
      retry: { initialMs: 5, maxMs: 20 },
    });
    return new Collector(stub, destination, counters);
  }

  /** The numbers of the spans that have arrived. */
  get taken(): number[] {
    return [...this.stub.taken.keys()].map((id) => parseInt(id, 16)).sort((a, b) => a - b);
  }
}

/** Whether each span received is accounted for at a destination, and those held are there one by one. */
function unaccounted(metrics: TestMetrics, { counters, destination }: Collector, delivery: Delivery): number[] {
  const held = metrics.held(counters);
  const known = counters.forwarded + counters.droppedTotal + metrics.invalidTotal + held;
  return [
    metrics.received + counters.recovered - known,
    held - delivery.countOpen() - destination.countSpans(),
  ];
}

test("two collectors at once: one that is away holds up neither the other nor its counters", SLOW, async () => {
  const metrics = new TestMetrics();
  const there = await Collector.start("collector", metrics, 1024 * 1024);
  const away = await Collector.start("second", metrics, 1024 * 1024);
  const collectors = [there, away];
  const destinations = collectors.map(({ destination }) => destination);
  const delivery = new Delivery({
    batch: BATCH,
    metrics,
    destinations,
    traceName: "t",
    resourceAttributes: new Map(),
  });
  try {
    away.stub.answer = () => AWAY;
    const guest = delivery.open(guestSource("box"));
    for (let first = 1; first <= 1000; first += 20) {
      send(metrics, guest, payload(range(first, first + 19)));
      for (const each of collectors) assert.deepEqual(unaccounted(metrics, each, delivery), [0, 0]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => there.counters.forwarded === 1000);
    assert.deepEqual(there.taken, range(1, 1000));
    assert.equal(metrics.held(there.counters), 0);
    assert.deepEqual([away.counters.forwarded, metrics.held(away.counters)], [0, 1000]);
    assert.equal(there.counters.queueBytes, 0);
    for (const each of collectors) assert.deepEqual(unaccounted(metrics, each, delivery), [0, 0]);
    // The bytes are shared: those that the first is done with are still whole when the second gets them.
    away.stub.answer = () => ({ kind: "ok" });
    await until(() => away.counters.forwarded === 1000);
    assert.deepEqual(away.taken, range(1, 1000));
    assert.equal(await delivery.drain(10_000), 0);
    for (const each of collectors) assert.deepEqual(unaccounted(metrics, each, delivery), [0, 0]);
  } finally {
    await delivery.abort();
    for (const { stub } of collectors) await stub.stop();
  }
});

test(
  "a destination that is full pauses sources, and one that refuses spans counts them as dropped there alone",
  SLOW,
  async () => {
    const metrics = new TestMetrics();
    const there = await Collector.start("collector", metrics, 1024 * 1024);
    const small = await Collector.start("second", metrics, 20_000);
    const collectors = [there, small];
    const delivery = new Delivery({
      batch: BATCH,
      metrics,
      destinations: collectors.map(({ destination }) => destination),
      traceName: "t",
      resourceAttributes: new Map(),
    });
    try {
      small.stub.answer = () => AWAY;
      const changes: boolean[] = [];
      delivery.subscribe(() => changes.push(delivery.isPaused("box")));
      const guest = delivery.open(guestSource("box"));
      let sent = 0;
      while (!delivery.isPaused("box")) send(metrics, guest, payload([++sent], { nameBytes: 100 }));
      await until(() => there.counters.forwarded >= sent - 10);
      assert.equal(delivery.isPaused("box"), true);
      small.stub.answer = () => ({ kind: "status", status: 401 });
      await until(() => !delivery.isPaused("box"));
      assert.deepEqual(changes, [true, false]);
      assert.equal(await delivery.drain(10_000), 0);
      assert.deepEqual([there.counters.forwarded, there.counters.droppedTotal], [sent, 0]);
      assert.deepEqual([small.counters.forwarded, small.counters.dropped], [0, { rejected: sent }]);
      for (const each of collectors) assert.deepEqual(unaccounted(metrics, each, delivery), [0, 0]);
    } finally {
      await delivery.abort();
      for (const { stub } of collectors) await stub.stop();
    }
  },
);

/** A destination that keeps what it is told. */
class RecordingDestination implements Destination {
  readonly name: string;
  readonly told: string[] = [];
  readonly chunks: Chunk[] = [];

  constructor(name: string) {
    this.name = name;
  }

  opened({ name }: Source): void {
    this.told.push(`opened ${name}`);
  }
  closed({ name }: Source): void {
    this.told.push(`closed ${name}`);
  }
  push(chunk: Chunk): void {
    this.told.push(`${chunk.spans} of ${chunk.account}`);
    this.chunks.push(chunk);
  }
  isPaused(): boolean {
    return false;
  }
  readOn(account: string): void {
    this.told.push(`read ${account} on`);
  }
  subscribe(): () => void {
    return () => {};
  }
  drain(): Promise<number> {
    return Promise.resolve(3);
  }
  abort(): Promise<number> {
    return Promise.resolve(4);
  }
}

test("destinations know who is connected, get each chunk, and a chunk's memory is given back by the last", async () => {
  const metrics = new TestMetrics();
  const [first, second] = [new RecordingDestination("first"), new RecordingDestination("second")];
  const delivery = new Delivery({
    batch: BATCH,
    metrics,
    destinations: [first, second],
    traceName: "t",
    resourceAttributes: new Map(),
  });
  const [a, b] = [delivery.open(guestSource("a")), delivery.open(guestSource("b"))];
  a.accept(payload([1, 2], { nameBytes: 4000 }));
  b.close();
  delivery.readOn("a");
  // Neither keeps anything beyond the process, so there is nothing to wait for.
  await a.settled();
  a.close();
  await until(() => first.told.length === 6);
  const told = ["opened a", "opened b", "closed b", "read a on", "2 of a", "closed a"];
  assert.deepEqual([first.told, second.told], [told, told]);
  const [chunk] = first.chunks;
  assert.equal(chunk, second.chunks[0]);
  const bytes = chunk?.bytes as Uint8Array;
  assert.ok(bytes.length > 8000);
  chunk?.release();
  assert.ok(bytes.length > 8000);
  chunk?.release();
  assert.equal(bytes.length, 0);
  assert.equal(await delivery.drain(0), 6);
});

test("a chunk whose bytes something may still read is left to the garbage collector, whoever is last", () => {
  const chunk = new Chunk(guestSource("a"), new Uint8Array(10_000), 1, 2);
  chunk.release(true);
  chunk.release();
  assert.equal(chunk.bytes.length, 10_000);
});
