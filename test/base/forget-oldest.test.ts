import assert from "node:assert/strict";
import { test } from "node:test";
import { forgetOldest } from "../../src/base/forget-oldest.ts";

test("the entries that were added first go, until there are few enough", () => {
  const map = new Map([["a", 1], ["b", 2], ["c", 3]]);
  forgetOldest(map, 3);
  assert.deepEqual([...map.keys()], ["a", "b", "c"]);
  // Added again, it is the newest.
  map.delete("a");
  map.set("a", 4);
  forgetOldest(map, 2);
  assert.deepEqual([...map], [["c", 3], ["a", 4]]);
  const set = new Set([1, 2, 3]);
  forgetOldest(set, 0);
  assert.equal(set.size, 0);
});
