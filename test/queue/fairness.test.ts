import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import type { SourceSink } from "../../src/pipeline/sink.ts";
import { FileStorage } from "../../src/queue/spool/file-storage.ts";
import { Spool } from "../../src/queue/spool/spool.ts";
import { prepareSpoolDirectory } from "../../src/queue/spool/spool-directory.ts";
import { range, spanId } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import {
  AWAY,
  balance,
  BALANCED,
  FakeExporter,
  guestSource,
  payload,
  send,
  setUp,
  type SetUpOptions,
  SUCCESS,
  type TestMetrics,
} from "./support.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const NEVER = 1_000_000;
const PATIENT = { initialMs: NEVER, maxMs: NEVER };
const SLOW = { timeout: 120_000 };
const BATCH = { maxSpans: 16, maxBytes: MIB, maxDelayMs: 1 };
const libc = await loadLibc();

/** Sends spans with numbers of their own from several accounts, and knows who sent which. */
class Senders {
  readonly sent = new Map<string, number[]>();
  readonly #metrics: TestMetrics;
  #next = 1;

  constructor(metrics: TestMetrics) {
    this.#metrics = metrics;
  }

  send(account: string, sink: SourceSink, spans: number, nameBytes: number): void {
    const numbers = range(this.#next, this.#next + spans - 1);
    this.#next += spans;
    const sent = this.sent.get(account);
    if (sent === undefined) this.sent.set(account, numbers);
    else sent.push(...numbers);
    send(this.#metrics, sink, payload(numbers, { nameBytes }));
  }

  /** How many of an account's spans did not arrive. */
  missing(account: string, exporter: FakeExporter): number {
    return (this.sent.get(account) ?? []).filter((number) => !exporter.taken.has(spanId(number))).length;
  }
}

function away(options: SetUpOptions) {
  const exporter = new FakeExporter(() => AWAY, 2);
  const set = setUp({ batch: BATCH, retry: PATIENT, ...options }, exporter);
  return { ...set, senders: new Senders(set.metrics) };
}

test("a queue that one guest fills pauses that one; a guest within its share is read and loses nothing", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: MIB, whenFull: "pause" } });
  const changes: (string | undefined)[] = [];
  delivery.subscribe((account) => changes.push(account));
  const flood = delivery.open(guestSource("flood"));
  while (!delivery.isPaused("flood")) senders.send("flood", flood, 16, 4000);
  assert.deepEqual(changes, ["flood"]);
  // Its share of two is half of the queue.
  const quiet = delivery.open(guestSource("quiet"));
  for (let i = 0; i < 7; i++) {
    senders.send("quiet", quiet, 16, 4000);
    assert.equal(delivery.isPaused("quiet"), false);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
  }
  assert.deepEqual(metrics.collector.dropped, {});
  assert.deepEqual(changes, ["flood"]);
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  assert.deepEqual([delivery.isPaused("flood"), delivery.isPaused("quiet")], [false, false]);
  assert.deepEqual([senders.missing("flood", exporter), senders.missing("quiet", exporter)], [0, 0]);
});

test("a second guest is paused when it comes to its share, and read again when it has less", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: MIB, whenFull: "pause" } });
  const [flood, second] = [delivery.open(guestSource("flood")), delivery.open(guestSource("second"))];
  while (!delivery.isPaused("flood")) senders.send("flood", flood, 16, 2000);
  while (!delivery.isPaused("second")) senders.send("second", second, 16, 2000);
  assert.ok(metrics.collector.queueBytes > 1.45 * MIB, `${metrics.collector.queueBytes} bytes`);
  const changes: (string | undefined)[] = [];
  delivery.subscribe((account) => changes.push(account));
  const answers: (() => void)[] = [];
  exporter.behaviour = () => new Promise((resolve) => answers.push(() => resolve(SUCCESS)));
  const drained = delivery.drain(NEVER);
  while (delivery.isPaused("flood")) {
    await until(() => answers.length > 0);
    answers.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  // Both were served in turns, so the one that held less came below its share first.
  assert.equal(changes[0], "second");
  exporter.behaviour = () => SUCCESS;
  for (const answer of answers) answer();
  await drained;
});

