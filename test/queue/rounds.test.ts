import assert from "node:assert/strict";
import { test } from "node:test";
import { Chunk } from "../../src/pipeline/destination.ts";
import { AccountQueue, QueuedChunk } from "../../src/queue/account-queue.ts";
import { Replay } from "../../src/queue/replay.ts";
import { Rounds } from "../../src/queue/rounds.ts";

const KIB = 1024;

/** Accounts by name, and their turns. */
class Table {
  readonly accounts = new Map<string, AccountQueue>();
  readonly left: string[] = [];
  isLoadable: (chunk: QueuedChunk) => boolean = () => true;
  readonly rounds = new Rounds((chunk) => this.isLoadable(chunk), ({ key }) => this.left.push(key));

  account(key: string): AccountQueue {
    let account = this.accounts.get(key);
    if (account === undefined) this.accounts.set(key, account = new AccountQueue(key, "guest"));
    return account;
  }

  push(key: string, bytes: number, spans = 1, replay?: Replay): QueuedChunk {
    const account = this.account(key);
    const chunk = new Chunk({ account: key, kind: "guest" }, new Uint8Array(bytes), spans);
    const queued = new QueuedChunk(account, spans, bytes, { chunk, ...(replay && { replay }) });
    replay?.found(spans);
    account.push(queued, false);
    this.rounds.enter(account);
    return queued;
  }

  /** How many spans each account has in the next request. */
  take(maxBytes: number, maxSpans = 1_000_000): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const chunk of this.rounds.take({ maxBytes, maxSpans })) {
      chunk.take();
      counts[chunk.account.key] = (counts[chunk.account.key] ?? 0) + chunk.spans;
    }
    return counts;
  }
}

test("one account's chunks go in order, as many as fit", () => {
  const table = new Table();
  for (let i = 0; i < 5; i++) table.push("a", 400 * KIB);
  assert.deepEqual(table.take(1024 * KIB), { a: 2 });
  assert.deepEqual(table.take(1024 * KIB), { a: 2 });
  assert.deepEqual(table.take(1024 * KIB), { a: 1 });
  assert.deepEqual(table.take(1024 * KIB), {});
  assert.deepEqual(table.left, ["a"]);
});

test("a chunk that is larger than a request goes alone", () => {
  const table = new Table();
  table.push("a", 3000 * KIB);
  table.push("a", 1);
  assert.deepEqual(table.take(1024 * KIB), { a: 1 });
  assert.deepEqual(table.take(1024 * KIB), { a: 1 });
});

test("small chunks go ahead of large ones that came earlier", () => {
  const table = new Table();
  for (let i = 0; i < 10; i++) table.push("flood", 1000 * KIB);
  for (let i = 0; i < 20; i++) table.push(`guest-${i}`, 2 * KIB);
  const first = table.take(1024 * KIB);
  assert.equal(Object.keys(first).length, 20);
  assert.equal(first["flood"], undefined);
});

test("accounts that always have chunks send the same number of bytes, whatever their sizes", () => {
  const table = new Table();
  const sizes: Record<string, number> = { a: 1000 * KIB, b: 10 * KIB, c: 99 * KIB, d: 700 * KIB };
  for (const [key, size] of Object.entries(sizes)) {
    for (let bytes = 0; bytes < 40_000 * KIB; bytes += size) table.push(key, size);
  }
  const sent: Record<string, number> = { a: 0, b: 0, c: 0, d: 0 };
  for (let i = 0; i < 40; i++) {
    for (const [key, chunks] of Object.entries(table.take(1024 * KIB))) {
      sent[key] = (sent[key] as number) + chunks * (sizes[key] as number);
    }
  }
  const least = Math.min(...Object.values(sent));
  assert.ok(least > 0);
  // Never further apart than the largest chunk and what a request takes.
  for (const bytes of Object.values(sent)) assert.ok(bytes - least <= 2048 * KIB, JSON.stringify(sent));
});

test("a request has at most so many spans, and nobody loses its turn for that", () => {
  const table = new Table();
  for (let i = 0; i < 4; i++) {
    table.push("a", KIB, 60);
    table.push("b", KIB, 60);
  }
  assert.deepEqual(table.take(1024 * KIB, 128), { a: 120 });
  assert.deepEqual(table.take(1024 * KIB, 128), { a: 120 });
  assert.deepEqual(table.take(1024 * KIB, 128), { b: 120 });
});

test("with ten thousand accounts a request still takes each in turn", () => {
  const table = new Table();
  for (let i = 0; i < 10_000; i++) table.push(`guest-${i}`, 100);
  for (let i = 0; i < 10_000; i++) table.push(`guest-${i}`, 100);
  let requests = 0;
  const seen = new Map<string, number>();
  for (let counts = table.take(64 * KIB); Object.keys(counts).length > 0; counts = table.take(64 * KIB)) {
    requests++;
    for (const [key, chunks] of Object.entries(counts)) seen.set(key, (seen.get(key) ?? 0) + chunks);
  }
  assert.equal(seen.size, 10_000);
  assert.ok([...seen.values()].every((chunks) => chunks === 2));
  assert.equal(requests, Math.ceil(20_000 / Math.floor(64 * KIB / 100)));
});

test("an account in quarantine has no turns, until it is let in again", () => {
  const table = new Table();
  table.push("a", 10);
  table.push("b", 10);
  table.account("a").isQuarantined = true;
  table.push("a", 10);
  assert.deepEqual(table.take(1024 * KIB), { b: 1 });
  assert.equal(table.rounds.takeOf(table.account("a"), { maxBytes: 15, maxSpans: 10 }).length, 1);
  table.account("a").isQuarantined = false;
  table.rounds.enter(table.account("a"));
  assert.deepEqual(table.take(1024 * KIB), { a: 1 });
});

test("a chunk that cannot be loaded now holds up its account alone, and one that was dropped nobody", () => {
  const table = new Table();
  const [stuck, dropped] = [table.push("a", 10), table.push("b", 10)];
  table.push("b", 10);
  table.push("c", 10);
  table.isLoadable = (chunk) => {
    if (chunk === dropped) {
      chunk.drop();
      chunk.account.dropped();
    }
    return chunk !== stuck && chunk !== dropped;
  };
  assert.deepEqual(table.take(1024 * KIB), {});
  assert.deepEqual(table.take(1024 * KIB), { b: 1, c: 1 });
  table.isLoadable = () => true;
  assert.deepEqual(table.take(1024 * KIB), { a: 1 });
});

test("of a replay only a small part is taken at once, and other accounts do not wait for it", () => {
  const table = new Table();
  const replay = new Replay();
  // With sizes that need different numbers of turns.
  for (const [i, key] of ["a", "b", "c", "d"].entries()) {
    for (let n = 0; n < 64; n++) table.push(key, (i * 60 + 10) * KIB, 10, replay);
  }
  table.push("new", 1 * KIB);
  const taken = table.rounds.take({ maxBytes: 4096 * KIB, maxSpans: 10_000 });
  assert.equal(taken.filter(({ account }) => account.key === "new").length, 1);
  // A hundred-and-fiftieth of 2,560 spans.
  assert.equal(taken.reduce((spans, chunk) => spans + (chunk.origin.replay === undefined ? 0 : chunk.spans), 0), 10);
  assert.deepEqual(table.take(4096 * KIB), {});
  for (const chunk of taken) {
    chunk.take();
    chunk.settle(chunk.spans);
  }
  assert.equal(Object.values(table.take(4096 * KIB)).reduce((sum, spans) => sum + spans), 10);
});
