import assert from "node:assert/strict";
import { test } from "node:test";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { Random } from "../../decode/support/random.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { unwritten } from "../../support/unwritten.ts";
import { numberOf, record, recoveredNumbers } from "./support/records.ts";
import { SimulatedStorage, systemError } from "./support/simulated-storage.ts";

const MIB = 1024 * 1024;

function open(storage: SimulatedStorage, log = new RecordingLogger(), maxBytes = SPOOL_MIN_BYTES): Spool {
  return Spool.open({ storage, maxBytes, log });
}

test("records are there again after a restart, oldest first, with all that was said of them", async () => {
  const log = new RecordingLogger();
  const storage = new SimulatedStorage(new Random(1));
  const first = open(storage, log);
  assert.deepEqual([...first.recovered()], []);
  const ids = range(1, 5).map((number) => first.append(record(number)));
  assert.equal(first.count, 0);
  await first.commit();
  assert.equal(first.count, 5);
  first.remove([ids[1] as number, ids[3] as number]);
  assert.equal(first.count, 3);
  assert.equal(first.usedBytes, 3 * 4096);
  await first.close();

  const second = open(storage.restarted("killed"), log);
  assert.equal(second.count, 3);
  assert.equal(second.usedBytes, 3 * 4096);
  assert.deepEqual(recoveredNumbers(second), [1, 3, 5]);
  const id = second.append(record(6));
  assert.ok(id > (ids[4] as number), "a new record has an ID of its own");
  await second.commit();
  await second.close();
  assert.deepEqual(recoveredNumbers(open(storage.restarted("killed"))), [1, 3, 5]);
  assert.deepEqual(log.records, []);
});

test("a record that is not committed yet can be read and removed, and is not there after a restart", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage);
  const [kept, removed] = [spool.append(record(1)), spool.append(record(2))];
  assert.deepEqual(spool.read(removed), record(2).bytes);
  spool.remove([removed]);
  assert.equal(spool.read(removed), undefined);
  await spool.commit();
  const late = spool.append(record(3));
  const commit = spool.commit();
  // While the commit is under way.
  await Promise.resolve();
  spool.remove([late]);
  await commit;
  assert.equal(spool.count, 1);
  assert.equal(spool.read(late), undefined);
  assert.deepEqual(spool.read(kept), record(1).bytes);
  assert.equal(spool.usedBytes, 4096);
  assert.deepEqual(recoveredNumbers(open(storage.restarted("killed"))), [1]);
});

test("an empty record and one that is larger than a segment are kept like others", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage);
  const empty = spool.append({ account: "", kind: "host", spans: 0, bytes: new Uint8Array(0) });
  spool.append(record(1, 3 * MIB));
  spool.append(record(2, 10));
  await spool.commit();
  assert.deepEqual(spool.read(empty), new Uint8Array(0));
  const again = open(storage.restarted("killed"));
  const [first, ...others] = again.recovered();
  assert.deepEqual(first, { id: empty, account: "", kind: "host", spans: 0, removedSpans: 0, size: 0 });
  assert.deepEqual(others.map(({ size }) => size), [3 * MIB, 10]);
  assert.deepEqual(others.map(({ id }) => again.read(id)), [record(1, 3 * MIB).bytes, record(2, 10).bytes]);
});

test("commits asked for while one is under way become one, and each resolves when its records are there", async () => {
  const storage = new SimulatedStorage(new Random(1));
  let syncs = 0;
  storage.fail = (operation) => void (syncs += operation === "sync" ? 1 : 0);
  const spool = open(storage);
  spool.append(record(1));
  const first = spool.commit();
  await Promise.resolve();
  await Promise.resolve();
  const others = range(2, 50).map((number) => {
    spool.append(record(number));
    return spool.commit();
  });
  await first;
  await Promise.all(others);
  assert.equal(spool.count, 50);
  assert.equal(syncs, 2);
});