test("many guests within their shares lose nothing, though they come after one that fills the queue", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: 4 * MIB, whenFull: "pause" } });
  const flood = delivery.open(guestSource("flood"));
  while (!delivery.isPaused("flood")) senders.send("flood", flood, 16, 4000);
  const guests = range(1, 20).map((n) => `guest-${n}`);
  for (let i = 0; i < 10; i++) {
    for (const account of guests) {
      senders.send(account, delivery.open(guestSource(account)), 1, 4000);
      assert.equal(delivery.isPaused(account), false);
    }
  }
  assert.deepEqual(metrics.collector.dropped, {});
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  for (const account of ["flood", ...guests]) assert.equal(senders.missing(account, exporter), 0, account);
});

test("once the reserve is used up, too, the guest that holds the most loses its oldest, and no other", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: 32 * MIB, whenFull: "pause" } });
  const flood = delivery.open(guestSource("flood"));
  // Until the collector is known to be away, guests are not read so far ahead of it.
  senders.send("flood", flood, 16, 64_000);
  await until(() => exporter.requests.length > 0 && exporter.underWay === 0);
  while (!delivery.isPaused("flood")) senders.send("flood", flood, 16, 64_000);
  // What was read of it meanwhile.
  for (let i = 0; i < 20; i++) senders.send("flood", flood, 16, 64_000);
  // Each within its share when it comes.
  const guests = range(1, 8).map((n) => `guest-${n}`);
  for (const account of guests) {
    for (let i = 0; i < 3; i++) senders.send(account, delivery.open(guestSource(account)), 16, 64_000);
  }
  assert.ok(metrics.collector.queueBytes <= 66 * MIB, `${metrics.collector.queueBytes} bytes`);
  const dropped = metrics.collector.dropped["queue-full"] ?? 0;
  assert.ok(dropped > 0);
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  assert.equal(senders.missing("flood", exporter), dropped);
  for (const account of guests) assert.equal(senders.missing(account, exporter), 0, account);
  assert.deepEqual(balance(metrics, delivery), BALANCED);
});

test("drop-oldest drops of the guest that holds the most", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: MIB, whenFull: "drop-oldest" } });
  const [flood, quiet] = [delivery.open(guestSource("flood")), delivery.open(guestSource("quiet"))];
  for (let i = 0; i < 100; i++) {
    for (let j = 0; j < 10; j++) senders.send("flood", flood, 16, 1000);
    senders.send("quiet", quiet, 4, 500);
  }
  assert.deepEqual([delivery.isPaused("flood"), delivery.isPaused("quiet")], [false, false]);
  assert.ok(metrics.collector.queueBytes <= MIB, `${metrics.collector.queueBytes} bytes`);
  const dropped = metrics.collector.dropped["queue-full"] ?? 0;
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  assert.equal(senders.missing("quiet", exporter), 0);
  assert.equal(senders.missing("flood", exporter), dropped);
  assert.ok(dropped > 10_000);
});

test("a runtime is never paused: over its share it loses its own oldest", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: MIB, whenFull: "pause" } });
  const guest = delivery.open(guestSource("guest"));
  for (let i = 0; i < 4; i++) senders.send("guest", guest, 16, 4000);
  const runtime = delivery.open({ ...guestSource("runtime"), kind: "runtime" });
  for (let i = 0; i < 100; i++) {
    senders.send("runtime", runtime, 16, 4000);
    assert.equal(delivery.isPaused("runtime"), false);
  }
  const dropped = metrics.collector.dropped["queue-full"] ?? 0;
  assert.ok(dropped > 1000, `${dropped} dropped`);
  assert.ok(metrics.collector.queueBytes < 1.1 * MIB, `${metrics.collector.queueBytes} bytes`);
  assert.equal(delivery.isPaused("guest"), false);
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  assert.equal(senders.missing("guest", exporter), 0);
  // The newest are what is left.
  assert.equal(senders.missing("runtime", exporter), dropped);
  assert.ok(exporter.taken.has(spanId(senders.sent.get("runtime")?.at(-1) as number)));
});

