import assert from "node:assert/strict";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { SpoolError } from "../../../src/queue/spool/spool-error.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { startChild } from "../../support/child.ts";

const MIB = 1024 * 1024;
const MAX_BYTES = SPOOL_MIN_BYTES;

/** A spool's directory of its own for a test. */
async function withSpool(
  run: (directory: string, log: RecordingLogger) => void | Promise<void>,
): Promise<void> {
  using temporary = temporaryDirectory();
  await run(prepareSpoolDirectory(join(temporary.path, "spool")), new RecordingLogger());
}

function request(sequence: number, bytes = 20_000): Uint8Array {
  return new Uint8Array(bytes).fill(sequence % 251);
}

function put(spool: Spool, ...sequences: number[]): void {
  spool.commit(
    sequences.map((sequence) => ({
      sequence,
      spans: sequence % 7 + 1,
      request: request(sequence),
    })),
    [],
  );
}

/** What can still be read, by number. */
function contents(spool: Spool): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (const { sequence } of spool.backlog) {
    const read = spool.read(sequence);
    if (read !== undefined) found.set(sequence, read);
  }
  return found;
}

function bytesOnDisk(directory: string): number {
  const names = fs.readdirSync(directory);
  return names.reduce((sum, name) => sum + fs.statSync(join(directory, name)).size, 0);
}

const CHILD = new URL("./spool-child.ts", import.meta.url);

test("batches are there again after a restart, oldest first, whole and in number", () =>
  withSpool((directory, log) => {
    const first = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual(first.backlog, []);
    assert.equal(first.nextSequence, 1);
    put(first, 3, 1, 2);
    put(first, 4, 5);
    first.commit([], [2, 4]);
    assert.equal(first.count, 3);
    first.close();
    const second = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual(
      second.backlog,
      [1, 3, 5].map((sequence) => ({
        sequence,
        spans: sequence % 7 + 1,
        size: 20_000,
      })),
    );
    assert.equal(second.nextSequence, 6);
    assert.equal(second.count, 3);
    for (const sequence of [1, 3, 5]) assert.deepEqual(second.read(sequence), request(sequence));
    second.close();
    assert.deepEqual(log.records, []);
    assert.deepEqual(fs.readdirSync(directory), ["spool.db"]);
    assert.equal(fs.statSync(join(directory, "spool.db")).mode & 0o777, 0o600);
  }));

test("a spool has one user at a time, and the error says which", () =>
  withSpool(async (directory, log) => {
    const child = startChild(CHILD, "hold", directory);
    try {
      assert.equal(
        String((await once(child.stdout as NodeJS.ReadableStream, "data"))[0]),
        "open\n",
      );
      assert.throws(() => Spool.open(directory, MAX_BYTES, log), (error) => {
        assert.ok(error instanceof SpoolError);
        assert.equal(error.kind, "locked");
        assert.match(
          error.message,
          new RegExp(`in use by another forwarder \\(process ${child.pid}\\)`),
        );
        return true;
      });
    } finally {
      child.kill("SIGKILL");
    }
    await once(child, "exit");
    const spool = Spool.open(directory, MAX_BYTES, log);
    put(spool, 1);
    assert.throws(() => Spool.open(directory, MAX_BYTES, log), { kind: "locked" });
    // The second, in vain, has not let go of the first one's lock.
    assert.throws(() => Spool.open(directory, MAX_BYTES, log), { kind: "locked" });
    spool.close();
    Spool.open(directory, MAX_BYTES, log).close();
  }));

test("a full spool takes nothing more, keeps what it has, stays within its bytes, and works again", () =>
  withSpool((directory, log) => {
    const spool = Spool.open(directory, MAX_BYTES, log);
    let last = 0;
    assert.throws(() => {
      for (;;) {
        put(spool, last + 1);
        last++;
        assert.ok(bytesOnDisk(directory) <= MAX_BYTES, `${bytesOnDisk(directory)} bytes`);
      }
    }, { name: "SpoolError", kind: "full" });
    assert.ok(spool.usedBytes > spool.limitBytes, "it counts as full before it is");
    assert.equal(spool.count, last);
    assert.throws(() => put(spool, last + 1), { kind: "full" });
    assert.deepEqual(spool.read(last), request(last));
    spool.commit([], range(1, 20));
    put(spool, ...range(last + 1, last + 10));
    assert.equal(spool.count, last - 20 + 10);
    spool.close();
    const again = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual(again.backlog.map(({ sequence }) => sequence), range(21, last + 10));
    again.close();
  }));

