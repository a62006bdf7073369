import assert from "node:assert/strict";
import { test } from "node:test";
import { sandboxId, sandboxIdentity, vsockIdentity } from "../../../src/receivers/vsock/identity.ts";

const PATHS: readonly [path: string, id: string][] = [
  // Kata's templates.
  ["/run/vc/vm/foo/clh.sock", "foo"],
  ["/run/vc/firecracker/foo/root/kata.hvsock", "foo"],
  ["/run/vc/dragonball/foo/root/kata.hvsock", "foo"],
  ["/var/lib/vc/dragonball/foo/root/kata.hvsock", "foo"],
  ["/run/kata/foo/root/kata.hvsock", "foo"],
  ["/run/kata/foo/ch-vm.sock", "foo"],
  ["/run/kata/firecracker/foo/root/kata.hvsock", "foo"],
  ["/run/user/1000/run/vc/vm/foo/clh.sock", "foo"],
  ["/run/vc/vm/0a4e9c2d/clh.sock", "0a4e9c2d"],
  // A sandbox that is called what a jail's directory is.
  ["/run/vc/vm/root/clh.sock", "root"],
  ["/run/kata/root/ch-vm.sock", "root"],
  ["/run/kata/root/root/kata.hvsock", "root"],
  ["/run/vc/firecracker/root/root/kata.hvsock", "root"],
  // Anywhere else: the directory that holds the socket.
  ["/tmp/box/vm.sock", "box"],
  ["/srv/box/root/vm.sock", "root"],
  ["/run/vcx/firecracker/foo/root/kata.hvsock", "root"],
  ["/vm.sock", "/"],
];

for (const [path, id] of PATHS) {
  test(`the sandbox of ${path} is ${id}`, () => assert.equal(sandboxId(path), id));
}

test("a guest over AF_VSOCK is known by its CID, a number", () => {
  const identity = vsockIdentity({ cid: 3, port: 1026 });
  assert.equal(identity.peer, "vsock:3:1026");
  assert.deepEqual([...identity.attributes], [["kata.vsock.cid", 3]]);
});

test("and by its sandbox too, where that was found", () => {
  const identity = vsockIdentity({ cid: 3, port: 1026 }, "foo");
  assert.equal(identity.peer, "vsock:3:1026");
  assert.deepEqual([...identity.attributes], [["kata.vsock.cid", 3], ["kata.sandbox.id", "foo"]]);
});

test("a guest over hybrid vsock is known by its sandbox", () => {
  const identity = sandboxIdentity("/run/vc/vm/foo/clh.sock");
  assert.equal(identity.peer, "foo");
  assert.deepEqual([...identity.attributes], [["kata.sandbox.id", "foo"]]);
});
