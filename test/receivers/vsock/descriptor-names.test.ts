import assert from "node:assert/strict";
import { lstatSync } from "node:fs";
import { test } from "node:test";
import { isDescriptorName } from "../../../src/host/service-manager.ts";
import {
  guestDescriptorName,
  guestOfDescriptor,
  unixListenerName,
  vsockListenerName,
} from "../../../src/receivers/vsock/descriptor-names.ts";
import { sandboxSource, socketSource, vsockSource } from "../../../src/receivers/vsock/identity.ts";

const ID = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

const SOURCES = [
  vsockSource({ cid: 3, port: 1026 }),
  vsockSource({ cid: 4294967294, port: 4294967295 }, ID),
  sandboxSource(ID, `/run/vc/vm/${ID}/clh.sock_10240`),
  sandboxSource(ID, `/run/kata/firecracker/${ID}/root/kata.hvsock_10240`),
  socketSource("/tmp/a:b|c%{}d/clh.sock"),
  socketSource("/tmp/ünïcode 🦊/clh.sock"),
  socketSource("/clh.sock"),
  sandboxSource("a", "/a/a/a_a"),
  sandboxSource("{}", "/x/{}/y"),
  sandboxSource("$&", "/x/$&/y"),
];

test("a guest's source is read back from its connection's name, which systemd takes", () => {
  for (const source of SOURCES) {
    const name = guestDescriptorName(source);
    assert.ok(name !== undefined && isDescriptorName(name), `${name}`);
    assert.deepEqual(guestOfDescriptor(name), source);
  }
});

test("names are short enough for a thousand sandboxes, and each connection has its own", () => {
  const source = sandboxSource(ID, `/run/vc/firecracker/${ID}/root/kata.hvsock_10240`);
  const names = Array.from({ length: 1000 }, () => guestDescriptorName(source) ?? assert.fail());
  assert.equal(new Set(names).size, 1000);
  assert.ok(names.join(":").length < 150 * 1000, `${names.join(":").length} bytes, such as ${names[999]}`);
});

test("a sandbox whose name does not fit has no name", () => {
  assert.equal(guestDescriptorName(sandboxSource("é".repeat(60), "/run/x")), undefined);
});

test("other names are no guests'", () => {
  for (
    const name of ["", "unread", "unknown", "guest", "guest|1", "listen|vsock|3|1", "guests|1||3|a|b", "a|b|c|d|e|f"]
  ) {
    assert.equal(guestOfDescriptor(name), undefined, name);
  }
});

test("listening sockets are named by their address, or by their file", () => {
  assert.equal(vsockListenerName({ cid: 4294967295, port: 10240 }), "listen|vsock|4294967295|10240");
  const file = lstatSync("/dev/null", { bigint: true });
  assert.equal(unixListenerName(file), `listen|unix|${file.dev}|${file.ino}`);
  assert.ok(isDescriptorName(unixListenerName(file)));
});