test("space that has become free is used again, and given back when all is delivered", () =>
  withSpool((directory, log) => {
    const spool = Spool.open(directory, 128 * MIB, log);
    for (const sequence of range(1, 200)) {
      const inserts = [{ sequence, spans: 1, request: request(sequence, MIB) }];
      spool.commit(inserts, sequence > 5 ? [sequence - 5] : []);
    }
    assert.ok(bytesOnDisk(directory) < 40 * MIB, `${bytesOnDisk(directory)} bytes`);
    for (const sequence of range(201, 230)) {
      spool.commit([{ sequence, spans: 1, request: request(sequence, MIB) }], []);
    }
    spool.shrink();
    assert.ok(bytesOnDisk(directory) > 30 * MIB, "there is something in it");
    spool.commit([], range(1, 230));
    spool.shrink();
    assert.equal(spool.count, 0);
    assert.ok(bytesOnDisk(directory) < MIB, `${bytesOnDisk(directory)} bytes`);
    put(spool, 231);
    assert.deepEqual(spool.read(231), request(231));
    spool.close();
  }));

test("a flipped bit in a batch is found out, costs that batch, and its bytes are kept", () =>
  withSpool((directory, log) => {
    const spool = Spool.open(directory, MAX_BYTES, log);
    put(spool, 1, 2, 3);
    spool.close();
    const path = join(directory, "spool.db");
    const file = fs.readFileSync(path);
    const at = file.indexOf(request(2, 1000));
    assert.ok(at > 0);
    file[at + 500] = (file[at + 500] as number) ^ 0x10;
    fs.writeFileSync(path, file);

    const again = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual([...contents(again).keys()], [1, 3]);
    assert.equal(again.count, 2);
    again.close();
    const database = new DatabaseSync(path);
    const kept = database.prepare("SELECT sequence, length(request) AS size FROM damaged").all();
    assert.deepEqual(kept.map((row) => ({ ...row })), [{ sequence: 2, size: 20_000 }]);
    database.close();
  }));

test("a damaged batch in a spool without room holds nothing up", () =>
  withSpool((directory, log) => {
    const spool = Spool.open(directory, MAX_BYTES, log);
    put(spool, 1, 2);
    spool.close();
    const database = new DatabaseSync(join(directory, "spool.db"));
    database.exec("UPDATE batch SET checksum = 0 WHERE sequence = 1");
    database.close();
    const again = Spool.open(directory, MAX_BYTES, log);
    let last = 2;
    // The last free page goes to a batch that needs no more than one.
    for (const bytes of [20_000, 12_000]) {
      assert.throws(() => {
        for (;;) {
          again.commit([{ sequence: last + 1, spans: 1, request: request(last + 1, bytes) }], []);
          last++;
        }
      }, { kind: "full" });
    }
    assert.equal(again.read(1), undefined);
    assert.equal(log.find("damaged batch stays").length, 1);
    assert.equal(again.count, last);
    assert.deepEqual(again.read(2), request(2));
    // As what is delivered makes room, it can be put aside.
    again.commit([], range(10, 30));
    assert.equal(again.read(1), undefined);
    assert.equal(again.count, last - 22);
    assert.equal(log.records.length, 1);
    again.close();
  }));

test("a flipped bit in a row's numbers is found out too, and makes no number absurd", () =>
  withSpool((directory, log) => {
    Spool.open(directory, MAX_BYTES, log).close();
    const database = new DatabaseSync(join(directory, "spool.db"));
    const insert = database.prepare("INSERT INTO batch VALUES (?, ?, ?, ?)");
    const bytes = request(1);
    insert.run(1, -5, 1, bytes);
    insert.run(2, 2n ** 62n, 1, bytes);
    insert.run(3, 4, 2n ** 60n, bytes);
    insert.run(4, "text", 1, bytes);
    insert.run(5, 1, 1, "no blob");
    insert.run(-6, 1, 1, bytes);
    insert.run(2n ** 62n, 1, 1, bytes);
    database.close();
    const spool = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual(spool.backlog.map(({ sequence, spans }) => [sequence, spans]), [
      [1, 1],
      [2, 20_000],
      [3, 4],
      [4, 20_000],
      [5, 1],
    ]);
    assert.equal(spool.nextSequence, 6);
    assert.deepEqual([...contents(spool)], []);
    assert.equal(spool.count, 0);
    spool.close();
  }));

