import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { startChild } from "../support/child.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { firstLine } from "./support/privileges.ts";

const CHILD = new URL("./confinement.child.ts", import.meta.url);

test("a process can reach only the files that it names, and leaves no core dump", async () => {
  using readable = temporaryDirectory();
  using writable = temporaryDirectory();
  using hidden = temporaryDirectory();
  for (const { path } of [readable, writable, hidden]) writeFileSync(`${path}/file`, "x");
  writeFileSync(`${hidden.path}/shared-file`, "");
  const child = startChild(CHILD, readable.path, writable.path, hidden.path);
  try {
    const { pid, version, restriction, results } = await firstLine(child);
    const limits = readFileSync(`/proc/${Number(pid)}/limits`, "utf8");
    assert.match(limits, /^Max core file size +0 +0 +bytes/m);
    // Its memory is root's alone, whoever it runs as.
    assert.equal(statSync(`/proc/${Number(pid)}/mem`).uid, 0);
    if (version === 0) {
      assert.equal(restriction, "none: the kernel has no Landlock");
      return;
    }
    const isNetBound = Number(version) >= 4;
    assert.deepEqual(results, {
      read: "done",
      list: "done",
      writeReadable: "EACCES",
      createReadable: "EACCES",
      create: "done",
      remove: "done",
      readHidden: "EACCES",
      listHidden: "EACCES",
      createHidden: "EACCES",
      writeFile: "done",
      passwd: "EACCES",
      bound: isNetBound ? "refused" : "done",
    });
    assert.equal(restriction, Number(version) >= 8 ? "every thread" : "this thread and those that it starts");
  } finally {
    child.stdin?.end();
    child.kill();
  }
});
