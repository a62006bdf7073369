import assert from "node:assert/strict";
import { test } from "node:test";
import { byteLengthOf, joinBytes } from "../../src/base/joined-bytes.ts";

test("parts are joined in their order, in new memory", () => {
  const parts = [Uint8Array.of(1, 2), Uint8Array.of(), Uint8Array.of(0, 3, 4, 0).subarray(1, 3), Uint8Array.of(5)];
  assert.equal(byteLengthOf(parts), 5);
  const joined = joinBytes(parts);
  assert.deepEqual(joined, Uint8Array.of(1, 2, 3, 4, 5));
  joined.fill(9);
  assert.deepEqual(parts.map((part) => [...part]), [[1, 2], [], [3, 4], [5]]);
});

test("one part is not copied, and no part is an empty array", () => {
  const only = Uint8Array.of(1);
  assert.equal(joinBytes([only]), only);
  assert.deepEqual([joinBytes([]), byteLengthOf([])], [new Uint8Array(), 0]);
});
