import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { FileStorage } from "../../../src/queue/spool/file-storage.ts";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { SpoolError } from "../../../src/queue/spool/spool-error.ts";
import { startChild } from "../../support/child.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { numberOf, record, recoveredNumbers } from "./support/records.ts";

const MIB = 1024 * 1024;
const CHILD = new URL("./support/spool-child.ts", import.meta.url);
const libc = await loadLibc();

/** A spool's directory of its own for a test. */
async function withDirectory(run: (directory: string, log: RecordingLogger) => void | Promise<void>): Promise<void> {
  using temporary = temporaryDirectory();
  await run(prepareSpoolDirectory(join(temporary.path, "spool")), new RecordingLogger());
}

function open(directory: string, log = new RecordingLogger(), maxBytes = SPOOL_MIN_BYTES): Spool {
  return Spool.open({ storage: FileStorage.open(directory, libc), maxBytes, log });
}

/** A spool that may have more segments than open files. */
function openWithFewFiles(directory: string): Spool {
  const storage = FileStorage.open(directory, libc, 8);
  return Spool.open({ storage, maxBytes: 64 * MIB, log: new RecordingLogger() });
}

/** What a descriptor of this process leads to; undefined if it has been closed meanwhile. */
function linkOf(fd: string): string | undefined {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return undefined;
  }
}

test("a spool in real files is there again after a restart; its files are for their owner only", () =>
  withDirectory(async (directory, log) => {
    const spool = open(directory, log);
    const ids = range(1, 100).map((number) => spool.append(record(number, number * 400)));
    await spool.commit();
    spool.remove(ids.slice(0, 50));
    await spool.close();
    for (const name of fs.readdirSync(directory)) {
      assert.match(name, /^\d{8}\.segment$/);
      assert.equal(fs.statSync(join(directory, name)).mode & 0o777, 0o600);
    }
    const again = open(directory, log);
    assert.deepEqual(recoveredNumbers(again), range(51, 100));
    await again.close();
    assert.deepEqual(log.records, []);
  }));

test("a spool has one user at a time, and the error says which", () =>
  withDirectory(async (directory) => {
    const child = startChild(CHILD, "hold", directory);
    try {
      assert.equal(String((await once(child.stdout as NodeJS.ReadableStream, "data"))[0]), "open\n");
      assert.throws(() => open(directory), (error) => {
        assert.ok(error instanceof SpoolError);
        assert.equal(error.kind, "locked");
        assert.match(
          error.message,
          new RegExp(`^spool ${directory}: in use by another forwarder \\(process ${child.pid}\\)`),
        );
        return true;
      });
    } finally {
      child.kill("SIGKILL");
    }
    await once(child, "exit");
    const spool = open(directory);
    assert.throws(() => open(directory), { kind: "locked" });
    // The second, in vain, has not let go of the first one's lock.
    assert.throws(() => open(directory), { kind: "locked" });
    await spool.close();
    await open(directory).close();
  }));

test("more segments than there are descriptors for them are used all the same", () =>
  withDirectory(async (directory) => {
    const spool = openWithFewFiles(directory);
    const before = fs.readdirSync("/proc/self/fd").length;
    const ids = range(1, 200).map((number) => spool.append(record(number, 200_000)));
    await spool.commit();
    for (const [i, id] of ids.entries()) assert.equal(numberOf(spool.read(id) as Uint8Array), i + 1);
    assert.ok(fs.readdirSync(directory).length > 9, "there are many segments");
    assert.ok(fs.readdirSync("/proc/self/fd").length <= before + 8, "few of them are open");
    await spool.close();
  }));

test("segments that are read in turns stay open", () =>
  withDirectory(async (directory) => {
    const spool = open(directory, new RecordingLogger(), 64 * MIB);
    const ids = range(1, 200).map((number) => spool.append(record(number, 200_000)));
    await spool.commit();
    const segments = fs.readdirSync(directory).sort();
    assert.ok(segments.length > 9, `there are ${segments.length} segments`);
    for (const id of ids) spool.read(id);
    const paths = fs.readdirSync("/proc/self/fd").map(linkOf).filter((path) => path?.startsWith(`${directory}/`));
    assert.deepEqual(paths.map((path) => basename(path as string)).sort(), segments);
    await spool.close();
  }));

