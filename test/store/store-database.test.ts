import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { StoreDatabase } from "../../src/store/store-database.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const INSERT = "INSERT INTO sandbox (sid, label, state, base_ns, touched_ms) VALUES (?, '', 'ended', 0, 0)";

function sandboxes(database: StoreDatabase): unknown[] {
  return database.all("SELECT sid FROM sandbox ORDER BY sid").map((row) => row["sid"]);
}

test("a file that is not a store, or is of another version, is refused and stays as it was", () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "traces");
  for (const open of [StoreDatabase.open, StoreDatabase.openForReading]) {
    writeFileSync(file, "not a database, but longer than its header would be".repeat(10));
    assert.throws(() => open(file), { name: "StoreError", code: "unusable" });
    assert.match(readFileSync(file, "utf8"), /^not a database/);
    rmSync(file);
    const other = new DatabaseSync(file);
    other.exec("CREATE TABLE t (x)");
    other.close();
    assert.throws(() => open(file), /is an SQLite file, but not a trace store/);
    rmSync(file);
    StoreDatabase.open(file).close();
    const later = new DatabaseSync(file);
    later.exec("PRAGMA user_version = 1000");
    later.close();
    assert.throws(() => open(file), /is a trace store of another version \(1000\)/);
  }
});

test("a change that fails is undone, and what was known of it can be read again before the error comes", () => {
  const database = StoreDatabase.open(":memory:");
  assert.equal(database.change(() => database.run(INSERT, "a"), assert.fail), 1);
  const seen: unknown[] = [];
  const fail = (): never => {
    database.run(INSERT, "b");
    throw new Error("halfway");
  };
  assert.throws(() => database.change(fail, () => seen.push(sandboxes(database))), {
    name: "StoreError",
    message: /halfway/,
  });
  assert.deepEqual(seen, [["a"]]);
  assert.deepEqual(sandboxes(database), ["a"]);
  database.close();
});

test("a change that may be lost is lost on a full disk, and other errors are thrown", () => {
  const database = StoreDatabase.open(":memory:");
  assert.equal(database.tryRun(INSERT, "a"), true);
  database.all("PRAGMA max_page_count = 1");
  assert.equal(database.tryRun(INSERT, "b".repeat(1_000_000)), false);
  assert.throws(() => database.tryRun(INSERT, "a"), /UNIQUE/);
  assert.deepEqual(sandboxes(database), ["a"]);
  database.close();
});

test("a file that is only read cannot be changed", () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "traces");
  const writer = StoreDatabase.open(file);
  const reader = StoreDatabase.openForReading(file);
  assert.deepEqual([writer.isReadOnly, reader.isReadOnly], [false, true]);
  writer.run(INSERT, "a");
  assert.deepEqual(sandboxes(reader), ["a"]);
  assert.throws(() => reader.run(INSERT, "b"), /readonly/);
  reader.close();
  writer.close();
});
