import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { type DirectoryEvent, DirectoryWatcher } from "../../../src/receivers/vsock/directory-watcher.ts";
import { inotifies, turns } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const libc = await loadLibc();

/** A watcher that is closed afterwards, and what it told. */
class Watching implements Disposable {
  lost = 0;
  readonly events: string[] = [];
  readonly watcher = new DirectoryWatcher(libc, () => this.lost++);

  readonly onEvent = (event: DirectoryEvent): void => {
    this.events.push("name" in event ? `${event.kind} ${event.name}` : event.kind);
  };

  /** Waits until so many events have come. */
  async until(count: number): Promise<readonly string[]> {
    while (this.events.length < count) await turns(1);
    return this.events;
  }

  [Symbol.dispose](): void {
    this.watcher.close();
  }
}

test("what comes, goes, moves and changes its permissions is told, in order", async () => {
  using temporary = temporaryDirectory();
  const at = (name: string) => join(temporary.path, name);
  using watching = new Watching();
  watching.watcher.watch(temporary.path, watching.onEvent);
  mkdirSync(at("directory"));
  chmodSync(at("directory"), 0o700);
  writeFileSync(at("ü".repeat(100)), "");
  symlinkSync("x", at("link"));
  renameSync(at("link"), at("other"));
  rmdirSync(at("directory"));
  // Of no interest: what happens further below, and to the directory's own permissions.
  mkdirSync(at("a"));
  mkdirSync(at("a/b"));
  chmodSync(temporary.path, 0o755);
  mkdirSync(at("last"));
  assert.deepEqual(await watching.until(9), [
    "changed directory",
    "changed directory",
    `changed ${"ü".repeat(100)}`,
    "changed link",
    "removed link",
    "changed other",
    "removed directory",
    "changed a",
    "changed last",
  ]);
  assert.equal(watching.lost, 0);
});

test("the directory's own end is told: removed, or moved away", async () => {
  using temporary = temporaryDirectory();
  const [first, second] = [join(temporary.path, "first"), join(temporary.path, "second")];
  mkdirSync(first);
  mkdirSync(second);
  using watching = new Watching();
  const one = watching.watcher.watch(first, watching.onEvent);
  watching.watcher.watch(second, watching.onEvent);
  rmdirSync(first);
  renameSync(second, join(temporary.path, "moved"));
  const events = await watching.until(2);
  assert.deepEqual([...new Set(events)], ["gone"]);
  // Releasing what the kernel has given up is fine.
  one.release();
});

test("one directory may be watched twice, and each watch released by itself", async () => {
  using temporary = temporaryDirectory();
  using watching = new Watching();
  const first = watching.watcher.watch(temporary.path, watching.onEvent);
  const second = watching.watcher.watch(temporary.path, watching.onEvent);
  mkdirSync(join(temporary.path, "a"));
  await watching.until(2);
  first.release();
  first.release();
  mkdirSync(join(temporary.path, "b"));
  await watching.until(3);
  second.release();
  mkdirSync(join(temporary.path, "c"));
  await turns();
  assert.deepEqual(watching.events, ["changed a", "changed a", "changed b"]);
  // And again.
  watching.watcher.watch(temporary.path, watching.onEvent);
  mkdirSync(join(temporary.path, "d"));
  assert.equal((await watching.until(4))[3], "changed d");
});

test("a callback may release its watch and watch anew", async () => {
  using temporary = temporaryDirectory();
  using watching = new Watching();
  let watch = watching.watcher.watch(temporary.path, (event) => {
    watching.onEvent(event);
    watch.release();
    watch = watching.watcher.watch(temporary.path, watching.onEvent);
  });
  mkdirSync(join(temporary.path, "a"));
  await watching.until(1);
  mkdirSync(join(temporary.path, "b"));
  assert.deepEqual(await watching.until(2), ["changed a", "changed b"]);
});

test("a burst is told in full; more than the kernel keeps is said to be lost", async () => {
  using temporary = temporaryDirectory();
  using watching = new Watching();
  watching.watcher.watch(temporary.path, watching.onEvent);
  for (let i = 0; i < 2000; i++) mkdirSync(join(temporary.path, `s${i}`));
  await watching.until(2000);
  assert.equal(new Set(watching.events).size, 2000);
  assert.equal(watching.lost, 0);
  const most = Number(readFileSync("/proc/sys/fs/inotify/max_queued_events", "utf8"));
  assert(most <= 1_000_000, `${most} events are kept: too many to be lost here`);
  for (let i = 0; i <= most; i++) chmodSync(join(temporary.path, `s${i % 2}`), 0o700);
  while (watching.lost === 0) await turns(1);
  assert.equal(watching.lost, 1);
});

test("what is no directory, or is not there, cannot be watched", () => {
  using temporary = temporaryDirectory();
  using watching = new Watching();
  writeFileSync(join(temporary.path, "file"), "");
  const watch = (name: string) => () => watching.watcher.watch(join(temporary.path, name), watching.onEvent);
  assert.throws(watch("file"), { name: "LibcError", code: "ENOTDIR" });
  assert.throws(watch("nothing"), { name: "LibcError", code: "ENOENT" });
});

test("a closed watcher leaves no descriptor and no handler behind", () => {
  const [before, handlers] = [inotifies(), process.listenerCount("SIGURG")];
  {
    using _watching = new Watching();
    assert.equal(inotifies(), before + 1);
    assert.equal(process.listenerCount("SIGURG"), handlers + 1);
  }
  assert.equal(inotifies(), before);
  assert.equal(process.listenerCount("SIGURG"), handlers);
});
