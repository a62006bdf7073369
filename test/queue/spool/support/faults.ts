import assert from "node:assert/strict";
import { test } from "node:test";
import { SPOOL_MIN_BYTES } from "../../../../src/pipeline/settings.ts";
import { Spool } from "../../../../src/queue/spool/spool.ts";
import { Random } from "../../../decode/support/random.ts";
import { RecordingLogger } from "../../../support/recording-logger.ts";
import { type Operation, SimulatedStorage, systemError } from "./simulated-storage.ts";
import { Model, recover, useSpool } from "./workload.ts";

const STEPS = 150;

function open(storage: SimulatedStorage, log = new RecordingLogger()): Spool {
  return Spool.open({ storage, maxBytes: SPOOL_MIN_BYTES, log });
}

const CHANGES: readonly Operation[] = ["create", "rename", "remove", "write", "sync", "sync directory"];

/** A disk that fails now and then, at operations that the seeds decide. */
export function testFaults(seeds: number): void {
  for (const code of ["ENOSPC", "EIO"]) {
    for (const operation of CHANGES) {
      test(`${code} of any ${operation}: nothing committed is lost, and the spool goes on`, async () => {
        let failures = 0;
        for (let seed = 1; seed <= seeds; seed++) {
          const random = new Random(seed);
          const [storage, model] = [new SimulatedStorage(random), new Model()];
          const spool = open(storage);
          // Each fails once in a while, and from time to time all of them do for long.
          let failingUntil = 0;
          storage.fail = (failed, _, number) => {
            if (random.oneIn(300)) failingUntil = number + random.below(200);
            const fails = failed === operation && (number < failingUntil || random.oneIn(8));
            if (fails) failures++;
            return fails ? systemError(code) : undefined;
          };
          await useSpool({ spool, storage, model, random }, STEPS);
          storage.fail = () => undefined;
          // The disk works again: so does the spool.
          const before = model.failures;
          await useSpool({ spool, storage, model, random }, 20);
          assert.equal(model.failures, before, `seed ${seed}`);
          assert.equal(model.appended.size, 0);
          assert.equal(spool.count, model.committed.size);
          const log = new RecordingLogger();
          recover(open(storage.restarted(random.oneIn(2) ? "killed" : "without power"), log), model);
        }
        assert.ok(failures > 0);
      });
    }
  }
}
