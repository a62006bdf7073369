import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { readUnreadBytes, writeUnreadBytes } from "../../../src/host/handover/unread-bytes.ts";

const libc = await loadLibc();

test("what was read of connections is read back, by their names", () => {
  const unread = new Map([
    ["guest|1", Uint8Array.of(0, 0, 0, 0, 0, 0, 1)],
    ["guest|é", new Uint8Array(3 * 1024 * 1024).fill(7)],
    ["empty", new Uint8Array(0)],
  ]);
  const descriptor = writeUnreadBytes(libc, unread);
  const read = [...readUnreadBytes(descriptor)];
  libc.close(descriptor);
  assert.deepEqual(read.map(([name, bytes]) => [name, bytes.length]), [
    ["guest|1", 7],
    ["guest|é", 3 * 1024 * 1024],
    ["empty", 0],
  ]);
  for (const [name, bytes] of read) assert.ok(Buffer.from(bytes).equals(unread.get(name) ?? assert.fail(name)));
});

test("nothing is read back from nothing", () => {
  const descriptor = writeUnreadBytes(libc, new Map());
  assert.equal(readUnreadBytes(descriptor).size, 0);
  libc.close(descriptor);
});

test("a file that ends in the middle of a record is refused, wherever it ends", () => {
  const whole = writeUnreadBytes(libc, new Map([["ab", Uint8Array.of(1, 2, 3)]]));
  for (let length = 12; length > 0; length--) {
    truncateSync(`/proc/self/fd/${whole}`, length);
    assert.throws(() => readUnreadBytes(whole), /longer than its file/, `${length}`);
  }
  libc.close(whole);
});
