import assert from "node:assert/strict";
import { test } from "node:test";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { dataStart, END_RECORD_BYTES, SLOTS_AT } from "../../../src/queue/spool/segment-format.ts";
import { Random } from "../../decode/support/random.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { numberOf, payload, record } from "./support/records.ts";
import { SimulatedStorage } from "./support/simulated-storage.ts";

const CASES = 400;
const RECORDS = 60;
const SEGMENT = "00000001.segment";
/** Where the records of a segment of 1 MiB begin. */
const DATA = dataStart(256);

function open(storage: SimulatedStorage, log = new RecordingLogger()): Spool {
  return Spool.open({ storage, maxBytes: SPOOL_MIN_BYTES, log });
}

/** A spool with one segment: some records large, most small, committed a few at a time, some of them removed. */
async function leaveSegment(end: "close" | "kill"): Promise<{ storage: SimulatedStorage; left: number[] }> {
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage);
  const ids: number[] = [];
  for (const number of range(1, RECORDS)) {
    ids.push(spool.append(record(number, number % 9 === 0 ? 20_000 : 20 + number)));
    if (number % 4 === 0) await spool.commit();
  }
  spool.remove(ids.splice(4, 6));
  if (end === "close") await spool.close();
  return { storage, left: [...range(1, 4), ...range(11, RECORDS)] };
}

/** What can be read of a spool, and how often it said that something is wrong. */
function inspect(
  storage: SimulatedStorage,
): { found: Set<number>; words: string[]; spool: Spool; ids: number[] } {
  const log = new RecordingLogger();
  const spool = open(storage, log);
  const found = new Set<number>();
  const words = log.records.map(({ message }) => message);
  const ids: number[] = [];
  for (const { id, size, spans } of spool.recovered()) {
    ids.push(id);
    const bytes = spool.read(id);
    if (bytes === undefined) words.push("read");
    else {
      const number = numberOf(bytes);
      assert.equal(bytes.length, size);
      assert.equal(spans, record(number).spans);
      found.add(number);
    }
  }
  return { found, words, spool, ids };
}

for (const end of ["close", "kill"] as const) {
  test(`a segment cut off anywhere after a ${end}: what is left is read, and a loss is told`, async () => {
    const { storage, left } = await leaveSegment(end);
    const whole = storage.contents(SEGMENT);
    const random = new Random(2);
    let before = 0;
    const places = random.many(CASES, () => random.below(whole.length)).sort((a, b) => a - b);
    for (const place of [...range(0, 3), ...range(DATA - 2, DATA + 60), ...places.filter((each) => each > DATA + 60)]) {
      const cut = storage.restarted("killed");
      cut.alter(SEGMENT, (bytes) => bytes.subarray(0, place));
      const { found, words } = inspect(cut);
      assert.ok(left.every((number) => found.has(number)) || words.length > 0, `${found.size} at ${place}`);
      assert.ok(found.size >= before, `at ${place} ${found.size}, before ${before}`);
      before = found.size;
    }
    assert.ok(before >= left.length - 6, `${before} of ${left.length}`);
  });

  test(`bits flipped anywhere after a ${end}: what comes out went in, and a loss is told and set aside`, async () => {
    const { storage, left } = await leaveSegment(end);
    const length = storage.contents(SEGMENT).length;
    const random = new Random(3);
    const places = [
      // The header and its copy.
      ...range(0, 80),
      ...range(2048, 2048 + 80),
      // The slots of the records.
      ...range(SLOTS_AT, SLOTS_AT + RECORDS * 4),
      // The headers of records, and all else.
      ...range(DATA, DATA + 100),
      ...random.many(CASES, () => random.below(length)),
    ];
    let harmless = 0;
    for (const place of places) {
      const flipped = storage.restarted("killed");
      flipped.alter(SEGMENT, (bytes) => {
        bytes[place] = (bytes[place] as number) ^ (1 << random.below(8));
        return bytes;
      });
      const damaged = flipped.contents(SEGMENT);
      const { found, words, spool, ids } = inspect(flipped);
      const lost = left.filter((number) => !found.has(number));
      if (words.length === 0) {
        harmless++;
        assert.deepEqual(lost, [], `byte ${place}`);
      }
      assert.ok(lost.length <= 1, `byte ${place}: ${lost.join()} are lost`);
      spool.remove(ids);
      await spool.close();
      const aside = flipped.list().filter((name) => name.endsWith(".damaged"));
      assert.equal(aside.length, lost.length > 0 ? 1 : aside.length, `byte ${place}: ${words.join()}`);
      for (const name of aside) {
        // The records are as they were found. At the end there may be an end record that was missing.
        const kept = flipped.contents(name).subarray(DATA, -END_RECORD_BYTES);
        assert.deepEqual(kept, damaged.subarray(DATA, -END_RECORD_BYTES), `byte ${place}`);
      }
    }
    assert.ok(harmless > 0 && harmless < places.length, `${harmless} of ${places.length}`);
  });
}