test("a full spool takes nothing more, stays within its bytes, and works again when something is removed", async () => {
  const log = new RecordingLogger();
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage, log);
  const ids: number[] = [];
  for (let number = 1; spool.fill < 1; number++) {
    ids.push(spool.append(record(number, 50_000)));
    await spool.commit();
    assert.ok(storage.usedBytes <= SPOOL_MIN_BYTES, `${storage.usedBytes} bytes`);
  }
  assert.ok(spool.usedBytes > 6 * MIB, `${spool.usedBytes} bytes`);
  await assert.rejects(async () => {
    for (;;) {
      spool.append(record(ids.length + 1, 50_000));
      await spool.commit();
      ids.push(0);
    }
  }, { name: "SpoolError", kind: "full" });
  // What was not committed is removed by whoever has it still.
  const { length } = ids;
  const before = spool.count;
  assert.equal(before, length);
  spool.remove(ids.slice(0, 50));
  await spool.commit();
  assert.equal(spool.count, before - 50 + 1);
  await spool.close();
  const numbers = recoveredNumbers(open(storage.restarted("killed"), log));
  assert.deepEqual(numbers.slice(0, 2), [51, 52]);
  assert.deepEqual(log.records, []);
});

test("space of what was removed is used again, and given back when all is removed", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage, new RecordingLogger(), 64 * MIB);
  const ids: number[] = [];
  for (const number of range(1, 400)) {
    ids.push(spool.append(record(number, 200_000)));
    await spool.commit();
    if (ids.length > 20) spool.remove([ids.shift() as number]);
  }
  assert.ok(storage.usedBytes <= 24 * MIB, `${storage.usedBytes} bytes`);
  for (const number of range(401, 600)) ids.push(spool.append(record(number, 200_000)));
  await spool.commit();
  assert.ok(storage.usedBytes > 40 * MIB, `${storage.usedBytes} bytes`);
  spool.remove(ids);
  assert.equal(spool.count, 0);
  assert.equal(spool.usedBytes, 0);
  await spool.close();
  assert.ok(storage.usedBytes <= 12 * MIB, `${storage.usedBytes} bytes`);
});

test("a few records that are not removed for long do not keep the spool full", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const log = new RecordingLogger();
  const spool = open(storage, log);
  const stuck: number[] = [];
  let recent: number[] = [];
  // Each segment gets one that stays.
  for (const number of range(1, 2000)) {
    const id = spool.append(record(number, 30_000));
    await spool.commit();
    if (number % 30 === 1 && number < 900) stuck.push(id);
    else recent.push(id);
    if (recent.length > 10) spool.remove(recent.splice(0, 5));
    assert.ok(storage.usedBytes <= SPOOL_MIN_BYTES, `${storage.usedBytes} bytes`);
    if (number === 900) { for (const each of stuck) spool.removeSpans(each, 1); }
  }
  spool.remove(recent);
  recent = [];
  assert.equal(spool.count, 30);
  for (const [i, id] of stuck.entries()) assert.deepEqual(spool.read(id), record(30 * i + 1, 30_000).bytes);
  await spool.close();
  const again = open(storage.restarted("killed"), log);
  const found = [...again.recovered()];
  assert.deepEqual(found.map(({ id }) => numberOf(again.read(id) as Uint8Array)), range(0, 29).map((i) => 30 * i + 1));
  // What was known of them has moved with them.
  for (const { spans, removedSpans } of found) assert.equal(removedSpans, spans + removedSpans === 1 ? 0 : 1);
  assert.deepEqual(log.records, []);
});

test("a segment whose last records are removed while they are being moved is used again once", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const log = new RecordingLogger();
  const spool = open(storage, log);
  const random = new Random(2);
  const records = new Map<number, number>();
  const remove = (number: number): void => {
    spool.remove([records.get(number) as number]);
    records.delete(number);
  };
  /** In which file each record is that stays for long. */
  const files = new Map<number, string>();
  let newest = "";
  let movedFrom: string | undefined;
  let removals = 0;
  let isCommitting = false;
  storage.fail = (operation, name) => {
    if (operation === "read" && isCommitting) movedFrom = name;
    if (operation !== "sync" || !name.includes("segment")) return undefined;
    newest = name.replace(".new", "");
    if (movedFrom === undefined) return undefined;
    // What was read is in the newest file now, and does not count there before this sync is over.
    const moved = [...files].filter(([, file]) => file === movedFrom).map(([number]) => number);
    movedFrom = undefined;
    const isRemoved = random.oneIn(3);
    for (const number of moved) {
      if (isRemoved) {
        remove(number);
        files.delete(number);
        removals++;
      } else files.set(number, newest);
    }
    return undefined;
  };
  for (const number of range(1, 1500)) {
    records.set(number, spool.append(record(number, 30_000)));
    isCommitting = true;
    await spool.commit();
    isCommitting = false;
    if (number % 30 === 1) files.set(number, newest);
    const recent = number - 10;
    if (recent > 0 && recent % 30 !== 1) remove(recent);
    for (const [each, id] of records) assert.ok(spool.read(id) !== undefined, `${each} is gone`);
    if (spool.fill < 0.8) continue;
    for (const each of [...files.keys()].slice(0, 10)) {
      remove(each);
      files.delete(each);
    }
  }
  assert.ok(removals > 10, `${removals} were removed while they were moved`);
  for (const [number, id] of records) assert.deepEqual(spool.read(id), record(number, 30_000).bytes);
  await spool.close();
  assert.deepEqual(recoveredNumbers(open(storage.restarted("killed"), log)), [...records.keys()]);
  assert.deepEqual(log.records, []);
});

