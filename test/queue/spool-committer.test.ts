import assert from "node:assert/strict";
import { test } from "node:test";
import { Chunk } from "../../src/pipeline/destination.ts";
import { SPOOL_MIN_BYTES } from "../../src/pipeline/settings.ts";
import { AccountQueue, QueuedChunk } from "../../src/queue/account-queue.ts";
import { SpoolCommitter } from "../../src/queue/spool-committer.ts";
import { Spool } from "../../src/queue/spool/spool.ts";
import { Random } from "../decode/support/random.ts";
import { range } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { until } from "../support/until.ts";
import { payload, recoveredNumbers } from "./spool/support/records.ts";
import { SimulatedStorage } from "./spool/support/simulated-storage.ts";

const NEVER = 1_000_000;
/** Large enough for its memory to be given back. */
const CHUNK_BYTES = 10_000;

function setUp({ commitDelayMs = NEVER, isTaking = true } = {}) {
  const storage = new SimulatedStorage(new Random(1));
  const log = new RecordingLogger();
  const store = Spool.open({ storage, maxBytes: SPOOL_MIN_BYTES, log });
  const destination = { isTaking };
  const committer = new SpoolCommitter({
    store,
    log,
    commitDelayMs,
    makeRoom: () => false,
    isTaking: () => destination.isTaking,
    committed: () => {},
    onChange: () => {},
  });
  const add = (number: number): QueuedChunk => {
    const account = new AccountQueue(`account-${number % 5}`, (["guest", "runtime", "host"] as const)[number % 3]!);
    const chunk = new Chunk({ account: account.key, kind: account.kind }, payload(number, CHUNK_BYTES), number % 7 + 1);
    const queued = new QueuedChunk(account, chunk.spans, chunk.bytes.length, { chunk });
    committer.add(queued);
    return queued;
  };
  return { storage, store, committer, destination, add };
}

/** The destination has taken a chunk, which lets go of its memory. */
function deliver(committer: SpoolCommitter, chunk: QueuedChunk): void {
  const bytes = chunk.bytes as Uint8Array;
  chunk.take();
  chunk.settle(chunk.spans);
  committer.remove(chunk);
  chunk.unload();
  assert.equal(bytes.length, 0);
}

/** What the next process finds if this one is killed now. */
function foundAfterKill(storage: SimulatedStorage): number[] {
  const options = { storage: storage.restarted("killed"), maxBytes: SPOOL_MIN_BYTES, log: new RecordingLogger() };
  return recoveredNumbers(Spool.open(options));
}

test("what is delivered before it is due is never written", async () => {
  const { storage, store, committer, add } = setUp();
  for (const number of range(1, 20)) deliver(committer, add(number));
  await committer.settled();
  assert.equal(store.count, 0);
  assert.deepEqual(storage.list(), []);
  await committer.close();
  assert.deepEqual(foundAfterKill(storage), []);
});

test("what is not delivered in time is committed, without what was", async () => {
  const { storage, committer, add } = setUp({ commitDelayMs: 5 });
  const [first, second, third] = [add(1), add(2), add(3)];
  deliver(committer, second);
  await until(() => first.isSpooled && third.isSpooled);
  assert.deepEqual(foundAfterKill(storage), [1, 3]);
  const fourth = add(4);
  await until(() => fourth.isSpooled);
  assert.deepEqual(foundAfterKill(storage), [1, 3, 4]);
  await committer.close();
});

test("nothing waits for a destination that takes nothing", async () => {
  const { storage, committer, destination, add } = setUp({ isTaking: false });
  const first = add(1);
  await until(() => first.isSpooled);
  assert.deepEqual(foundAfterKill(storage), [1]);
  destination.isTaking = true;
  const second = add(2);
  await committer.settled();
  assert.equal(second.isSpooled, true);
  await committer.close();
});

test("settled and close do not wait until a chunk is due", async () => {
  const { storage, store, committer, add } = setUp();
  const first = add(1);
  await committer.settled();
  assert.deepEqual([first.isSpooled, store.count], [true, 1]);
  add(2);
  await committer.close();
  assert.deepEqual(foundAfterKill(storage), [1, 2]);
});

test("what is delivered during a commit is not read any more, and the rest is committed whole", async () => {
  for (const turns of range(0, 20)) {
    const { storage, committer, add } = setUp();
    const chunks = range(1, 6).map(add);
    const settled = committer.settled();
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    for (const chunk of [chunks[0], chunks[3]]) deliver(committer, chunk as QueuedChunk);
    await settled;
    assert.deepEqual(foundAfterKill(storage), [2, 3, 5, 6], `after ${turns} turns`);
    await committer.close();
  }
});
