import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { loadLibc } from "../../../ffi/libc.ts";
import { FileStorage } from "../../../src/queue/spool/file-storage.ts";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { SpoolError } from "../../../src/queue/spool/spool-error.ts";
import type { QueueSettings } from "../../../src/pipeline/settings.ts";
import { AHEAD_BYTES, AHEAD_LOW_WATER } from "../../../src/queue/pace.ts";
import { AWAY, balance, BALANCED, FakeExporter, guestSource, payload, send, setUp, SUCCESS } from "../support.ts";
import { range, spanId } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";

const GUEST = guestSource("box", new Map([["kata.sandbox.id", "box"]]));
const NEVER = 1_000_000;
const MIB = 1024 * 1024;
const PATIENT = { initialMs: NEVER, maxMs: NEVER };
/** For tests that fill a spool on a slow disk. */
const SLOW = { timeout: 60_000 };

const libc = await loadLibc();

function openSpool(directory: string, maxBytes = SPOOL_MIN_BYTES): Spool {
  const storage = FileStorage.open(directory, libc);
  return Spool.open({ storage, maxBytes, log: new RecordingLogger() });
}

async function withSpool(
  run: (open: (maxBytes?: number) => Spool, directory: string) => Promise<void>,
): Promise<void> {
  using temporary = temporaryDirectory();
  const directory = prepareSpoolDirectory(join(temporary.path, "spool"));
  await run((maxBytes) => openSpool(directory, maxBytes), directory);
}

function queue(whenFull: QueueSettings["whenFull"], maxBytes = MIB): QueueSettings {
  return { maxBytes, whenFull };
}

function taken(exporter: FakeExporter): number[] {
  return [...exporter.taken.keys()].map((id) => parseInt(id, 16)).sort((a, b) => a - b);
}

test("batches are in the spool until the collector has them", () =>
  withSpool(async (open) => {
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const spool = open();
    const { delivery, exporter, metrics } = setUp(
      { spool },
      new FakeExporter(() => held.then(() => SUCCESS)),
    );
    send(metrics, delivery.open(GUEST), payload(range(1, 45)));
    await until(() => spool.count === 5);
    assert.equal(metrics.collector.spoolBatches, 5);
    assert.ok(metrics.collector.spoolBytes > 0);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
    release();
    await until(() => spool.count === 0);
    assert.equal(metrics.collector.forwarded, 45);
    assert.equal(metrics.collector.spoolBatches, 0);
    assert.equal(await delivery.drain(NEVER), 0);
    assert.deepEqual(taken(exporter), range(1, 45));
    assert.deepEqual(balance(metrics, delivery), BALANCED);
  }));

test("what was not delivered is, after a restart, oldest first, beside what is new", () =>
  withSpool(async (open) => {
    const first = setUp({ spool: open(), retry: PATIENT }, new FakeExporter(() => AWAY));
    send(first.metrics, first.delivery.open(GUEST), payload(range(1, 95)));
    await until(() => first.exporter.requests.length > 0);
    // Its last five are still in an open batch.
    assert.equal(await first.delivery.drain(NEVER), 0);
    assert.equal(first.metrics.heldNow, 95);
    assert.deepEqual(first.metrics.collector.dropped, {});
    assert.deepEqual(balance(first.metrics, first.delivery), BALANCED);
    assert.equal(first.log.find("stay in the spool")[0]?.fields["spans"], 95);

    const second = setUp({ spool: open() }, new FakeExporter(() => SUCCESS, 1));
    assert.equal(second.metrics.collector.recovered, 95);
    assert.equal(second.metrics.heldNow, 95);
    assert.deepEqual(balance(second.metrics, second.delivery), BALANCED);
    send(second.metrics, second.delivery.open(GUEST), payload(range(96, 105)));
    assert.equal(await second.delivery.drain(NEVER), 0);
    assert.deepEqual(second.exporter.requests.flat(), range(1, 105).map(spanId));
    assert.equal(second.metrics.collector.forwarded, 105);
    assert.deepEqual(balance(second.metrics, second.delivery), BALANCED);
    assert.equal(second.log.find("earlier run")[0]?.fields["batches"], 10);

    const third = setUp({ spool: open() });
    assert.equal(third.metrics.received, 0);
    await third.delivery.abort();
  }));

test("an abort leaves in the spool what was under way", () =>
  withSpool(async (open) => {
    const first = setUp({ spool: open() }, new FakeExporter(() => new Promise(() => {})));
    send(first.metrics, first.delivery.open(GUEST), payload(range(1, 25)));
    await until(() => first.exporter.underWay > 0);
    assert.equal(await first.delivery.abort(), 0);
    const second = setUp({ spool: open() });
    assert.equal(await second.delivery.drain(NEVER), 0);
    assert.deepEqual(taken(second.exporter), range(1, 25));
  }));

