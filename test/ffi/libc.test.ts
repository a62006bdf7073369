import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { errnoName, LibcError } from "../../ffi/errors.ts";
import { loadLibc, openLibc } from "../../ffi/libc.ts";
import { loadForeignFunctions } from "../../ffi/library.ts";

/** socket(2), x86_64 and aarch64 alike. */
const AF_UNIX = 1, AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000;

const libc = await loadLibc();

function failure(action: () => unknown): LibcError {
  try {
    action();
  } catch (error) {
    assert(error instanceof LibcError, `${error}`);
    return error;
  }
  return assert.fail("the call should have failed");
}

test("a failed call has its name, the errno and the errno's name", () => {
  const error = failure(() => libc.close(-1));
  assert.equal(error.message, "close: EBADF");
  assert.equal(error.call, "close");
  assert.equal(error.errno, 9);
  assert.equal(error.code, "EBADF");
  assert.equal(errnoName(error), "EBADF");
});

test("errno is the failed call's own, however busy the garbage collector is", () => {
  const seen = new Map<string, number>();
  let litter: unknown[] = [];
  const file = openSync("/dev/null", "r");
  const attempts: readonly [string, () => unknown][] = [
    ["EBADF", () => libc.close(-1)],
    ["EAFNOSUPPORT", () => libc.socket(999, SOCK_STREAM, 0)],
    ["ENOTSOCK", () => libc.getpeername(file)],
    ["EINVAL", () => libc.prctl(-1, 0n)],
    ["ENOSYS", () => libc.syscall("none", 4000, 0n, 0n, 0n)],
  ];
  for (let round = 0; round < 20_000; round++) {
    const [code, attempt] = attempts[round % attempts.length] as [string, () => unknown];
    const error = failure(attempt);
    if (error.code === code) seen.set(code, (seen.get(code) ?? 0) + 1);
    litter.push(new Uint8Array(2048), { round });
    if (litter.length > 5000) litter = [];
  }
  closeSync(file);
  assert.deepEqual([...seen.values()], [4000, 4000, 4000, 4000, 4000]);
});

test("a socket is bound, listens, is connected to and knows its peer", () => {
  const loopback = Uint8Array.of(AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  const server = libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const client = libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  try {
    assert.equal(failure(() => libc.connect(client, loopback)).code, "ECONNREFUSED");
    // With port 0 the kernel chooses one, so that tests that run at the same time do not clash.
    libc.bind(server, loopback);
    libc.listen(server, 1);
    assert.equal(failure(() => libc.getpeername(client)).code, "ENOTCONN");
    assert.equal(failure(() => libc.bind(server, loopback)).code, "EINVAL");
  } finally {
    libc.close(client);
    libc.close(server);
  }
});

test("a pair of connected sockets names its family", () => {
  const server = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const client = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  try {
    // An abstract address (unix(7)) leaves no file behind.
    const name = new TextEncoder().encode(`\0kata-libc-test-${process.pid}-${Math.random()}`);
    const address = new Uint8Array(2 + name.length);
    address[0] = AF_UNIX;
    address.set(name, 2);
    libc.bind(server, address);
    libc.listen(server, 1);
    libc.connect(client, address);
    assert.deepEqual(libc.getpeername(client), address);
  } finally {
    libc.close(client);
    libc.close(server);
  }
});

test("a duplicate is the same file under another descriptor", () => {
  // Deno's own calls know only descriptors that Deno opened, so the kernel is asked.
  const file = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`);
  const original = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const socket = file(original);
  const copy = libc.duplicate(original);
  assert.notEqual(copy, original);
  assert.equal(file(copy), socket);
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${copy}`, "utf8"));
  assert.equal(Number.parseInt(flags?.[1] ?? "", 8) & SOCK_CLOEXEC, SOCK_CLOEXEC);
  libc.close(original);
  assert.equal(file(copy), socket);
  libc.close(copy);
  assert.throws(() => file(copy), { code: "ENOENT" });
});

test("a locked file cannot be locked by another open file of it", () => {
  /** flock(2). */
  const LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8;
  const [first, second] = [openSync("/proc/self", "r"), openSync("/proc/self", "r")] as const;
  try {
    libc.flock(first, LOCK_EX | LOCK_NB);
    assert.equal(failure(() => libc.flock(second, LOCK_EX | LOCK_NB)).code, "EAGAIN");
    libc.flock(first, LOCK_UN);
    libc.flock(second, LOCK_EX | LOCK_NB);
  } finally {
    closeSync(first);
    closeSync(second);
  }
});

test("users and groups are found by name and number", () => {
  assert.deepEqual(libc.userByName("root"), { uid: 0, gid: 0 });
  assert.deepEqual(libc.userById(0), { uid: 0, gid: 0 });
  assert.equal(libc.userByName("no-such-user-here"), undefined);
  assert.equal(libc.userById(4_000_000_001), undefined);
  assert.equal(libc.groupByName("root"), 0);
  assert.equal(libc.groupByName("no-such-group-here"), undefined);
});

test("a name with a NUL is not taken for the part before it", () => {
  assert.equal(libc.userByName("root\0x"), undefined);
  assert.equal(libc.groupByName("root\0x"), undefined);
});

test("a pointer inside a structure reaches the buffer it points to", async () => {
  const ffi = await loadForeignFunctions();
  const buffer = new Uint8Array(new ArrayBuffer(64));
  buffer.set([1, 2, 3, 4], 8);
  const address = libc.addressOf(buffer);
  assert.deepEqual([...new Uint8Array(ffi.view(address + 8n, 4))], [1, 2, 3, 4]);
  assert.equal(libc.addressOf(buffer.subarray(8)), address + 8n);
});

test("the library is opened once", async () => {
  assert.equal(await loadLibc(), libc);
  assert.equal(openLibc(await loadForeignFunctions()), libc);
});

test("a file's memory is shared with who maps it again, and given back as zeros", () => {
  const BYTES = 256 * 1024;
  const file = libc.memfdCreate("test", 1);
  libc.truncate(file, BYTES);
  const first = libc.mapShared(file, BYTES);
  const second = libc.mapShared(file, BYTES);
  first.bytes.fill(7);
  assert.deepEqual(second.bytes, new Uint8Array(BYTES).fill(7));
  second.discard(64 * 1024, 64 * 1024);
  assert.deepEqual([first.bytes.indexOf(0), first.bytes.lastIndexOf(0)], [64 * 1024, 128 * 1024 - 1]);
  assert.equal(failure(() => second.discard(1, 1)).code, "EINVAL");
  libc.close(file);
  assert.equal(failure(() => libc.mapShared(file, BYTES)).code, "EBADF");
});
