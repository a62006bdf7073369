import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_KEYS, readRequest } from "../../src/helper/protocol.ts";

const request = (value: unknown) => readRequest(JSON.stringify(value));

const CONNECTION = { address: "127.0.0.1", port: 40_000, peerAddress: "127.0.0.1", peerPort: 14_268 };

test("requests are read as they were meant, without anything else that is in them", () => {
  for (const type of ["begin", "pause", "close"] as const) assert.deepEqual(request({ type, path: "/" }), { type });
  assert.deepEqual(request({ type: "left", keys: ["a", "b"] }), { type: "left", keys: ["a", "b"] });
  assert.deepEqual(request({ type: "leave", keys: [], more: 1 }), { type: "leave", keys: [] });
  assert.deepEqual(request({ type: "open", id: 7, path: "/a" }), { type: "open", id: 7, path: "/a" });
  const list = { type: "list", id: 8, path: "/a", prefix: "b" };
  assert.deepEqual(request({ ...list, more: 1 }), list);
  for (const address of ["127.0.0.1", "::1", "::ffff:127.0.0.5"]) {
    const peer = { type: "peer", id: 9, connection: { ...CONNECTION, address } };
    assert.deepEqual(request({ ...peer, connection: { ...peer.connection, more: 1 } }), peer);
  }
});

test("anything else is no request", () => {
  for (
    const value of [
      null,
      1,
      "begin",
      [],
      {},
      { type: "exec" },
      { type: "__proto__" },
      { type: ["begin"] },
      { type: "left" },
      { type: "left", keys: "ab" },
      { type: "left", keys: [1] },
      { type: "leave", keys: { length: 1, 0: "a" } },
      { type: "leave", keys: Array(MAX_KEYS + 1).fill("a") },
      { type: "open", id: 1.5, path: "/a" },
      { type: "open", id: "1", path: "/a" },
      { type: "open", id: 1, path: ["/a"] },
      { type: "open", id: 1 },
      { type: "list", id: 1, path: "/a" },
      { type: "list", id: 1, path: "/a", prefix: 1 },
      { type: "list", id: 0.1, path: "/a", prefix: "" },
      { type: "peer", id: 1 },
      { type: "peer", id: 1, connection: null },
      { type: "peer", id: 1, connection: { ...CONNECTION, address: "192.0.2.1" } },
      { type: "peer", id: 1, connection: { ...CONNECTION, peerAddress: "/proc/1/environ" } },
      { type: "peer", id: 1, connection: { ...CONNECTION, address: ["127.0.0.1"] } },
      { type: "peer", id: 1, connection: { ...CONNECTION, port: "40000" } },
      { type: "peer", id: 1, connection: { ...CONNECTION, port: 0 } },
      { type: "peer", id: 1, connection: { ...CONNECTION, peerPort: 65_536 } },
      { type: "peer", id: "1", connection: CONNECTION },
    ]
  ) assert.equal(request(value), undefined, JSON.stringify(value));
  for (const text of ["", "{", "\0", "begin", '{"type":"begin"}}']) assert.equal(readRequest(text), undefined, text);
});