test(
  "in memory there is no more than the queue may hold, however much is in the spool",
  SLOW,
  () =>
    withSpool(async (open) => {
      const spool = open();
      const { delivery, exporter, metrics } = setUp({
        spool,
        queue: queue("pause", 50_000),
        retry: PATIENT,
      }, new FakeExporter(() => AWAY));
      const guest = delivery.open(GUEST);
      for (const first of range(0, 99).map((n) => n * 10 + 1)) {
        send(metrics, guest, payload(range(first, first + 9), { nameBytes: 1000 }));
        if (first % 50 === 1) await delivery.collector.settled?.();
      }
      await until(() => spool.count === 100);
      assert.equal(delivery.isPaused("box"), false);
      assert.ok(metrics.collector.queueBytes <= 50_000, `${metrics.collector.queueBytes} bytes`);
      // The memory is nearly used up, the disk is not.
      assert.ok(metrics.collector.queueBytes > 35_000, `${metrics.collector.queueBytes} bytes`);
      assert.ok(metrics.collector.deliveryFill < 0.5, `${metrics.collector.deliveryFill}`);
      exporter.behaviour = () => SUCCESS;
      assert.equal(await delivery.drain(NEVER), 0);
      assert.deepEqual(taken(exporter), range(1, 1000));
      assert.equal(metrics.collector.queueBytes, 0);
      assert.deepEqual(balance(metrics, delivery), BALANCED);
    }),
);

test(
  "a full spool pauses guests, and what was on its way by then is taken in too",
  SLOW,
  () =>
    withSpool(async (open, directory) => {
      const spool = open();
      const { delivery, exporter, metrics, log } = setUp(
        { spool, retry: PATIENT },
        new FakeExporter(() => AWAY),
      );
      const guest = delivery.open(GUEST);
      let sent = 0;
      while (!delivery.isPaused("box")) {
        send(metrics, guest, payload(range(sent + 1, sent + 10), { nameBytes: 10_000 }));
        sent += 10;
        await delivery.collector.settled?.();
      }
      for (let i = 0; i < 5; i++) {
        send(metrics, guest, payload(range(sent + 1, sent + 10), { nameBytes: 10_000 }));
        sent += 10;
      }
      assert.equal(metrics.collector.droppedTotal, 0);
      assert.equal(metrics.heldNow, sent);
      const bytes = fs.readdirSync(directory).map((name) => fs.statSync(join(directory, name)).size);
      assert.ok(bytes.reduce((a, b) => a + b) <= SPOOL_MIN_BYTES, `${bytes}`);
      exporter.behaviour = () => SUCCESS;
      assert.equal(await delivery.drain(NEVER), 0);
      assert.equal(delivery.isPaused("box"), false);
      assert.deepEqual(taken(exporter), range(1, sent));
      assert.equal(log.find("queue full: guests are not read").length, 1);
      assert.deepEqual(balance(metrics, delivery), BALANCED);
    }),
);

test(
  "guests wait for a collector that takes requests, and are read on as soon as the spool has what waits",
  SLOW,
  () =>
    withSpool(async (open) => {
      const spool = open(64 * MIB);
      let release: () => void = () => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      const { delivery, exporter, metrics, log } = setUp(
        { spool, queue: queue("pause", 64 * MIB) },
        new FakeExporter(() => held.then(() => SUCCESS)),
      );
      const guest = delivery.open(GUEST);
      let sent = 0;
      while (!delivery.isPaused("box")) {
        send(metrics, guest, payload(range(sent + 1, sent + 10), { nameBytes: 10_000 }));
        sent += 10;
      }
      assert.ok(metrics.collector.queueBytes < AHEAD_BYTES + MIB, `${metrics.collector.queueBytes} bytes`);
      assert.equal(metrics.collector.pacePauses, 1);
      await until(() => !delivery.isPaused("box"));
      assert.ok(spool.usedBytes > AHEAD_BYTES * (1 - AHEAD_LOW_WATER), `${spool.usedBytes} bytes`);
      release();
      assert.equal(await delivery.drain(NEVER), 0);
      assert.deepEqual(taken(exporter), range(1, sent));
      assert.deepEqual(metrics.collector.dropped, {});
      assert.deepEqual(log.find("queue full"), []);
      assert.deepEqual(balance(metrics, delivery), BALANCED);
    }),
);

