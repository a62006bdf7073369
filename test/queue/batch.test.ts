import assert from "node:assert/strict";
import { test } from "node:test";
import { type Batch, WaitingBatches } from "../../src/queue/batch.ts";
import { range } from "../support/numbers.ts";

function batch(sequence: number): Batch {
  return { sequence, size: 1, spans: 1, request: undefined, spooled: false, settled: false };
}

function sequences(batches: WaitingBatches): number[] {
  return [...batches].map(({ sequence }) => sequence);
}

test("batches come out in the order they went in", () => {
  const batches = new WaitingBatches();
  for (const sequence of range(1, 100)) batches.push(batch(sequence));
  assert.equal(batches.length, 100);
  const out: number[] = [];
  for (let i = 0; i < 60; i++) out.push(batches.shift()?.sequence as number);
  for (const sequence of range(101, 120)) batches.push(batch(sequence));
  assert.deepEqual(out, range(1, 60));
  assert.deepEqual(sequences(batches), range(61, 120));
  assert.equal(batches.first()?.sequence, 61);
  assert.equal(batches.length, 60);
  while (batches.length > 0) batches.shift();
  assert.equal(batches.shift(), undefined);
  assert.equal(batches.first(), undefined);
});

test("a batch that is put back is at its place again", () => {
  const batches = new WaitingBatches();
  for (const sequence of range(1, 6)) batches.push(batch(sequence));
  const taken = [batches.shift(), batches.shift(), batches.shift(), batches.shift()] as Batch[];
  for (const index of [2, 0, 3, 1]) batches.putBack(taken[index] as Batch);
  assert.deepEqual(sequences(batches), range(1, 6));
  const lone = new WaitingBatches();
  lone.putBack(batch(7));
  assert.deepEqual(sequences(lone), [7]);
});

test("a batch is taken out wherever it is, and one that is not there changes nothing", () => {
  const batches = new WaitingBatches();
  const all = range(1, 9).map(batch);
  for (const one of all) batches.push(one);
  batches.shift();
  for (const index of [1, 4, 8]) batches.remove(all[index] as Batch);
  batches.remove(all[0] as Batch);
  batches.remove(batch(6));
  batches.remove(batch(99));
  assert.deepEqual(sequences(batches), [3, 4, 6, 7, 8]);
});