test("a segment without a sound header is set aside as it is, and the others are read", async () => {
  const { storage, left } = await leaveSegment("kill");
  const junk = new Uint8Array(100_000).fill(0x41);
  storage.alter("00000007.segment", () => junk);
  storage.alter("00000008.segment", () => new Uint8Array(0));
  const { found, words } = inspect(storage);
  assert.deepEqual([...found], left);
  assert.equal(words.filter((word) => word.includes("nothing in it can be read")).length, 2);
  const aside = storage.list().filter((name) => name.endsWith(".damaged"));
  assert.deepEqual(aside.map((name) => storage.contents(name).length).sort(), [0, junk.length]);
});

test("something in a record that looks like another record is not taken for one", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const spool = open(storage);
  const victim = spool.append(record(1, 5000));
  await spool.commit();
  // A guest that knows the format sends a whole segment with records as one of its attributes.
  const segment = storage.contents(SEGMENT);
  spool.append({ ...record(2), bytes: segment });
  await spool.commit();
  await spool.close();
  const file = storage.contents(SEGMENT);
  assert.ok(victim > 0 && file.length > segment.length * 2);
  // The header of the guest's record is damaged, so that the next one is searched for.
  const at = DATA + Math.ceil((48 + 9 + 5000) / 8) * 8;
  storage.alter(SEGMENT, (bytes) => {
    bytes[at + 20] = (bytes[at + 20] as number) ^ 1;
    return bytes;
  });
  const { spool: again, words } = inspect(storage);
  assert.ok(words.length > 0);
  assert.equal(again.count, 1);
});

test("a segment of another version is left alone, and named", async () => {
  const { storage } = await leaveSegment("close");
  const { crc32 } = await import("node:zlib");
  storage.alter(SEGMENT, (bytes) => {
    for (const copy of [0, 2048]) {
      const view = new DataView(bytes.buffer, bytes.byteOffset + copy);
      view.setUint32(12, 99, true);
      view.setUint32(8, crc32(bytes.subarray(copy + 12, copy + 56)), true);
    }
    return bytes;
  });
  const before = storage.contents(SEGMENT);
  assert.throws(() => open(storage), {
    name: "SpoolError",
    kind: "failed",
    message: /00000001\.segment was written by another version of the forwarder \(its format is 99, this one's 1\)/,
  });
  assert.deepEqual(storage.list(), [SEGMENT]);
  assert.deepEqual(storage.contents(SEGMENT), before);
  assert.ok(storage.isClosed);
});

test("random files in the spool's directory cost nothing but themselves", async () => {
  const random = new Random(5);
  for (let round = 0; round < CASES; round++) {
    const storage = new SimulatedStorage(random);
    const spool = open(storage);
    spool.append(record(1));
    await spool.commit();
    const good = storage.contents(SEGMENT);
    for (const number of range(2, 4)) {
      storage.alter(`0000000${number}.segment`, () => {
        const bytes = random.oneIn(2) ? good.slice(0, random.below(good.length)) : new Uint8Array(random.below(40_000));
        for (let i = random.below(20); i > 0 && bytes.length > 0; i--) {
          bytes[random.below(bytes.length)] = random.below(256);
        }
        return bytes;
      });
    }
    const { found } = inspect(storage);
    assert.ok(found.has(1), `round ${round}`);
    for (const number of found) assert.deepEqual(payload(number), payload(1));
  }
});
