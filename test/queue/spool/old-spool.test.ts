import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { prepareSpool } from "../../../src/queue/spool/open-spool.ts";
import type { Spool } from "../../../src/queue/spool/spool.ts";
import { startChild } from "../../support/child.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { type OldBatch, openOldDatabase } from "./support/old-database.ts";
import { numberOf, payload, record } from "./support/records.ts";

const CHILD = new URL("./support/old-spool-child.ts", import.meta.url);
const libc = await loadLibc();

function batch(sequence: number, bytes = 20_000): OldBatch {
  return { sequence, spans: sequence % 7 + 1, request: payload(sequence, bytes) };
}

/** A directory with the spool of an earlier version in it. */
async function withOldSpool(
  run: (directory: string, log: RecordingLogger) => Promise<void>,
  batches = range(1, 20).map((sequence) => batch(sequence)),
): Promise<void> {
  using temporary = temporaryDirectory();
  const directory = join(temporary.path, "spool");
  fs.mkdirSync(directory, { mode: 0o700 });
  openOldDatabase(join(directory, "spool.db"), batches).close();
  await run(directory, new RecordingLogger());
}

async function open(directory: string, log: RecordingLogger): Promise<Spool> {
  return (await prepareSpool({ directory, maxBytes: SPOOL_MIN_BYTES }, undefined, libc))(log);
}

/** The numbers of what can be read, oldest first, and the IDs of everything. */
function inspect(spool: Spool): { numbers: number[]; ids: number[] } {
  const records = [...spool.recovered()];
  const numbers = records.flatMap(({ id, size, spans }) => {
    const bytes = spool.read(id);
    if (bytes === undefined) return [];
    assert.equal(bytes.length, size);
    assert.equal(spans, numberOf(bytes) % 7 + 1);
    return [numberOf(bytes)];
  });
  return { numbers, ids: records.map(({ id }) => id) };
}

function oldFiles(directory: string): string[] {
  return fs.readdirSync(directory).filter((name) => name.startsWith("spool.db"));
}

test("what an earlier version left is there, oldest first, before what is new, and then its file is removed", () =>
  withOldSpool(async (directory, log) => {
    const first = await open(directory, log);
    assert.equal(first.count, 20);
    assert.equal(first.usedBytes, 20 * 20_000);
    const { numbers, ids } = inspect(first);
    assert.deepEqual(numbers, range(1, 20));
    first.append(record(21));
    await first.commit();
    first.remove(ids.slice(0, 5));
    assert.equal(first.count, 16);
    await first.close();

    const second = await open(directory, log);
    const left = inspect(second);
    assert.deepEqual(left.numbers, range(6, 21));
    second.remove(left.ids.slice(0, -1));
    assert.deepEqual(oldFiles(directory), []);
    assert.equal(second.count, 1);
    await second.close();
    assert.deepEqual(inspect(await open(directory, log)).numbers, [21]);
    assert.deepEqual(log.records.map(({ level, message }) => `${level} ${message}`), [
      "info the spool of an earlier version is sent, and then removed",
      "info the spool of an earlier version is sent, and then removed",
    ]);
  }));

