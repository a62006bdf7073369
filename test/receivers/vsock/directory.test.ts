import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { Directory } from "../../../src/receivers/vsock/directory.ts";
import { NEEDS_ROOT } from "../../support/root.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const libc = await loadLibc();
const USER = process.geteuid?.() ?? 0;

function open(path: string): Directory {
  const directory = Directory.open(libc, path);
  assert(directory, `${path} is not there`);
  return directory;
}

test("an open directory is worked in whatever becomes of its name", () => {
  using temporary = temporaryDirectory();
  const [here, there] = [join(temporary.path, "here"), join(temporary.path, "there")];
  mkdirSync(here);
  const parent = open(temporary.path);
  const child = parent.child("here");
  assert(child);
  assert.equal(child.shown, here);
  const { dev, ino } = statSync(here, { bigint: true });
  assert.equal(child.identity, `${dev}:${ino}`);
  renameSync(here, there);
  mkdirSync(here);
  writeFileSync(`${child.path}/file`, "");
  assert.deepEqual(readdirSync(there), ["file"]);
  assert.deepEqual(readdirSync(here), []);
  assert.notEqual(parent.child("here")?.identity, child.identity);
  child.close();
  parent.close();
  assert.throws(() => readdirSync(parent.path), { code: "ENOENT" });
});

test("what is not there is undefined; a file, and a link wherever it leads, is an error", () => {
  using temporary = temporaryDirectory();
  mkdirSync(join(temporary.path, "directory"));
  symlinkSync("directory", join(temporary.path, "link"));
  symlinkSync("nowhere", join(temporary.path, "dangling"));
  writeFileSync(join(temporary.path, "file"), "");
  const parent = open(temporary.path);
  assert.equal(parent.child("nothing"), undefined);
  assert.equal(Directory.open(libc, join(temporary.path, "nothing/below")), undefined);
  for (const name of ["link", "dangling", "file"]) {
    assert.throws(() => parent.child(name), { name: "LibcError", code: "ENOTDIR" });
  }
  // What an administrator names may be a link.
  const followed = open(join(temporary.path, "link"));
  assert.equal(followed.identity, parent.child("directory")?.identity);
});

test("a directory that is removed while it is open is empty, and takes nothing", () => {
  using temporary = temporaryDirectory();
  const path = join(temporary.path, "gone");
  mkdirSync(path);
  const directory = open(path);
  rmdirSync(path);
  assert.throws(() => writeFileSync(`${directory.path}/file`, ""), { code: "ENOENT" });
  directory.close();
});

test("only who may be trusted may write to it", () => {
  using temporary = temporaryDirectory();
  const refusal = (mode: number): string => {
    chmodSync(temporary.path, mode);
    try {
      open(temporary.path).requireTrusted(USER);
      return "trusted";
    } catch (error) {
      return (error as Error).message;
    }
  };
  const everyone = `everyone may write to ${temporary.path}`;
  assert.equal(refusal(0o750), "trusted");
  assert.equal(refusal(0o775), "trusted");
  assert.equal(refusal(0o777), everyone);
  assert.equal(refusal(0o702), everyone);
  // As /tmp is: nobody may remove what is another's there, but everyone may add to it.
  assert.equal(refusal(0o1777), everyone);
});

test("only root and the user may own it", NEEDS_ROOT, () => {
  using temporary = temporaryDirectory();
  chownSync(temporary.path, 4711, 0);
  const directory = open(temporary.path);
  directory.requireTrusted(4711);
  assert.throws(() => directory.requireTrusted(4712), {
    name: "ListenError",
    message:
      `${temporary.path} belongs to the user 4711, neither to root nor to the user that the forwarder runs as (4712)`,
  });
  chownSync(temporary.path, 0, 4711);
  open(temporary.path).requireTrusted(4712);
});