test("a file that was cut off is set aside as it is, and what can be read of it goes on", () =>
  withSpool((directory, log) => {
    const spool = Spool.open(directory, MAX_BYTES, log);
    put(spool, ...range(1, 100));
    spool.close();
    const path = join(directory, "spool.db");
    fs.truncateSync(path, Math.floor(fs.statSync(path).size / 2));
    const damaged = fs.readFileSync(path);

    const again = Spool.open(directory, MAX_BYTES, log);
    const saved = contents(again);
    assert.ok(saved.size > 20 && saved.size < 80, `${saved.size} batches`);
    for (const [sequence, bytes] of saved) assert.deepEqual(bytes, request(sequence));
    assert.deepEqual([...saved.keys()], range(1, saved.size));
    assert.equal(again.nextSequence, saved.size + 1);
    put(again, again.nextSequence);
    again.close();
    const aside = fs.readdirSync(directory).filter((name) => name.endsWith(".damaged"));
    assert.equal(aside.length, 1);
    assert.deepEqual(fs.readFileSync(join(directory, aside[0] as string)), damaged);
    assert.deepEqual(log.records.map(({ level, message }) => `${level} ${message}`), [
      "error the spool's file is damaged; saving what can be read",
      "error the spool's damaged file is set aside; delete it when it is no longer wanted",
    ]);
    assert.equal(log.records[1]?.fields["file"], join(directory, aside[0] as string));
    assert.equal(log.records[1]?.fields["savedBatches"], saved.size);
  }));

test("a file that is no database is set aside", () =>
  withSpool((directory, log) => {
    const junk = new Uint8Array(100_000).fill(0x41);
    fs.writeFileSync(join(directory, "spool.db"), junk);
    const spool = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual(spool.backlog, []);
    put(spool, 1);
    assert.equal(spool.count, 1);
    spool.close();
    const aside = fs.readdirSync(directory).filter((name) => name.endsWith(".damaged"));
    assert.equal(aside.length, 1);
    assert.deepEqual(fs.readFileSync(join(directory, aside[0] as string)), Buffer.from(junk));
  }));

test("saving that was cut short is done again, and saves nothing twice", () =>
  withSpool((directory, log) => {
    const spool = Spool.open(directory, MAX_BYTES, log);
    put(spool, 1, 2, 3);
    spool.close();
    // As it is when the process is killed after it has saved one batch of three.
    fs.renameSync(join(directory, "spool.db"), join(directory, "spool.db.damaged"));
    const fresh = new RecordingLogger();
    const half = Spool.open(directory, MAX_BYTES, fresh);
    assert.deepEqual(half.backlog.map(({ sequence }) => sequence), [1, 2, 3]);
    half.close();
    const [aside = ""] = fs.readdirSync(directory).filter((name) => name.endsWith(".damaged"));
    fs.renameSync(join(directory, aside), join(directory, "spool.db.damaged"));
    const again = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual([...contents(again).keys()], [1, 2, 3]);
    assert.equal(again.count, 3);
    again.close();
  }));

test("an empty file where there should be a database is said", () =>
  withSpool((directory, log) => {
    fs.writeFileSync(join(directory, "spool.db"), "");
    Spool.open(directory, MAX_BYTES, log).close();
    assert.match(log.records[0]?.message ?? "", /file is empty/);
  }));

/** The files as a process leaves them that is killed: five batches are in the write-ahead log only. */
function leaveLog(directory: string): string {
  const live = prepareSpoolDirectory(`${directory}-live`);
  const spool = Spool.open(live, MAX_BYTES, new RecordingLogger());
  put(spool, ...range(1, 5));
  fs.cpSync(live, directory, { recursive: true });
  spool.close();
  fs.rmSync(live, { recursive: true });
  return join(directory, "spool.db");
}

for (
  const [what, damage] of [
    ["empty", (path: string) => fs.truncateSync(path, 0)],
    ["of one byte", (path: string) => fs.truncateSync(path, 1)],
    ["missing", (path: string) => fs.rmSync(path)],
  ] as const
) {
  test(`a file that is ${what} beside its write-ahead log: what is in the log goes on`, () =>
    withSpool((directory, log) => {
      damage(leaveLog(directory));
      const spool = Spool.open(directory, MAX_BYTES, log);
      assert.deepEqual(contents(spool), new Map(range(1, 5).map((each) => [each, request(each)])));
      assert.equal(log.find("empty or missing").length, 1);
      put(spool, 6);
      spool.close();
      const again = Spool.open(directory, MAX_BYTES, log);
      assert.equal(contents(again).size, 6);
      again.close();
    }));
}

test("a crash while a damaged file is moved away hides nothing: the next start goes on with it", () =>
  withSpool((directory, log) => {
    const path = leaveLog(directory);
    // The log has its new name, the file not yet.
    fs.renameSync(`${path}-wal`, `${path}.damaged-wal`);
    const spool = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual(contents(spool), new Map(range(1, 5).map((each) => [each, request(each)])));
    const [record] = log.find("set aside");
    assert.equal(record?.fields["savedBatches"], 5);
    spool.close();
  }));