test("what a killed forwarder of an earlier version left in its write-ahead log is there too", () =>
  withOldSpool(async (directory, log) => {
    const child = startChild(CHILD, "fill", join(directory, "spool.db"));
    await once(child.stdout as NodeJS.ReadableStream, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.ok(fs.existsSync(join(directory, "spool.db-wal")));
    const spool = await open(directory, log);
    const { numbers, ids } = inspect(spool);
    assert.deepEqual(numbers, range(1, 30));
    spool.remove(ids);
    await spool.close();
    assert.deepEqual(oldFiles(directory), []);
  }));

test("an emptied spool of an earlier version is removed at once", () =>
  withOldSpool(async (directory, log) => {
    const spool = await open(directory, log);
    assert.equal(spool.count, 0);
    assert.deepEqual(oldFiles(directory), []);
    await spool.close();
  }, []));

test("while a forwarder of an earlier version uses its spool, none of this one does", () =>
  withOldSpool(async (directory, log) => {
    const child = startChild(CHILD, "hold", join(directory, "spool.db"));
    await once(child.stdout as NodeJS.ReadableStream, "data");
    try {
      await assert.rejects(open(directory, log), {
        name: "SpoolError",
        kind: "locked",
        message: new RegExp(`in use by another forwarder \\(process ${child.pid}\\)`),
      });
    } finally {
      child.kill("SIGKILL");
    }
    await once(child, "exit");
    // The first try has not kept its own lock.
    await (await open(directory, log)).close();
  }));

test("a batch whose bits have flipped is lost alone, and the database is set aside", () =>
  withOldSpool(async (directory, log) => {
    const path = join(directory, "spool.db");
    const file = fs.readFileSync(path);
    const at = file.indexOf(payload(7, 1000));
    file[at + 500] = (file[at + 500] as number) ^ 0x10;
    fs.writeFileSync(path, file);
    const spool = await open(directory, log);
    const { numbers, ids } = inspect(spool);
    assert.deepEqual(numbers, range(1, 20).filter((number) => number !== 7));
    assert.equal(spool.count, 19);
    spool.remove(ids);
    await spool.close();
    const [aside = "", ...others] = oldFiles(directory);
    assert.match(aside, /^spool\.db\..*\.damaged$/);
    assert.deepEqual(others, []);
    assert.deepEqual(fs.readFileSync(join(directory, aside)), file);
    assert.equal(log.find("set aside")[0]?.fields["file"], join(directory, aside));
  }));

test("a database that is cut off anywhere: what can be read goes on, and it is set aside", () =>
  withOldSpool(async (directory) => {
    const path = join(directory, "spool.db");
    const whole = fs.readFileSync(path);
    let before = 0;
    for (const bytes of range(0, 19).map((i) => 10 + Math.floor(whole.length * i / 20))) {
      for (const name of fs.readdirSync(directory)) fs.rmSync(join(directory, name));
      fs.writeFileSync(path, whole.subarray(0, bytes));
      const log = new RecordingLogger();
      const spool = await open(directory, log);
      const { numbers, ids } = inspect(spool);
      assert.ok(numbers.length >= before, `${numbers.length} of ${bytes} bytes`);
      before = numbers.length;
      spool.remove(ids);
      await spool.close();
      assert.ok(oldFiles(directory).every((name) => name.includes("damaged")), oldFiles(directory).join());
      assert.ok(log.find("set aside").length > 0);
    }
    assert.ok(before > 10, `${before} of 20 are left when little is missing`);
  }));

test("a trigger or another table in it does nothing, and has it set aside", () =>
  withOldSpool(async (directory, log) => {
    const path = join(directory, "spool.db");
    const database = openOldDatabase(path, []);
    database.exec(`
      CREATE TRIGGER evil BEFORE DELETE ON batch BEGIN
        INSERT INTO batch VALUES (1000 + OLD.sequence, 1, 1, x'00');
        UPDATE batch SET spans = 99;
      END;
    `);
    database.close();
    const spool = await open(directory, log);
    const { numbers, ids } = inspect(spool);
    assert.deepEqual(numbers, range(1, 20));
    spool.remove(ids.slice(0, 10));
    assert.equal(spool.count, 10);
    assert.deepEqual(ids.slice(10).map((id) => numberOf(spool.read(id) as Uint8Array)), range(11, 20));
    spool.remove(ids);
    await spool.close();
    assert.match(String(log.find("is damaged")[0]?.fields["error"]), /the forwarder did not make: evil/);
    assert.equal(oldFiles(directory).length, 1);
  }));

test("a view in the place of its table, or a table with other columns, is not read", async () => {
  for (
    const sql of [
      "CREATE VIEW batch AS SELECT 1 AS sequence, 1 AS spans, 1 AS checksum, randomblob(100) AS request",
      "CREATE TABLE batch (sequence INTEGER PRIMARY KEY, spans INTEGER NOT NULL, checksum INTEGER NOT NULL, " +
      "request BLOB NOT NULL, more AS (zeroblob(100000000)))",
    ]
  ) {
    await withOldSpool(async (directory, log) => {
      const database = openOldDatabase(join(directory, "spool.db"), []);
      database.exec(`DROP TABLE batch; ${sql}`);
      database.close();
      const spool = await open(directory, log);
      assert.equal(spool.count, 0);
      await spool.close();
      assert.equal(log.find("nothing in it can be read").length, 1);
      assert.equal(oldFiles(directory).length, 1);
    }, []);
  }
});

test("numbers in a row that cannot be are no harm", () =>
  withOldSpool(async (directory, log) => {
    const database = openOldDatabase(join(directory, "spool.db"), []);
    const insert = database.prepare("INSERT INTO batch VALUES (?, ?, ?, ?)");
    const bytes = payload(1);
    insert.run(1, -5, 1, bytes);
    insert.run(2, 2n ** 62n, 1, bytes);
    insert.run(3, 4, 2n ** 60n, bytes);
    insert.run(4, "text", 1, bytes);
    insert.run(5, 1, 1, "no blob");
    insert.run(-6, 1, 1, bytes);
    insert.run(2n ** 62n, 1, 1, bytes);
    database.close();
    const spool = await open(directory, log);
    assert.deepEqual([...spool.recovered()].map(({ spans }) => spans), [1, 1000, 4, 1000, 1]);
    for (const id of range(-5, -1)) assert.equal(spool.read(id), undefined);
    assert.equal(spool.count, 0);
    await spool.close();
    assert.equal(oldFiles(directory).length, 1, "it is set aside");
  }, []));

test("a file that is no database is set aside", () =>
  withOldSpool(async (directory, log) => {
    const junk = Buffer.alloc(100_000, 0x41);
    fs.writeFileSync(join(directory, "spool.db"), junk);
    const spool = await open(directory, log);
    spool.append(record(1));
    await spool.commit();
    assert.equal(spool.count, 1);
    await spool.close();
    const [aside = "", ...others] = oldFiles(directory);
    assert.deepEqual(others, []);
    assert.deepEqual(fs.readFileSync(join(directory, aside)), junk);
  }));

test("a database of another version is left alone, and named", () =>
  withOldSpool(async (directory, log) => {
    const path = join(directory, "spool.db");
    const database = openOldDatabase(path, []);
    database.exec("PRAGMA user_version = 99");
    database.close();
    await assert.rejects(open(directory, log), {
      kind: "failed",
      message: /spool\.db: it was written by another .*99/,
    });
    assert.deepEqual(oldFiles(directory), ["spool.db"]);
  }));

test("something else with its name is left alone, and neither read nor waited for", () =>
  withOldSpool(async (directory, log) => {
    const path = join(directory, "spool.db");
    const outside = join(directory, "..", "outside");
    fs.renameSync(path, outside);
    const plants = [
      () => execFileSync("mkfifo", [path]),
      () => fs.symlinkSync(outside, path),
      () => fs.linkSync(outside, path),
      () => fs.mkdirSync(path),
    ];
    for (const plant of plants) {
      plant();
      const spool = await open(directory, log);
      assert.equal(spool.count, 0);
      await spool.close();
      assert.deepEqual(oldFiles(directory), ["spool.db"]);
      fs.rmSync(path, { recursive: true });
    }
    assert.equal(log.find("it is left alone").length, plants.length);
  }));
