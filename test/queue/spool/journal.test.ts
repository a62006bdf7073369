import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import type { UnwrittenBytes } from "../../../src/base/unwritten-bytes.ts";
import { Journal } from "../../../src/queue/spool/journal.ts";
import { Random } from "../../decode/support/random.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { unwritten } from "../../support/unwritten.ts";
import { SimulatedStorage, systemError } from "./support/simulated-storage.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const bytes = (value: string): UnwrittenBytes => unwritten(new TextEncoder().encode(value));
const GUEST = { kind: "guest", account: "hybrid:/run/a" } as const;
const RUNTIME = { kind: "runtime", account: "ä" } as const;

/** What is written is there once the callback that it came in has ended. */
const written = (): Promise<void> => Promise.resolve();

function open(storage: SimulatedStorage, fileBytes?: number) {
  const log = new RecordingLogger();
  const clock = { now: 0 };
  const options = { storage, log, now: () => clock.now, ...(fileBytes !== undefined && { fileBytes }) };
  return { journal: new Journal(options), log, clock };
}

/** What the next process finds if this one is killed now. */
function found(storage: SimulatedStorage): string[] {
  const { journal } = open(storage.restarted("killed"));
  return journal.recovered.map((record) => `${record.kind} ${record.account} ${record.spans} ${text(record.bytes)}`);
}

test("what was noted is found after a kill, by chunk, and what is safe is not", async () => {
  const storage = new SimulatedStorage(new Random(1));
  const { journal, log } = open(storage);
  const [first, second, third] = [journal.begin(GUEST), journal.begin(RUNTIME), journal.begin(GUEST)];
  first?.note(bytes("one"), 1);
  second?.note(bytes("two"), 2);
  first?.note(bytes(" more"), 3);
  third?.note(bytes("three"), 4);
  await written();
  assert.deepEqual(found(storage), [
    "guest hybrid:/run/a 4 one more",
    "runtime ä 2 two",
    "guest hybrid:/run/a 4 three",
  ]);
  second?.safe();
  second?.safe();
  await written();
  assert.deepEqual(found(storage), ["guest hybrid:/run/a 4 one more", "guest hybrid:/run/a 4 three"]);
  first?.safe();
  third?.safe();
  await written();
  assert.deepEqual(found(storage), []);
  const fourth = journal.begin(GUEST);
  fourth.note(bytes("four"), 1);
  await written();
  assert.deepEqual(found(storage), ["guest hybrid:/run/a 1 four"]);
  journal.close();
  assert.deepEqual([storage.list(), log.records], [[], []]);
});

test("what was recovered stays until it is safe, also through further kills", async () => {
  const storage = new SimulatedStorage(new Random(2));
  open(storage).journal.begin(GUEST).note(bytes("x"), 1);
  await written();
  const second = storage.restarted("killed");
  const { journal } = open(second);
  journal.begin(GUEST).note(bytes("y"), 2);
  await written();
  assert.deepEqual(found(second), ["guest hybrid:/run/a 1 x", "guest hybrid:/run/a 2 y"]);
  journal.forgetRecovered();
  assert.deepEqual(found(second), ["guest hybrid:/run/a 2 y"]);
});

test("two files are used in turns while chunks become safe, more while they do not, and no more than 16", async () => {
  const storage = new SimulatedStorage(new Random(3));
  const { journal } = open(storage, 4096);
  let expected: string[] = [];
  let before = journal.begin(GUEST);
  for (let i = 0; i < 500; i++) {
    const entry = journal.begin(GUEST);
    entry.note(bytes(`${i}`.repeat(100)), 1);
    await written();
    before.safe();
    await written();
    expected = [`guest hybrid:/run/a 1 ${`${i}`.repeat(100)}`];
    assert.deepEqual(found(storage), expected);
    before = entry;
  }
  assert.equal(storage.list().length, 2);
  // Nothing becomes safe any more: what finds no room is not noted, and nothing that was is lost.
  const stuck = range(1, 400).map(() => journal.begin(GUEST));
  for (const entry of stuck) entry.note(bytes("x".repeat(200)), 1);
  await written();
  const left = found(storage);
  assert.deepEqual(left.slice(0, 1), expected);
  // A record has 32 bytes, the account and the payload, so that 16 are in a file, whose header has 16 bytes.
  assert.ok(left.length > 15 * 16 && left.length <= 16 * 16, `${left.length}`);
  assert.equal(storage.list().length, 16);
  assert.ok(storage.usedBytes <= 16 * 4096);
  for (const entry of [before, ...stuck]) entry.safe();
  await written();
  const last = journal.begin(GUEST);
  last.note(bytes("last"), 1);
  await written();
  assert.ok(found(storage).includes("guest hybrid:/run/a 1 last"));
});