test("many small records fill the spool by their number", async () => {
  const spool = open(new SimulatedStorage(new Random(1)));
  let count = 0;
  while (spool.fill < 1) {
    for (const number of range(1, 50)) spool.append(record(count + number, 20));
    await spool.commit();
    count += 50;
  }
  assert.ok(Math.abs(count - spool.limitBytes / 4096) < 100, `${count} records`);
});

test("an account's name may be long, and one that is too long is an error", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage);
  const account = "ü".repeat(32_000);
  spool.append({ ...record(1), account });
  await spool.commit();
  assert.throws(() => spool.append({ ...record(2), account: "x".repeat(65_536) }), { name: "SpoolError" });
  const [found] = open(storage.restarted("killed")).recovered();
  assert.equal(found?.account, account);
});

test("a record that the disk does not give back is tried again, and at last counts as damaged", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const log = new RecordingLogger();
  const spool = open(storage, log);
  const [bad, good] = [spool.append(record(1)), spool.append(record(2))];
  await spool.commit();
  let failures = 0;
  storage.fail = (operation) => operation === "read" ? (failures++, systemError("EIO")) : undefined;
  assert.throws(() => spool.read(good), { name: "SpoolError", kind: "failed", code: "EIO" });
  while (failures < 10) assert.throws(() => spool.read(bad), { code: "EIO" });
  assert.equal(spool.read(bad), undefined);
  storage.fail = () => undefined;
  assert.equal(spool.count, 1);
  assert.deepEqual(spool.read(good), record(2).bytes);
});

test("of a record that is removed in part the rest is there after a restart", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const first = open(storage);
  const bytes = record(1, 30_000).bytes;
  const [partly, removed, wanted] = [50, 50, 50].map((spans) => first.append({ ...record(1), spans, bytes }));
  await first.commit();
  first.removeSpans(partly as number, 3);
  first.removeSpans(partly as number, 17);
  first.removeSpans(removed as number, 20);
  first.remove([removed as number]);
  first.removeSpans(removed as number, 30);
  await first.close();

  const killed = storage.restarted("killed");
  const second = open(killed);
  assert.deepEqual([...second.recovered()].map(({ id, spans, removedSpans }) => [id, spans, removedSpans]), [
    [partly, 33, 17],
    [wanted, 50, 0],
  ]);
  assert.deepEqual(second.read(partly as number), bytes);
  second.removeSpans(partly as number, 49);
  assert.equal(second.count, 2);
  assert.deepEqual([...open(killed.restarted("killed")).recovered()].map(({ spans }) => spans), [1, 50]);
});

test("what a killed process had only in its journal is in the spool from the next start on", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const first = open(storage);
  first.append(record(1));
  await first.commit();
  const { account, kind, spans, bytes } = record(2);
  first.journal.begin({ account, kind }).note(unwritten(bytes), spans);
  await Promise.resolve();

  // Killed again before it could commit anything.
  const second = storage.restarted("killed");
  second.fail = (operation) => operation === "write" ? systemError("EIO") : undefined;
  assert.deepEqual(recoveredNumbers(open(second)), [1, 2]);
  await new Promise((resolve) => setImmediate(resolve));

  const third = second.restarted("killed");
  const spool = open(third);
  assert.deepEqual(recoveredNumbers(spool), [1, 2]);
  await spool.commit();
  assert.deepEqual(third.list().filter((name) => name.endsWith(".journal")), []);
  await spool.close();
  assert.deepEqual(recoveredNumbers(open(third.restarted("killed"))), [1, 2]);
});