test("what others put into the spool's directory is left alone, and neither read nor waited for", () =>
  withDirectory(async (directory, log) => {
    const spool = open(directory);
    spool.append(record(1));
    await spool.commit();
    await spool.close();
    const outside = join(directory, "..", "outside");
    fs.writeFileSync(outside, "of somebody else");
    const path = (number: number): string => join(directory, `0000001${number}.segment`);
    execFileSync("mkfifo", [path(0)]);
    fs.symlinkSync(outside, path(1));
    fs.linkSync(outside, path(2));
    fs.mkdirSync(path(3));
    fs.symlinkSync(path(4), path(4));
    const server = createServer().listen(path(5));
    await once(server, "listening");
    const planted = [0, 1, 2, 3, 4, 5];
    if (process.getuid?.() === 0) {
      // A terminal of its own for whoever opens it, and a file of another user.
      execFileSync("mknod", [path(6), "c", "5", "2"]);
      fs.writeFileSync(path(7), "");
      fs.chownSync(path(7), 65_534, 65_534);
      planted.push(6, 7);
    }
    fs.mkdirSync(join(directory, "00000018.segment.new"));
    const again = open(directory, log);
    assert.deepEqual(recoveredNumbers(again), [1]);
    const refused = log.find("cannot be used: it is left alone");
    assert.deepEqual(refused.map(({ fields }) => fields["file"]), planted.map(path));
    for (const { fields } of refused) {
      assert.match(String(fields["error"]), /is (not a regular file|a hard link|a file of user 65534)/);
    }
    again.append(record(2));
    await again.commit();
    await again.close();
    server.close();
    assert.equal(fs.readFileSync(outside, "utf8"), "of somebody else");
    assert.ok(fs.lstatSync(path(0)).isFIFO());
  }));

test("a file that another one has been put in the place of is not used any more", () =>
  withDirectory(async (directory) => {
    const spool = openWithFewFiles(directory);
    // More than stay open.
    const ids = range(1, 200).map((number) => spool.append(record(number, 200_000)));
    await spool.commit();
    const [first = ""] = fs.readdirSync(directory).sort();
    const copy = join(directory, "copy");
    fs.copyFileSync(join(directory, first), copy);
    fs.renameSync(copy, join(directory, first));
    assert.throws(() => spool.read(ids[0] as number), { name: "SpoolError", message: /has been replaced/ });
    await spool.close();
  }));

test("a directory of another user, or one that others may enter, is refused", () =>
  withDirectory((directory) => {
    fs.chmodSync(directory, 0o750);
    assert.throws(() => open(directory), { name: "SpoolError", message: /is open to other users: chmod 700/ });
    fs.chmodSync(directory, 0o700);
    if (process.getuid?.() !== 0) return;
    fs.chownSync(directory, 65_534, 65_534);
    assert.throws(() => open(directory), { message: /belongs to user 65534/ });
  }));

test("a directory that is missing, a file or a link is refused", () =>
  withDirectory((directory) => {
    assert.throws(() => open(join(directory, "missing")), { name: "SpoolError", message: /cannot be opened: ENOENT/ });
    fs.symlinkSync(directory, `${directory}-link`);
    fs.writeFileSync(`${directory}-file`, "");
    for (const path of [`${directory}-link`, `${directory}-file`]) {
      assert.throws(() => open(path), { name: "SpoolError", message: /cannot be opened/ });
    }
  }));

test("killed at any moment, a spool has what it had committed, and brings back what was removed only in flight", {
  timeout: 120_000,
}, () =>
  withDirectory(async (directory, log) => {
    let committed = new Set<number>();
    for (let round = 0; round < 10; round++) {
      const child = startChild(CHILD, "fill", directory);
      let text = "";
      for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
        text += String(chunk);
        // Some after few commits, some after many; the moment within a commit is chance.
        if (text.length > 40 + round * 1000) child.kill("SIGKILL");
      }
      const removing = new Set<number>();
      const removed = new Set<number>();
      for (const [, sign, number] of text.matchAll(/([-+.])(\d+)\b/g)) {
        if (sign === "+") committed.add(Number(number));
        else (sign === "-" ? removing : removed).add(Number(number));
      }
      const spool = open(directory, log, 64 * MIB);
      const found = new Set(recoveredNumbers(spool));
      for (const number of committed) assert.ok(found.has(number) || removing.has(number), `record ${number} is gone`);
      for (const number of removed) assert.ok(!found.has(number), `record ${number} is there again`);
      assert.ok(committed.size >= 2);
      await spool.close();
      committed = found;
    }
    const told = log.records.filter(({ message }) => !message.includes("cut short"));
    assert.deepEqual(told, []);
  }));