test("a guest that is read on although it is paused displaces its own oldest, until the pause ends", async () => {
  const { delivery, exporter, metrics, senders, log } = away({ queue: { maxBytes: MIB, whenFull: "pause" } });
  const [flood, quiet] = [delivery.open(guestSource("flood")), delivery.open(guestSource("quiet"))];
  senders.send("quiet", quiet, 16, 4000);
  while (!delivery.isPaused("flood")) senders.send("flood", flood, 16, 4000);
  const held = metrics.collector.queueBytes;
  delivery.readOn("flood");
  delivery.readOn("nobody");
  assert.equal(delivery.isPaused("flood"), true);
  for (let i = 0; i < 100; i++) senders.send("flood", flood, 16, 4000);
  assert.ok(metrics.collector.queueBytes <= held, `${metrics.collector.queueBytes} of ${held} bytes`);
  assert.deepEqual(metrics.collector.dropped, { "paused-too-long": 1600 });
  assert.deepEqual(balance(metrics, delivery), BALANCED);
  assert.equal(log.find("paused for too long").length, 1);
  // What the first requests had was tried already; the rest of the oldest is gone, the newest is there.
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  assert.equal(delivery.isPaused("flood"), false);
  assert.equal(senders.missing("quiet", exporter), 0);
  assert.equal(senders.missing("flood", exporter), 1600);
  assert.ok(exporter.taken.has(spanId(senders.sent.get("flood")?.at(-1) as number)));
});

test("while the collector only sets the pace, what is read on finds room, and a runtime loses nothing", async () => {
  const exporter = new FakeExporter(() => new Promise(() => {}), 1);
  const { delivery, metrics } = setUp({
    batch: { ...BATCH, maxBytes: 2 * MIB },
    queue: { maxBytes: 64 * MIB, whenFull: "pause" },
  }, exporter);
  const senders = new Senders(metrics);
  const flood = delivery.open(guestSource("flood"));
  const runtime = delivery.open({ ...guestSource("runtime"), kind: "runtime" });
  while (!delivery.isPaused("flood")) {
    senders.send("flood", flood, 16, 64_000);
    senders.send("runtime", runtime, 16, 64_000);
  }
  assert.ok(metrics.collector.queueBytes < 12 * MIB, `${metrics.collector.queueBytes} bytes`);
  delivery.readOn("flood");
  for (let i = 0; i < 10; i++) senders.send("flood", flood, 16, 64_000);
  assert.deepEqual(metrics.collector.dropped, {});
  assert.ok(metrics.collector.queueBytes > 17 * MIB, `${metrics.collector.queueBytes} bytes`);
  await delivery.abort();
});

test("a slow collector paces guests by their shares: one that floods waits, another does not", async () => {
  const answers: (() => void)[] = [];
  const exporter = new FakeExporter(() => new Promise((resolve) => answers.push(() => resolve(SUCCESS))), 1);
  const { delivery, metrics } = setUp({
    batch: { ...BATCH, maxBytes: 2 * MIB },
    queue: { maxBytes: 64 * MIB, whenFull: "pause" },
  }, exporter);
  const senders = new Senders(metrics);
  const [flood, quiet] = [delivery.open(guestSource("flood")), delivery.open(guestSource("quiet"))];
  senders.send("quiet", quiet, 16, 1000);
  await until(() => exporter.requests.length === 1);
  while (!delivery.isPaused("flood")) senders.send("flood", flood, 16, 64_000);
  assert.ok(metrics.collector.queueBytes < 10 * MIB, `${metrics.collector.queueBytes} bytes`);
  assert.deepEqual([metrics.collector.pacePauses, metrics.collector.backpressurePauses], [1, 0]);
  senders.send("quiet", quiet, 16, 1000);
  assert.equal(delivery.isPaused("quiet"), false);
  // Its spans are in the next request, before what the other has sent earlier.
  answers.pop()?.();
  await until(() => exporter.requests.length === 2);
  const second = new Set(exporter.requests[1]);
  assert.ok(senders.sent.get("quiet")?.slice(16).every((number) => second.has(spanId(number))));
  exporter.behaviour = () => SUCCESS;
  answers.pop()?.();
  await delivery.drain(NEVER);
  assert.equal(senders.missing("flood", exporter), 0);
});

