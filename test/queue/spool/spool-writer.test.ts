import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Batch } from "../../../src/queue/batch.ts";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { SpoolError } from "../../../src/queue/spool/spool-error.ts";
import { SpoolWriter } from "../../../src/queue/spool/spool-writer.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const MIB = 1024 * 1024;

function batch(sequence: number): Batch {
  const request = new Uint8Array(800).fill(sequence % 251);
  return { sequence, request, spans: 1, size: request.length, spooled: false, settled: false };
}

test("after a failure one batch is tried first, and when that works the others together", () => {
  using temporary = temporaryDirectory();
  const spool = Spool.open(prepareSpoolDirectory(join(temporary.path, "spool")), 64 * MIB, new RecordingLogger());
  let failing = true;
  const transactions: number[] = [];
  const commit = spool.commit.bind(spool);
  spool.commit = (inserts, deletes) => {
    transactions.push(inserts.length);
    if (failing) throw new SpoolError("failed", "of the test");
    commit(inserts, deletes);
  };
  const committed: number[] = [];
  const log = new RecordingLogger();
  const writer = new SpoolWriter({
    spool,
    log,
    makeRoom: () => false,
    committed: ({ sequence }) => committed.push(sequence),
    onChange: () => {},
  });
  try {
    const all = range(1, 500);
    for (const sequence of all) writer.add(batch(sequence));
    writer.commit();
    // Together, and as that fails the oldest alone.
    assert.deepEqual(transactions.splice(0), [500, 1]);
    assert.deepEqual(committed, []);
    failing = false;
    writer.commit();
    assert.deepEqual(transactions, [1, 499]);
    assert.deepEqual(committed, all);
    assert.equal(spool.count, 500);
    assert.equal(writer.uncommittedBytes, 0);
  } finally {
    writer.close();
    spool.close();
  }
});
