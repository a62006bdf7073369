import assert from "node:assert/strict";
import { test } from "node:test";
import { unixSockaddr } from "../../../ffi/sockets.ts";
import { readVsockSockaddr, vsockSockaddr } from "../../../src/receivers/vsock/sockaddr.ts";

test("an AF_VSOCK address is laid out as struct sockaddr_vm", () => {
  assert.deepEqual(
    [...vsockSockaddr({ cid: 0xffff_fffe, port: 10240 })],
    [40, 0, 0, 0, 0x00, 0x28, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0],
  );
});

test("an AF_VSOCK address is read back, wherever it lies", () => {
  const address = { cid: 0x8000_0003, port: 0xffff_ffff };
  const padded = new Uint8Array(32);
  padded.set(vsockSockaddr(address), 5);
  assert.deepEqual(readVsockSockaddr(padded.subarray(5, 21)), address);
});

test("an address of another family, or a short one, is refused", () => {
  const unix = unixSockaddr("/run/vc/vm/foo/clh.sock");
  assert.throws(() => readVsockSockaddr(unix), TypeError);
  assert.throws(() => readVsockSockaddr(vsockSockaddr({ cid: 3, port: 4 }).subarray(0, 15)), {
    message: "no AF_VSOCK address in 15 bytes",
  });
  assert.throws(() => readVsockSockaddr(new Uint8Array(0)), TypeError);
});

test("a path's address ends with a NUL", () => {
  assert.deepEqual([...unixSockaddr("/é")], [1, 0, 0x2f, 0xc3, 0xa9, 0]);
});