test("many small batches fill a spool by their number", SLOW, () =>
  withSpool(async (open) => {
    const spool = open();
    const { delivery, exporter, metrics } = setUp({
      spool,
      batch: { maxSpans: 1, maxBytes: MIB, maxDelayMs: 5 },
      retry: PATIENT,
    }, new FakeExporter(() => AWAY));
    const guest = delivery.open(GUEST);
    let sent = 0;
    while (!delivery.isPaused("box")) {
      send(metrics, guest, payload(range(sent + 1, sent + 50)));
      sent += 50;
      await delivery.collector.settled?.();
    }
    // 4 KiB for each, whatever it takes.
    assert.ok(Math.abs(sent - spool.limitBytes / 4096) <= 100, `${sent} batches`);
    exporter.behaviour = () => SUCCESS;
    assert.equal(await delivery.drain(NEVER), 0);
    assert.deepEqual(taken(exporter), range(1, sent));
  }));

test(
  "drop-oldest with a spool drops the oldest on disk, and the newest arrive",
  SLOW,
  () =>
    withSpool(async (open) => {
      const spool = open();
      const { delivery, exporter, metrics } = setUp({
        spool,
        queue: queue("drop-oldest"),
        retry: PATIENT,
      }, new FakeExporter(() => AWAY));
      const guest = delivery.open(GUEST);
      for (const first of range(0, 119).map((n) => n * 10 + 1)) {
        send(metrics, guest, payload(range(first, first + 9), { nameBytes: 10_000 }));
        await delivery.collector.settled?.();
        assert.deepEqual(balance(metrics, delivery), BALANCED);
      }
      assert.equal(delivery.isPaused("box"), false);
      assert.ok(spool.usedBytes <= spool.limitBytes, `${spool.usedBytes} bytes`);
      const dropped = metrics.collector.dropped["queue-full"] as number;
      assert.ok(dropped > 400 && dropped < 1000, `${dropped} dropped`);
      exporter.behaviour = () => SUCCESS;
      assert.equal(await delivery.drain(NEVER), 0);
      // The requests that were under way are still there.
      assert.deepEqual(taken(exporter).slice(-100), range(1101, 1200));
      assert.equal(taken(exporter).length, 1200 - dropped);
      assert.equal(spool.count, 0);
    }),
);

/** Makes a spool refuse everything, as a full disk does, until the returned function is called. */
function fillDisk(spool: Spool): () => void {
  const commit = spool.commit.bind(spool);
  spool.commit = () => Promise.reject(new SpoolError("full", "cannot write to the spool: no space left on device"));
  return () => {
    spool.commit = commit;
  };
}

test(
  "a full disk: spans are held in memory, guests pause when that is full, it is logged once, and ends by itself",
  SLOW,
  () =>
    withSpool(async (open) => {
      const spool = open();
      const { delivery, exporter, metrics, log } = setUp(
        { spool, queue: queue("pause", 2000), retry: PATIENT },
        new FakeExporter(() => AWAY),
      );
      const guest = delivery.open(GUEST);
      send(metrics, guest, payload(range(1, 10)));
      await until(() => spool.count === 1);
      const emptyDisk = fillDisk(spool);
      send(metrics, guest, payload(range(11, 20)));
      await until(() => log.find("spool cannot be used").length > 0);
      assert.equal(delivery.isPaused("box"), false);
      send(metrics, guest, payload(range(21, 40)));
      assert.equal(delivery.isPaused("box"), true);
      assert.equal(metrics.heldNow, 40);
      assert.equal(spool.count, 1);
      emptyDisk();
      // The next try is one second away.
      await until(() => !delivery.isPaused("box"));
      assert.equal(spool.count, 4);
      assert.deepEqual(
        log.records.filter(({ message }) => message.includes("spool")).map(({ message }) => message),
        [
          "the spool cannot be used: new batches are in memory only, and tried again",
          "the spool can be used again",
        ],
      );
      assert.equal(await delivery.drain(NEVER), 0);
      assert.equal(metrics.heldNow, 40);
      exporter.behaviour = () => SUCCESS;
      const next = setUp({ spool: open() }, exporter);
      await next.delivery.drain(NEVER);
      assert.deepEqual(taken(exporter), range(1, 40));
    }),
);

test("a full disk does not stop what can be sent, and what was sent is never put in", () =>
  withSpool(async (open) => {
    const spool = open();
    const { delivery, exporter, metrics } = setUp({ spool });
    const emptyDisk = fillDisk(spool);
    const guest = delivery.open(GUEST);
    for (const first of [1, 11, 21]) {
      send(metrics, guest, payload(range(first, first + 9)));
      await until(() => metrics.heldNow === 0 && !delivery.isPaused("box"));
    }
    assert.deepEqual(taken(exporter), range(1, 30));
    emptyDisk();
    exporter.behaviour = () => AWAY;
    send(metrics, guest, payload(range(31, 35)));
    await until(() => spool.count === 1);
    exporter.behaviour = () => SUCCESS;
    assert.equal(await delivery.drain(NEVER), 0);
    assert.equal(metrics.collector.forwarded, 35);
    assert.equal(open().count, 0);
  }));

