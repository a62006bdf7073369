import assert from "node:assert/strict";
import { test } from "node:test";
import { SPOOL_MIN_BYTES } from "../../../../src/pipeline/settings.ts";
import { Spool } from "../../../../src/queue/spool/spool.ts";
import { SpoolError } from "../../../../src/queue/spool/spool-error.ts";
import { Random } from "../../../decode/support/random.ts";
import { RecordingLogger } from "../../../support/recording-logger.ts";
import { SimulatedStorage } from "./simulated-storage.ts";
import { Model, recover, useSpool } from "./workload.ts";

/** Lives of a spool one after the other, each of which ends at some operation or, in between, goes on to its end. */
const LIVES = 12;
const STEPS = 25;

function open(storage: SimulatedStorage, log = new RecordingLogger()): Spool {
  return Spool.open({ storage, maxBytes: SPOOL_MIN_BYTES, log });
}

async function live(
  storage: SimulatedStorage,
  model: Model,
  random: Random,
): Promise<{ again: number[]; log: RecordingLogger }> {
  const log = new RecordingLogger();
  const spool = open(storage, log);
  const recovered = recover(spool, model);
  storage.stopAt = storage.operations + random.below(400);
  await useSpool({ spool, storage, model, random }, STEPS);
  return { ...recovered, log };
}

/** Starts a spool that ends while it does so. */
async function startInVain(storage: SimulatedStorage, random: Random): Promise<SimulatedStorage> {
  const whole = storage.restarted("killed");
  await open(whole).close();
  storage.stopAt = random.below(whole.operations);
  try {
    open(storage);
  } catch (error) {
    assert.ok(error instanceof SpoolError, String(error));
  }
  return storage;
}

/** A spool that ends in one of two ways again and again, at operations and with losses that the seeds decide. */
export function testCrashes(how: "killed" | "without power", seeds: number): void {
  test(`${how} at any operation, a spool has what it had committed`, { timeout: 120_000 }, async () => {
    let [sentAgain, committed] = [0, 0];
    for (let seed = 1; seed <= seeds; seed++) {
      const random = new Random(seed);
      const model = new Model();
      let storage = new SimulatedStorage(random);
      for (let life = 0; life < LIVES; life++) {
        const { again, log } = await live(storage, model, random);
        sentAgain += again.length;
        committed += model.committed.size;
        // A process that ends damages nothing. Nor does a power loss, but what is left of a commit may look like that.
        if (how === "killed") assert.deepEqual(log.find("damaged"), [], `seed ${seed}, life ${life}`);
        storage = storage.restarted(how);
        if (random.oneIn(3)) storage = (await startInVain(storage, random)).restarted(how);
      }
      recover(open(storage), model);
    }
    assert.ok(committed > 100 * seeds, `${committed} records`);
    if (how === "killed") assert.equal(sentAgain, 0);
  });
}
