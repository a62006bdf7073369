import assert from "node:assert/strict";
import { test } from "node:test";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { Random } from "../../decode/support/random.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { record, recoveredNumbers } from "./support/records.ts";
import { testFaults } from "./support/faults.ts";
import { SimulatedStorage, systemError } from "./support/simulated-storage.ts";
import { Model, useSpool } from "./support/workload.ts";

function open(storage: SimulatedStorage, log = new RecordingLogger()): Spool {
  return Spool.open({ storage, maxBytes: SPOOL_MIN_BYTES, log });
}

testFaults(12);

test("any operation of a start may fail: either it says so, or all is there; and at the next start it is", async () => {
  const random = new Random(1);
  const [storage, model] = [new SimulatedStorage(random), new Model()];
  await useSpool({ spool: open(storage), storage, model, random }, 100);
  const whole = storage.restarted("killed");
  await open(whole).close();
  assert.ok(whole.operations > 10);
  for (const failing of range(0, whole.operations)) {
    for (const code of ["EIO", "EACCES", "ENOSPC"]) {
      const damaged = storage.restarted("killed");
      damaged.fail = (_, __, number) => number === failing ? systemError(code) : undefined;
      const log = new RecordingLogger();
      let spool: Spool | undefined;
      try {
        spool = open(damaged, log);
      } catch (error) {
        assert.equal((error as Error).name, "SpoolError");
        assert.equal(damaged.isClosed, true);
      }
      damaged.fail = () => undefined;
      if (spool !== undefined && log.records.length === 0) {
        assert.deepEqual(recoveredNumbers(spool), [...model.committed.keys()], `operation ${failing}`);
      }
      await spool?.close();
      const again = recoveredNumbers(open(damaged.restarted("killed")));
      assert.deepEqual(again, [...model.committed.keys()], `operation ${failing}, ${code}`);
    }
  }
});

test("with no free byte on the disk the spool starts, its records can be removed, and it takes new ones", async () => {
  const random = new Random(1);
  let storage = new SimulatedStorage(random);
  const first = open(storage);
  for (const number of range(1, 300)) first.append(record(number, 20_000));
  await first.commit();
  storage.capacity = storage.usedBytes;
  for (const end of range(1, 20)) {
    storage = storage.restarted("killed");
    const log = new RecordingLogger();
    const spool = open(storage, log);
    const ids = [...spool.recovered()].map(({ id }) => id);
    const before = ids.length;
    spool.remove(ids.splice(0, ids.length - 50));
    assert.equal(spool.count, 50);
    for (const number of range(1, 150)) spool.append(record(end * 1000 + number, 20_000));
    await spool.commit();
    assert.equal(spool.count, 200, `start ${end}, ${before} before`);
    if (end % 2 === 0) await spool.close();
    assert.deepEqual(log.records, []);
  }
});

test("a full disk while records come: those that fit are committed, the others are when there is room", async () => {
  const storage = new SimulatedStorage(new Random(1));
  storage.capacity = 300_000;
  const spool = open(storage);
  const ids = range(1, 50).map((number) => spool.append(record(number, 20_000)));
  await assert.rejects(spool.commit(), { name: "SpoolError", kind: "full", code: "ENOSPC" });
  const fitting = spool.count;
  assert.ok(fitting > 5 && fitting < 15, `${fitting} fit`);
  spool.remove(ids.slice(0, fitting));
  await assert.rejects(spool.commit(), { kind: "full" });
  assert.ok(spool.count > 0, "the space of what was removed is used again");
  storage.capacity = Infinity;
  await spool.commit();
  assert.equal(spool.count, 50 - fitting);
  await spool.close();
  assert.deepEqual(recoveredNumbers(open(storage.restarted("killed"))), range(fitting + 1, 50));
});