test("a full disk at the end: what is in memory only is lost, and said", () =>
  withSpool(async (open) => {
    const spool = open();
    const { delivery, metrics, log } = setUp(
      { spool, retry: { initialMs: 1, maxMs: 1 } },
      new FakeExporter(() => AWAY),
    );
    const guest = delivery.open(GUEST);
    send(metrics, guest, payload(range(1, 10)));
    await until(() => spool.count === 1);
    fillDisk(spool);
    send(metrics, guest, payload(range(11, 30)));
    assert.equal(await delivery.drain(50), 20);
    assert.deepEqual(metrics.collector.dropped, { shutdown: 20 });
    assert.equal(metrics.heldNow, 10);
    assert.equal(log.find("spans are lost")[0]?.fields["spans"], 20);
    assert.equal(log.find("stay in the spool")[0]?.fields["spans"], 10);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
  }));

test("drop-oldest on a full disk keeps memory bounded and the newest spans", () =>
  withSpool(async (open) => {
    const spool = open();
    const { delivery, metrics } = setUp({
      spool,
      queue: queue("drop-oldest", 20_000),
      retry: PATIENT,
    }, new FakeExporter(() => AWAY));
    const guest = delivery.open(GUEST);
    send(metrics, guest, payload(range(1, 10)));
    await until(() => spool.count === 1);
    fillDisk(spool);
    for (const number of range(11, 1000)) {
      send(metrics, guest, payload([number], { nameBytes: 100 }));
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(metrics.collector.queueBytes <= 21_000, `${metrics.collector.queueBytes} bytes`);
    assert.ok((metrics.collector.dropped["queue-full"] ?? 0) > 700);
    assert.equal(delivery.isPaused("box"), false);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
    await delivery.abort();
  }));

test("a batch that the spool gives back damaged is dropped, counted and logged; the others arrive", () =>
  withSpool(async (open, directory) => {
    const first = setUp({ spool: open(), retry: PATIENT }, new FakeExporter(() => AWAY));
    send(first.metrics, first.delivery.open(GUEST), payload(range(1, 30), { nameBytes: 2000 }));
    await first.delivery.drain(NEVER);
    // `Span.span_id` (2), with its tag and length: the ID alone may be anywhere.
    const id = Buffer.from(`1208${spanId(15)}`, "hex");
    const path = fs.readdirSync(directory).map((name) => join(directory, name))
      .find((each) => fs.readFileSync(each).includes(id)) as string;
    const file = fs.readFileSync(path);
    const at = file.indexOf(id) + 100;
    file[at] = (file[at] as number) ^ 1;
    fs.writeFileSync(path, file);

    const { delivery, exporter, metrics, log } = setUp({ spool: open() });
    assert.equal(metrics.collector.recovered, 30);
    assert.equal(await delivery.drain(NEVER), 0);
    assert.deepEqual(taken(exporter), [...range(1, 10), ...range(21, 30)]);
    assert.deepEqual(metrics.collector.dropped, { "spool-corrupt": 10 });
    assert.deepEqual(balance(metrics, delivery), BALANCED);
    assert.equal(log.find("damaged")[0]?.fields["spans"], 10);
  }));

test(
  "a spool that cannot be read for a while delays its batches, and loses none",
  SLOW,
  () =>
    withSpool(async (open) => {
      const first = setUp({ spool: open(), retry: PATIENT }, new FakeExporter(() => AWAY));
      send(first.metrics, first.delivery.open(GUEST), payload(range(1, 30)));
      await first.delivery.drain(NEVER);

      const spool = open();
      const read = spool.read.bind(spool);
      let failures = 0;
      spool.read = (sequence) => {
        if (failures++ < 1) throw new SpoolError("failed", "cannot read the spool: disk I/O error");
        return read(sequence);
      };
      const { delivery, exporter, metrics, log } = setUp({ spool });
      assert.equal(await delivery.drain(NEVER), 0);
      assert.deepEqual(taken(exporter), range(1, 30));
      assert.equal(metrics.collector.forwarded, 30);
      assert.equal(log.find("spool cannot be used").length, 1);
    }),
);

test("a stop with the collector away does not wait when the spool has all", () =>
  withSpool(async (open) => {
    const exporter = new FakeExporter(() => AWAY);
    const { delivery, metrics } = setUp({ spool: open(), retry: PATIENT }, exporter);
    send(metrics, delivery.open(GUEST), payload(range(1, 10)));
    await until(() => exporter.requests.length === 1 && exporter.underWay === 0);
    assert.equal(await delivery.drain(NEVER), 0);
    assert.equal(exporter.requests.length, 2);
  }));

test("settled: what a source has sent is on the disk, and only that of its account was not waited for", () =>
  withSpool(async (open) => {
    const spool = open();
    const batch = { maxSpans: 100, maxBytes: MIB, maxDelayMs: NEVER };
    const { delivery, metrics } = setUp({ spool, batch, retry: PATIENT }, new FakeExporter(() => AWAY));
    const [runtime, other] = [delivery.open(guestSource("runtime")), delivery.open(guestSource("other"))];
    send(metrics, runtime, payload([1, 2]));
    send(metrics, other, payload([3]));
    await runtime.settled();
    assert.deepEqual([spool.count, metrics.heldOpen], [1, 1]);
    // Nothing has come since.
    await runtime.settled();
    send(metrics, runtime, payload([4]));
    send(metrics, runtime, payload([5]));
    await Promise.all([runtime.settled(), runtime.settled(), other.settled()]);
    assert.deepEqual([spool.count, metrics.heldOpen], [3, 0]);
    assert.equal(await delivery.abort(), 0);
    assert.equal(metrics.heldNow, 5);
  }));

test("settled: a spool that cannot be written makes nobody wait for ever", () =>
  withSpool(async (open) => {
    const spool = open();
    const { delivery, metrics } = setUp({ spool, retry: PATIENT }, new FakeExporter(() => AWAY));
    fillDisk(spool);
    const runtime = delivery.open(guestSource("runtime"));
    send(metrics, runtime, payload([1]));
    await runtime.settled();
    assert.deepEqual([spool.count, metrics.heldNow], [0, 1]);
    assert.equal(await delivery.abort(), 1);
  }));

test("a replay that is cut short goes on where it was, even within a batch", () =>
  withSpool(async (open) => {
    const limits = { batch: { maxSpans: 100, maxBytes: MIB, maxDelayMs: 5 }, retry: PATIENT };
    const first = setUp({ spool: open(), ...limits }, new FakeExporter(() => AWAY));
    send(first.metrics, first.delivery.open(GUEST), payload(range(1, 300)));
    assert.equal(await first.delivery.drain(NEVER), 0);

    const exporter = new FakeExporter((_, request) => request < 20 ? SUCCESS : new Promise(() => {}));
    const second = setUp({ spool: open() }, exporter);
    await until(() => exporter.requests.length > 20);
    assert.equal(second.metrics.collector.recovered, 300);
    assert.deepEqual(balance(second.metrics, second.delivery), BALANCED);
    await second.delivery.abort();
    assert.ok(exporter.requests.every((ids) => ids.length <= 8), exporter.requests.map((ids) => ids.length).join());
    assert.deepEqual(taken(exporter), range(1, 156));
    assert.deepEqual(balance(second.metrics, second.delivery), BALANCED);

    const third = setUp({ spool: open() });
    assert.equal(third.metrics.collector.recovered, 144);
    assert.equal(await third.delivery.drain(NEVER), 0);
    assert.deepEqual(taken(third.exporter), range(157, 300));
    assert.deepEqual(balance(third.metrics, third.delivery), BALANCED);
    assert.equal(open().count, 0);
  }));

test("of many small batches only some are read in one turn of the event loop, and all arrive", () =>
  withSpool(async (open) => {
    const spool = open();
    const accepted = Promise.withResolvers<typeof SUCCESS>();
    const { delivery, exporter, metrics } = setUp(
      // Nothing that is in the spool stays in memory.
      { spool, queue: queue("pause", 1), batch: { maxSpans: 500, maxBytes: MIB, maxDelayMs: 5 } },
      new FakeExporter(() => accepted.promise, 1),
    );
    send(metrics, delivery.open(GUEST), payload([1]));
    await until(() => exporter.requests.length === 1);
    for (const number of range(2, 300)) send(metrics, delivery.open(guestSource(`${number}`)), payload([number]));
    await until(() => spool.count === 300);
    accepted.resolve(SUCCESS);
    await until(() => metrics.collector.forwarded === 300);
    assert.deepEqual(exporter.requests.map(({ length }) => length), [1, 64, 64, 64, 64, 43]);
    assert.deepEqual(taken(exporter), range(1, 300));
    assert.equal(await delivery.drain(NEVER), 0);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
  }));
