import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { nonBlocking } from "../../src/host/non-blocking.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** A descriptor's flags (proc_pid_fdinfo(5)). */
function flags(fd: number): number {
  const found = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
  return parseInt(found?.[1] ?? "", 8);
}

test("a pipe is opened again without blocking, and the original's flags do not change", () => {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  const path = join(directory, "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  const fd = nonBlocking(writer);
  assert.notEqual(fd, writer);
  assert.equal(flags(fd) & constants.O_NONBLOCK, constants.O_NONBLOCK);
  assert.equal(flags(writer) & constants.O_NONBLOCK, 0);
  writeSync(fd, "the same pipe");
  const buffer = new Uint8Array(100);
  const length = readSync(reader, buffer);
  assert.equal(new TextDecoder().decode(buffer.subarray(0, length)), "the same pipe");
  // When it is full, writing fails instead of waiting.
  assert.throws(() => {
    for (;;) writeSync(fd, new Uint8Array(4096));
  }, { code: "EAGAIN" });
  for (const each of [fd, writer, reader]) closeSync(each);
});

test("a file is not opened again, so nothing that others write to it is overwritten", () => {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  const path = join(directory, "file");
  const file = openSync(path, "w");
  writeSync(file, "before ");
  assert.equal(nonBlocking(file), file);
  writeSync(nonBlocking(file), "after");
  assert.equal(readFileSync(path, "utf8"), "before after");
  closeSync(file);
});

test("a closed descriptor is returned as it is, because writing to it will fail", () => {
  const file = openSync("/dev/null", "w");
  closeSync(file);
  assert.equal(nonBlocking(file), file);
});
