import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

function inTemporaryDirectory(run: (parent: string) => void): void {
  using temporary = temporaryDirectory();
  run(temporary.path);
}

const ME = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
/** Whom a directory can be given to: root can give it to anyone, others to themselves. */
const HEIR = ME.uid === 0 ? { uid: 65_534, gid: 65_534 } : ME;
const STRANGER = { uid: ME.uid + 1, gid: ME.gid };

function ownerOf(path: string): { uid: number; gid: number; mode: number } {
  const { uid, gid, mode } = fs.statSync(path);
  return { uid, gid, mode: mode & 0o7777 };
}

test("a missing directory is made, 0700, and belongs to whom it shall", () =>
  inTemporaryDirectory((parent) => {
    const path = join(parent, "spool");
    assert.equal(prepareSpoolDirectory(path), path);
    assert.deepEqual(ownerOf(path), { ...ME, mode: 0o700 });
    const heirs = join(parent, "other");
    prepareSpoolDirectory(heirs, HEIR);
    assert.deepEqual(ownerOf(heirs), { ...HEIR, mode: 0o700 });
    // Once more, as at the next start, with something in it.
    fs.writeFileSync(join(heirs, "spool.db"), "");
    prepareSpoolDirectory(heirs, HEIR);
    assert.deepEqual(ownerOf(heirs), { ...HEIR, mode: 0o700 });
  }));

test("an empty directory is taken over", () =>
  inTemporaryDirectory((parent) => {
    const path = join(parent, "spool");
    fs.mkdirSync(path);
    for (const mode of [0o755, 0o777, 0o700]) {
      fs.chmodSync(path, mode);
      fs.chownSync(path, ME.uid, ME.gid);
      prepareSpoolDirectory(path, HEIR);
      assert.deepEqual(ownerOf(path), { ...HEIR, mode: 0o700 });
    }
  }));

test("an empty directory that is everybody's is not taken over", () =>
  inTemporaryDirectory((parent) => {
    const path = join(parent, "tmp");
    fs.mkdirSync(path);
    for (const mode of [0o1777, 0o1755]) {
      fs.chmodSync(path, mode);
      assert.throws(() => prepareSpoolDirectory(path, HEIR), {
        name: "SpoolError",
        message: `spool directory ${path} is everybody's: give one of its own, such as ${path}/kata-spool`,
      });
      assert.deepEqual(ownerOf(path), { ...ME, mode });
    }
  }));

test("a directory that holds anything is not given away, and not used while others may enter it", () =>
  inTemporaryDirectory((parent) => {
    const path = join(parent, "etc");
    fs.mkdirSync(path, { mode: 0o700 });
    fs.writeFileSync(join(path, "passwd"), "");
    assert.throws(() => prepareSpoolDirectory(path, STRANGER), {
      name: "SpoolError",
      message: new RegExp(`belongs to user ${ME.uid}, not to ${STRANGER.uid}`),
    });
    assert.equal(ownerOf(path).uid, ME.uid);
    fs.chmodSync(path, 0o750);
    assert.throws(() => prepareSpoolDirectory(path), { message: /open to other users: chmod 700/ });
    assert.equal(ownerOf(path).mode, 0o750);
  }));

test("what cannot be a directory is said, with its path", () =>
  inTemporaryDirectory((parent) => {
    assert.throws(() => prepareSpoolDirectory(join(parent, "no", "spool")), {
      message: `spool directory ${join(parent, "no", "spool")} cannot be made: ${join(parent, "no")} does not exist`,
    });
    fs.writeFileSync(join(parent, "file"), "");
    assert.throws(() => prepareSpoolDirectory(join(parent, "file")), {
      message: /is not a directory/,
    });
    fs.mkdirSync(join(parent, "real"));
    fs.symlinkSync("real", join(parent, "link"));
    assert.throws(() => prepareSpoolDirectory(join(parent, "link")), {
      message: /is not a directory/,
    });
  }));