test("a payload that is in an array is written as one that is not, whatever its size", async () => {
  for (const length of [0, 5, 700_000, 3_000_000]) {
    const payload = new Uint8Array(length).map((_, index) => 32 + index % 64);
    const files = [payload, unwritten(payload)].map((form) => {
      const storage = new SimulatedStorage(new Random(8));
      const { journal } = open(storage);
      journal.begin(GUEST).note(form, 7);
      journal.flush();
      return storage;
    });
    for (const storage of files) assert.deepEqual(found(storage), [`guest hybrid:/run/a 7 ${text(payload)}`]);
    assert.equal(payload.length, length);
  }
});

test("a kill between a large record's head and its payload costs that record alone", async () => {
  const storage = new SimulatedStorage(new Random(9));
  const { journal } = open(storage);
  journal.begin(GUEST).note(bytes("before"), 1);
  let writes = 0;
  storage.fail = (operation) => operation === "write" && ++writes === 3 ? systemError("ENOSPC") : undefined;
  // What is before it, its head, its payload.
  journal.begin(GUEST).note(new Uint8Array(2_000_000), 1);
  assert.equal(writes, 3);
  assert.deepEqual(found(storage), ["guest hybrid:/run/a 1 before"]);
});

test("payloads larger than what is collected, and than a file, come whole or not at all", async () => {
  const storage = new SimulatedStorage(new Random(4));
  const { journal } = open(storage, 2 * 1024 * 1024);
  const large = "l".repeat(700_000);
  journal.begin(GUEST).note(bytes("s"), 1);
  journal.begin(GUEST).note(bytes(large), 2);
  journal.begin(GUEST).note(bytes("t"), 3);
  journal.begin(GUEST).note(unwritten(new Uint8Array(3 * 1024 * 1024)), 4);
  await written();
  const expected = ["guest hybrid:/run/a 1 s", `guest hybrid:/run/a 2 ${large}`, "guest hybrid:/run/a 3 t"];
  assert.deepEqual(found(storage), expected);
});

test("a file that is cut anywhere, or in which a bit flips, gives what stands before, and nothing else", async () => {
  const storage = new SimulatedStorage(new Random(5));
  const { journal } = open(storage);
  const all = ["guest hybrid:/run/a 1 first", "guest hybrid:/run/a 2 second", "guest hybrid:/run/a 3 third"];
  journal.begin(GUEST).note(bytes("first"), 1);
  journal.begin(GUEST).note(bytes("second"), 2);
  journal.begin(GUEST).note(bytes("third"), 3);
  await written();
  const [name = ""] = storage.list();
  const whole = storage.contents(name);
  const damaged = (change: (file: Uint8Array) => Uint8Array): string[] => {
    const copy = storage.restarted("killed");
    copy.alter(name, change);
    return found(copy);
  };
  for (let length = 0; length < whole.length; length++) {
    const left = damaged((file) => file.subarray(0, length));
    assert.deepEqual(left, all.slice(0, left.length));
    assert.ok(left.length < all.length);
  }
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const left = damaged((file) => {
      file[bit >> 3] = (file[bit >> 3] as number) ^ (1 << (bit & 7));
      return file;
    });
    assert.deepEqual(left, all.slice(0, left.length), `bit ${bit}`);
    assert.ok(left.length < all.length, `bit ${bit}`);
  }
});

test("a disk that fails is logged once and tried again; what was noted before is not lost by it", async () => {
  const storage = new SimulatedStorage(new Random(6));
  const { journal, log, clock } = open(storage);
  journal.begin(GUEST).note(bytes("before"), 1);
  await written();
  storage.fail = (operation) => operation === "write" ? systemError("ENOSPC") : undefined;
  for (let i = 0; i < 3; i++) {
    journal.begin(GUEST).note(bytes("not noted"), 1);
    await written();
    clock.now += 1000;
  }
  storage.fail = () => undefined;
  assert.deepEqual(found(storage), ["guest hybrid:/run/a 1 before"]);
  journal.begin(GUEST).note(bytes("after"), 1);
  await written();
  assert.deepEqual(found(storage), ["guest hybrid:/run/a 1 before", "guest hybrid:/run/a 1 after"]);
  assert.deepEqual(log.records.map(({ level }) => level), ["warn", "info"]);
});
