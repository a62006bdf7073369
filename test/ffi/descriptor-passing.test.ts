import assert from "node:assert/strict";
import { statSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import {
  type DescriptorMessage,
  MAX_DESCRIPTORS,
  peerCredentials,
  receiveDescriptors,
  sendDescriptors,
} from "../../ffi/descriptor-passing.ts";
import { errnoName } from "../../ffi/errors.ts";
import { loadLibc } from "../../ffi/libc.ts";

/** socket(2), recv(2), fcntl(2), x86_64 and aarch64 alike. */
const AF_UNIX = 1, SOCK_STREAM = 1, SOCK_SEQPACKET = 5, SOCK_CLOEXEC = 0o2000000, MSG_DONTWAIT = 0x40;
const F_GETFD = 1, FD_CLOEXEC = 1;

const libc = await loadLibc();
const text = new TextEncoder();

function withPair(type: number, use: (ends: readonly [number, number]) => void): void {
  const ends = libc.socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0);
  try {
    use(ends);
  } finally {
    for (const end of ends) libc.close(end);
  }
}

function inode(fd: number): number {
  return statSync(`/proc/self/fd/${fd}`).ino;
}

function closeAll({ descriptors }: DescriptorMessage): void {
  for (const fd of descriptors) libc.close(fd);
}

test("descriptors arrive with their message, as new ones of the same open files", () => {
  withPair(SOCK_SEQPACKET, ([near, far]) => {
    const files = [libc.memfdCreate("a", 0), libc.memfdCreate("b", 0)];
    assert.equal(sendDescriptors(libc, near, text.encode("first"), files), 5);
    assert.equal(sendDescriptors(libc, near, text.encode("second, without"), []), 15);
    const inodes = files.map((fd) => inode(fd));
    for (const fd of files) libc.close(fd);
    const first = receiveDescriptors(libc, far, 100, 8);
    assert.equal(new TextDecoder().decode(first.bytes), "first");
    assert.deepEqual(first.descriptors.map((fd) => inode(fd)), inodes);
    assert.deepEqual(first.descriptors.map((fd) => libc.fcntl(fd, F_GETFD, 0)), [FD_CLOEXEC, FD_CLOEXEC]);
    assert.equal(first.isTruncated, false);
    closeAll(first);
    const second = receiveDescriptors(libc, far, 100, 8);
    assert.equal(new TextDecoder().decode(second.bytes), "second, without");
    assert.deepEqual(second.descriptors, []);
  });
});

test("a message takes the kernel's maximum of descriptors, and one more is refused", () => {
  withPair(SOCK_STREAM, ([near, far]) => {
    const file = libc.memfdCreate("many", 0);
    const many = Array.from({ length: MAX_DESCRIPTORS }, () => file);
    sendDescriptors(libc, near, text.encode("x"), many);
    const message = receiveDescriptors(libc, far, 1, MAX_DESCRIPTORS);
    assert.equal(message.descriptors.length, MAX_DESCRIPTORS);
    assert.equal(new Set(message.descriptors).size, MAX_DESCRIPTORS);
    closeAll(message);
    assert.throws(() => sendDescriptors(libc, near, text.encode("x"), [...many, file]), { code: "EINVAL" });
    libc.close(file);
  });
});

test("the result says if there were more descriptors than asked for", () => {
  withPair(SOCK_SEQPACKET, ([near, far]) => {
    const file = libc.memfdCreate("one", 0);
    sendDescriptors(libc, near, text.encode("x"), Array.from({ length: 8 }, () => file));
    const message = receiveDescriptors(libc, far, 10, 2);
    assert.equal(message.isTruncated, true);
    assert.equal(message.descriptors.length, 2);
    closeAll(message);
    libc.close(file);
  });
});

test("an empty queue, an end and an invalid descriptor are reported as by the system calls", () => {
  const [near, far] = libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert.throws(
    () => receiveDescriptors(libc, far, 10, 1, MSG_DONTWAIT),
    (error) => errnoName(error) === "EAGAIN",
  );
  assert.throws(() => sendDescriptors(libc, near, text.encode("x"), [9999]), { code: "EBADF" });
  libc.close(near);
  const end = receiveDescriptors(libc, far, 10, 1);
  assert.deepEqual([end.bytes.length, end.descriptors.length], [0, 0]);
  assert.throws(() => sendDescriptors(libc, far, text.encode("x"), []), { code: "EPIPE" });
  libc.close(far);
});

test("the peer of a UNIX socket is the process that made the connection", () => {
  withPair(SOCK_STREAM, ([near]) => {
    assert.deepEqual(peerCredentials(libc, near), {
      pid: process.pid,
      uid: process.geteuid?.(),
      gid: process.getegid?.(),
    });
  });
});
