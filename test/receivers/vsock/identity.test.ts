import assert from "node:assert/strict";
import { test } from "node:test";
import { sandboxId, sandboxSource, socketSource, vsockSource } from "../../../src/receivers/vsock/identity.ts";

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

test("a guest over AF_VSOCK is known by its CID, a number, and that is its account whatever its port", () => {
  const source = vsockSource({ cid: 3, port: 1026 });
  assert.deepEqual([source.kind, source.name, source.account], ["guest", "vsock:3:1026", "vsock:3"]);
  assert.deepEqual([...source.attributes], [["kata.vsock.cid", 3]]);
  assert.equal(vsockSource({ cid: 3, port: 1027 }).account, source.account);
  assert.notEqual(vsockSource({ cid: 31, port: 1026 }).account, source.account);
});

test("and by its sandbox too, where that was found", () => {
  const source = vsockSource({ cid: 3, port: 1026 }, "foo");
  assert.deepEqual([source.name, source.account], ["vsock:3:1026", "vsock:3"]);
  assert.deepEqual([...source.attributes], [["kata.vsock.cid", 3], ["kata.sandbox.id", "foo"]]);
});

test("a guest over hybrid vsock is known by its sandbox", () => {
  const source = socketSource("/run/vc/vm/foo/clh.sock");
  assert.deepEqual([source.kind, source.name], ["guest", "foo"]);
  assert.deepEqual([...source.attributes], [["kata.sandbox.id", "foo"]]);
});

test("sandboxes in different directories have different accounts, whatever they are called", () => {
  const paths = ["/a/box:1/vm.sock", "/a/box:2/vm.sock", "/b/box:1/vm.sock", "/a/box/vm.sock", "/a/vsock:3/vm.sock"];
  const accounts = [...paths.map((path) => socketSource(path).account), vsockSource({ cid: 3, port: 1 }).account];
  assert.equal(new Set(accounts).size, accounts.length);
  assert.notEqual(sandboxSource("box", "/a/box/x").account, sandboxSource("box", "/b/box/x").account);
});
