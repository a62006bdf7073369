import assert from "node:assert/strict";
import { test } from "node:test";
import { isInExecutable } from "../../src/base/in-executable.ts";

test("a module is in the executable, or on a disk", () => {
  assert.equal(isInExecutable("file:///$bunfs/root/main.js"), true);
  assert.equal(isInExecutable(new URL("./worker.ts", "file:///$bunfs/root/chunk-0a1b.js")), true);
  assert.equal(isInExecutable(import.meta.url), false);
  assert.equal(isInExecutable("file:///srv/$bunfs/root/main.js"), false);
});