test("while guests wait for the collector, one that is read again adds its share, not a whole batch", async () => {
  const answers: (() => void)[] = [];
  const exporter = new FakeExporter(() => new Promise((resolve) => answers.push(() => resolve(SUCCESS))), 1);
  const { delivery, metrics } = setUp({
    batch: { maxSpans: 2048, maxBytes: MIB, maxDelayMs: NEVER },
    queue: { maxBytes: 64 * MIB, whenFull: "pause" },
  }, exporter);
  const senders = new Senders(metrics);
  const guests = range(1, 100).map((n) => `guest-${n}`);
  const sinks = guests.map((account) => delivery.open(guestSource(account)));
  let most = 0;
  for (let round = 0; round < 30; round++) {
    // Each sends for as long as it is read.
    guests.forEach((account, i) => {
      for (let sent = 0; sent < 40 && !delivery.isPaused(account); sent++) {
        senders.send(account, sinks[i] as SourceSink, 8, 4000);
      }
    });
    most = Math.max(most, metrics.collector.queueBytes);
    await until(() => answers.length > 0);
    answers.shift()?.();
    await until(() => exporter.underWay > 0);
  }
  assert.ok(most < 32 * MIB, `${most} bytes`);
  assert.deepEqual(metrics.collector.dropped, {});
  exporter.behaviour = () => SUCCESS;
  for (const answer of answers) answer();
  assert.equal(await delivery.drain(NEVER), 0);
  for (const account of guests) assert.equal(senders.missing(account, exporter), 0, account);
  assert.deepEqual(balance(metrics, delivery), BALANCED);
});

test("of very many guests, none loses what it brings after it has been paused", async () => {
  const { delivery, exporter, metrics, senders } = away({ queue: { maxBytes: 16 * MIB, whenFull: "pause" } });
  const guests = range(1, 110).map((n) => `guest-${n}`);
  const sinks = new Map(guests.map((account) => [account, delivery.open(guestSource(account))]));
  senders.send("guest-1", sinks.get("guest-1") as SourceSink, 16, 1000);
  await until(() => exporter.requests.length > 0 && exporter.underWay === 0);
  const read = new Set(guests);
  while (read.size > 0) {
    for (const account of read) {
      const sink = sinks.get(account) as SourceSink;
      senders.send(account, sink, 16, 1000);
      if (!delivery.isPaused(account)) continue;
      read.delete(account);
      // What was read of its connection meanwhile.
      for (let i = 0; i < 12; i++) senders.send(account, sink, 16, 1000);
    }
  }
  assert.deepEqual(metrics.collector.dropped, {});
  assert.ok(metrics.collector.queueBytes > 16 * MIB, `${metrics.collector.queueBytes} bytes`);
  exporter.behaviour = () => SUCCESS;
  assert.equal(await delivery.drain(NEVER), 0);
  for (const account of guests) assert.equal(senders.missing(account, exporter), 0, account);
});