test("a file that is damaged while another still waits to be saved from costs neither its batches", () =>
  withSpool((directory, log) => {
    const path = join(directory, "spool.db");
    const first = Spool.open(directory, MAX_BYTES, new RecordingLogger());
    put(first, ...range(1, 5));
    first.close();
    // As a kill leaves it that comes while the first is saved from.
    fs.renameSync(path, `${path}.damaged`);
    const next = Spool.open(prepareSpoolDirectory(`${directory}-next`), MAX_BYTES, new RecordingLogger());
    put(next, ...range(6, 9));
    next.close();
    const damaged = fs.readFileSync(join(`${directory}-next`, "spool.db"));
    // The table's name, without which it is no spool.
    const name = damaged.indexOf("CREATE TABLE batch");
    damaged.write("CREATE TABLE botch", name);
    fs.writeFileSync(path, damaged);
    const spool = Spool.open(directory, MAX_BYTES, log);
    assert.deepEqual([...contents(spool).keys()].slice(0, 5), range(1, 5));
    spool.close();
    const kept = fs.readdirSync(directory).filter((file) => file.endsWith(".damaged"));
    assert.equal(kept.length, 2, kept.join());
    assert.equal(log.find("set aside").length, 2);
    assert.ok(kept.some((file) => fs.readFileSync(join(directory, file)).equals(damaged)));
  }));

test("an emptied file beside a log without batches is said too", () =>
  withSpool((directory, log) => {
    const path = join(directory, "spool.db");
    fs.writeFileSync(path, "");
    fs.writeFileSync(`${path}-wal`, "");
    Spool.open(directory, MAX_BYTES, log).close();
    assert.match(log.records[0]?.message ?? "", /file is empty/);
  }));

test("a spool of another version is left alone", () =>
  withSpool((directory, log) => {
    Spool.open(directory, MAX_BYTES, log).close();
    const database = new DatabaseSync(join(directory, "spool.db"));
    database.exec("PRAGMA user_version = 99");
    database.close();
    const open = () => Spool.open(directory, MAX_BYTES, log);
    assert.throws(open, { kind: "failed", message: /another version .*99/ });
    assert.deepEqual(fs.readdirSync(directory).filter((name) => name.endsWith("damaged")), []);
  }));

test("a damaged write-ahead log is said, and kept", () =>
  withSpool(async (directory, log) => {
    const child = startChild(CHILD, "fill", directory);
    const committed = new Set<number>();
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      for (const [, number] of String(chunk).matchAll(/\+(\d+)\b/g)) committed.add(Number(number));
      if (committed.size >= 20) child.kill("SIGKILL");
    }
    const path = join(directory, "spool.db-wal");
    const file = fs.readFileSync(path);
    // In the first page of the log: all that came after it hangs on it.
    file[200] = (file[200] as number) ^ 1;
    fs.writeFileSync(path, file);
    const spool = Spool.open(directory, 64 * MIB, log);
    assert.ok(spool.count < committed.size);
    const [record] = log.find("write-ahead log is damaged");
    assert.deepEqual(fs.readFileSync(String(record?.fields["file"])), file);
    spool.close();
  }));

test(
  "killed at any moment, a spool has what it had committed",
  { timeout: 60_000 },
  () =>
    withSpool(async (directory, log) => {
      let committed = new Set<number>();
      let mayBeGone = new Set<number>();
      for (let round = 0; round < 8; round++) {
        const child = startChild(CHILD, "fill", directory);
        let text = "";
        for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
          text += String(chunk);
          // Some after few commits, some after many; the moment within a commit is chance.
          if (text.length > 40 + round * 400) child.kill("SIGKILL");
        }
        for (const [, number] of text.matchAll(/\+(\d+)\b/g)) committed.add(Number(number));
        for (const [, number] of text.matchAll(/-(\d+)\b/g)) mayBeGone.add(Number(number));
        const spool = Spool.open(directory, 64 * MIB, log);
        const found = contents(spool);
        for (const sequence of committed) {
          assert.ok(found.has(sequence) || mayBeGone.has(sequence), `batch ${sequence} is gone`);
        }
        for (const [sequence, bytes] of found) {
          assert.equal(bytes.length, 10 + (sequence * 7919) % 60_000);
          assert.ok(bytes.every((byte) => byte === sequence % 251));
        }
        assert.ok(committed.size >= 2);
        spool.close();
        // What it knows to be there is the next round's beginning.
        committed = new Set(found.keys());
        mayBeGone = new Set();
      }
      assert.deepEqual(log.records, []);
    }),
);
