import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_KEYS, readRequest } from "../../src/helper/protocol.ts";

const request = (value: unknown) => readRequest(JSON.stringify(value));

test("requests are read as they were meant, without anything else that is in them", () => {
  for (const type of ["begin", "pause", "close"] as const) assert.deepEqual(request({ type, path: "/" }), { type });
  assert.deepEqual(request({ type: "left", keys: ["a", "b"] }), { type: "left", keys: ["a", "b"] });
  assert.deepEqual(request({ type: "leave", keys: [], more: 1 }), { type: "leave", keys: [] });
  assert.deepEqual(request({ type: "open", id: 7, path: "/a" }), { type: "open", id: 7, path: "/a" });
  const list = { type: "list", id: 8, path: "/a", prefix: "b" };
  assert.deepEqual(request({ ...list, more: 1 }), list);
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
    ]
  ) assert.equal(request(value), undefined, JSON.stringify(value));
  for (const text of ["", "{", "\0", "begin", '{"type":"begin"}}']) assert.equal(readRequest(text), undefined, text);
});
