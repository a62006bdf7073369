import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { inodeOf, isLoopback, listeningInode } from "../../../src/receivers/peers/socket-table.ts";

const IPV4 = "   1: 0100007F:9D24 0100007F:37BC 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 x";
const MAPPED = "   2: 0000000000000000FFFF00000100007F:9D24 0000000000000000FFFF00000100007F:37BC 01 " +
  "00000000:00000000 00:00000000 00000000  1000        0 4712 1 x";
const IPV6 = "   3: 00000000000000000000000001000000:9D24 00000000000000000000000001000000:37BC 01 " +
  "00000000:00000000 00:00000000 00000000     0        0 4713 1 x";
const CONNECTION = { address: "127.0.0.1", port: 0x9d24, peerAddress: "127.0.0.1", peerPort: 14268 };

test("a connection's other end is found by both addresses and ports", () => {
  assert.equal(inodeOf(IPV4, CONNECTION), 4711);
  assert.equal(inodeOf(IPV4, { ...CONNECTION, address: "::ffff:127.0.0.1", peerAddress: "::ffff:127.0.0.1" }), 4711);
  assert.equal(inodeOf(MAPPED, CONNECTION), 4712);
  for (const address of ["::1", "0:0:0:0:0:0:0:1", "0::1"]) {
    assert.equal(inodeOf(IPV6, { ...CONNECTION, address, peerAddress: "::1" }), 4713, address);
  }
});

test("what differs in anything is another one", () => {
  for (const [key, value] of Object.entries({ address: "127.0.0.2", port: 1, peerAddress: "127.0.0.2", peerPort: 1 })) {
    assert.equal(inodeOf(IPV4, { ...CONNECTION, [key]: value }), undefined, key);
  }
  assert.equal(inodeOf(IPV4.replace(" 01 ", " 06 "), CONNECTION), undefined);
  assert.equal(inodeOf(IPV4.replace(" 4711 ", " 0 "), CONNECTION), undefined);
  for (const address of ["", "x", "1::2::3", "::fffff", "300.0.0.1", "1:2:3"]) {
    assert.equal(inodeOf(IPV4, { ...CONNECTION, address }), undefined, address);
  }
  for (const line of ["", "sl  local_address rem_address st", IPV4.slice(0, 60)]) {
    assert.equal(inodeOf(line, CONNECTION), undefined);
  }
});

test("loopback addresses are those that lead back to the machine", () => {
  for (const address of ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]) assert.ok(isLoopback(address), address);
  for (const address of ["10.0.0.1", "::2", "", "::ffff:10.0.0.1", "128.0.0.1"]) {
    assert.ok(!isLoopback(address), address);
  }
});

test("a listening socket is found by its port", () => {
  const table = `  sl\n${IPV4}\n   4: 00000000:37BC 00000000:0000 0A 0:0 00:0 0 0 0 99 1 x\n`;
  assert.equal(listeningInode(table, 14268), 99);
  assert.equal(listeningInode(table, 0x9d24), undefined);
});

test("the kernel's own table is as expected", async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const client = net.connect(port, "127.0.0.1");
  await new Promise((resolve) => client.once("connect", resolve));
  const connection = { address: "127.0.0.1", port: client.localPort ?? 0, peerAddress: "127.0.0.1", peerPort: port };
  const table = readFileSync("/proc/net/tcp", "utf8");
  const inodes = table.split("\n").map((line) => inodeOf(line, connection)).filter((inode) => inode !== undefined);
  assert.equal(inodes.length, 1);
  assert.ok((listeningInode(table, port) ?? 0) > 0);
  client.destroy();
  server.close();
});
