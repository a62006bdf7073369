import assert from "node:assert/strict";
import type { Spool } from "../../../../src/queue/spool/spool.ts";
import { SpoolError } from "../../../../src/queue/spool/spool-error.ts";
import type { Random } from "../../../decode/support/random.ts";
import { numberOf, record } from "./records.ts";
import type { SimulatedStorage } from "./simulated-storage.ts";

/** What must be true of a spool, whatever happened to it. */
export class Model {
  /** IDs of the records that are in the spool, by their numbers. */
  readonly committed = new Map<number, number>();
  readonly appended = new Map<number, { readonly id: number; readonly bytes: Uint8Array }>();
  /** Removed, so that a restart should not bring them back. */
  readonly removed = new Set<number>();
  nextNumber = 1;
  /** How many commits have failed. */
  failures = 0;
}

/** So full a spool of the smallest size may be with records as large as these, and still take others. */
const FULL = 0.7;

/** Sizes of records: mostly small, some of many pages, a few that fill a good part of a segment. */
export function someBytes(random: Random): number {
  if (random.oneIn(20)) return 100_000 + random.below(300_000);
  return 4 + random.below(random.oneIn(3) ? 30_000 : 600);
}

/**
 * Uses a spool for so many steps, or until its storage has stopped: appends, commits, removes, reads. What a failed
 * commit leaves is tried again.
 */
export async function useSpool(
  { spool, storage, model, random }: {
    readonly spool: Spool;
    readonly storage: SimulatedStorage;
    readonly model: Model;
    readonly random: Random;
  },
  steps: number,
): Promise<void> {
  for (let step = 0; step < steps && !storage.hasStopped; step++) {
    for (let count = 1 + random.below(4); count > 0 && spool.fill < 1; count--) {
      const number = model.nextNumber++;
      const appended = record(number, someBytes(random));
      model.appended.set(number, { id: spool.append(appended), bytes: appended.bytes });
    }
    const appended = [...model.appended];
    try {
      const committed = spool.commit();
      if (random.oneIn(3)) await withdrawSome(spool, model, random);
      await committed;
      for (const [number, { id }] of appended) if (model.appended.delete(number)) model.committed.set(number, id);
    } catch (error) {
      assert.ok(error instanceof SpoolError, String(error));
      model.failures++;
    }
    if (random.oneIn(3) || spool.fill > FULL) {
      const removed = removeSome(spool, model, random);
      if (!storage.hasStopped) { for (const number of removed) model.removed.add(number); }
    }
    if (random.oneIn(4)) readSome(spool, model, random);
  }
}

/** Removes some records while they are being committed. Their bytes are the caller's again from then on. */
async function withdrawSome(spool: Spool, model: Model, random: Random): Promise<void> {
  for (let turns = random.below(8); turns > 0; turns--) await Promise.resolve();
  for (const [number, { id, bytes }] of [...model.appended]) {
    if (!random.oneIn(4)) continue;
    spool.remove([id]);
    bytes.fill(0xff);
    model.appended.delete(number);
  }
}

/** Removes old records mostly, so that segments become empty; some stay for long. */
function removeSome(spool: Spool, model: Model, random: Random): number[] {
  const count = spool.fill > FULL || random.oneIn(20) ? model.committed.size : 1 + random.below(8);
  const numbers = [...model.committed.keys()].slice(0, count).filter(() => !random.oneIn(10));
  const ids = numbers.map((number) => model.committed.get(number) as number);
  for (const number of numbers) model.committed.delete(number);
  spool.remove(ids);
  return numbers;
}

function readSome(spool: Spool, model: Model, random: Random): void {
  if (model.committed.size === 0) return;
  const [number, id] = random.pick([...model.committed]);
  let bytes: Uint8Array | undefined;
  try {
    bytes = spool.read(id);
  } catch (error) {
    assert.ok(error instanceof SpoolError, String(error));
    return;
  }
  assert.equal(numberOf(bytes as Uint8Array), number);
}

/** What a new process finds. All that had been committed must be there, and nothing that was not appended. */
export function recover(spool: Spool, model: Model): { again: number[] } {
  const found = new Map<number, number>();
  for (const { id } of spool.recovered()) {
    const bytes = spool.read(id);
    if (bytes === undefined) continue;
    const number = numberOf(bytes);
    assert.ok(!found.has(number), `record ${number} is there twice`);
    assert.ok(number < model.nextNumber, `record ${number} was never appended`);
    found.set(number, id);
  }
  for (const number of model.committed.keys()) assert.ok(found.has(number), `record ${number} is gone`);
  const again = [...found.keys()].filter((number) => model.removed.has(number));
  model.committed.clear();
  model.appended.clear();
  for (const [number, id] of found) {
    model.committed.set(number, id);
    model.removed.delete(number);
  }
  return { again };
}