test("thousands of guests with a little each are served beside one that floods", SLOW, async () => {
  const exporter = new FakeExporter(() => SUCCESS, 2);
  const { delivery, metrics } = setUp({
    batch: { maxSpans: 2048, maxBytes: MIB, maxDelayMs: 1 },
    queue: { maxBytes: 16 * MIB, whenFull: "pause" },
  }, exporter);
  const senders = new Senders(metrics);
  const flood = delivery.open(guestSource("flood"));
  for (let i = 0; i < 5000; i++) {
    const account = `guest-${i}`;
    const guest = delivery.open(guestSource(account));
    senders.send(account, guest, 1, 20);
    guest.close();
    if (!delivery.isPaused("flood")) senders.send("flood", flood, 4, 500);
    assert.equal(delivery.isPaused(account), false);
    if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.equal(await delivery.drain(NEVER), 0);
  assert.deepEqual(metrics.collector.dropped, {});
  for (const account of senders.sent.keys()) assert.equal(senders.missing(account, exporter), 0, account);
  assert.deepEqual(balance(metrics, delivery), BALANCED);
});

/** A spool of 64 MiB, which a flood of 1 MB batches fills soon. */
async function withSpool(run: (open: () => Spool) => Promise<void>): Promise<void> {
  using temporary = temporaryDirectory();
  const directory = prepareSpoolDirectory(join(temporary.path, "spool"));
  await run(() =>
    Spool.open({
      storage: FileStorage.open(directory, libc),
      maxBytes: 64 * MIB,
      log: new RecordingLogger(),
    })
  );
}

test(
  "a spool that one guest fills pauses that one; another's spans are spooled and arrive after a restart",
  SLOW,
  () =>
    withSpool(async (open) => {
      const queue = { maxBytes: 8 * MIB, whenFull: "pause" } as const;
      const { delivery, exporter, metrics, senders } = away({ spool: open(), queue });
      const [flood, quiet] = [delivery.open(guestSource("flood")), delivery.open(guestSource("quiet"))];
      while (!delivery.isPaused("flood")) {
        senders.send("flood", flood, 16, 60_000);
        await flood.settled();
      }
      for (let i = 0; i < 20; i++) {
        senders.send("quiet", quiet, 16, 500);
        await quiet.settled();
        assert.equal(delivery.isPaused("quiet"), false);
      }
      // Read on, the one that floods displaces what it has on the disk itself.
      delivery.readOn("flood");
      for (let i = 0; i < 20; i++) {
        senders.send("flood", flood, 16, 60_000);
        await flood.settled();
      }
      const dropped = metrics.collector.dropped["paused-too-long"] ?? 0;
      assert.ok(dropped >= 19 * 16, `${dropped} dropped`);
      assert.deepEqual(Object.keys(metrics.collector.dropped), ["paused-too-long"]);
      assert.deepEqual(balance(metrics, delivery), BALANCED);
      assert.equal(await delivery.drain(0), 0);

      // Nobody lost its account with the process.
      const next = away({ spool: open(), queue });
      assert.deepEqual([next.delivery.isPaused("flood"), next.delivery.isPaused("quiet")], [true, false]);
      next.exporter.behaviour = () => SUCCESS;
      assert.equal(await next.delivery.drain(NEVER), 0);
      assert.equal(senders.missing("quiet", next.exporter), 0);
      assert.equal(senders.missing("flood", next.exporter), dropped);
      assert.equal(exporter.taken.size, 0);
    }),
);

test(
  "what had been read of a guest before it was paused waits for room in the spool, and nothing is dropped for it",
  SLOW,
  () =>
    withSpool(async (open) => {
      const spool = open();
      const queue = { maxBytes: 8 * MIB, whenFull: "pause" } as const;
      const { delivery, exporter, metrics, senders } = away({ spool, queue });
      const flood = delivery.open(guestSource("flood"));
      while (!delivery.isPaused("flood")) {
        senders.send("flood", flood, 16, 60_000);
        await flood.settled();
      }
      // Twice what the spool has in reserve.
      for (let i = 0; i < 16; i++) {
        senders.send("flood", flood, 16, 60_000);
        await flood.settled();
      }
      assert.ok(metrics.collector.queueBatches > spool.count, "some are in memory only");
      assert.deepEqual(metrics.collector.dropped, {});
      exporter.behaviour = () => SUCCESS;
      assert.equal(await delivery.drain(NEVER), 0);
      assert.equal(senders.missing("flood", exporter), 0);
      assert.deepEqual(balance(metrics, delivery), BALANCED);
    }),
);

test(
  "drop-oldest with a spool that one guest fills leaves the others' spans on the disk",
  SLOW,
  () =>
    withSpool(async (open) => {
      const queue = { maxBytes: 8 * MIB, whenFull: "drop-oldest" } as const;
      const { delivery, exporter, metrics, senders } = away({ spool: open(), queue });
      const [flood, quiet] = [delivery.open(guestSource("flood")), delivery.open(guestSource("quiet"))];
      for (let i = 0; i < 60; i++) {
        senders.send("quiet", quiet, 4, 500);
        for (let j = 0; j < 2; j++) senders.send("flood", flood, 16, 60_000);
        await flood.settled();
        await quiet.settled();
      }
      assert.ok((metrics.collector.dropped["queue-full"] ?? 0) > 500);
      exporter.behaviour = () => SUCCESS;
      assert.equal(await delivery.drain(NEVER), 0);
      assert.equal(senders.missing("quiet", exporter), 0);
      assert.equal(senders.missing("flood", exporter), metrics.collector.dropped["queue-full"]);
      assert.deepEqual(balance(metrics, delivery), BALANCED);
    }),
);
