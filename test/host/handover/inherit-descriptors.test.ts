import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const CHILD = fileURLToPath(new URL("./inherit-descriptors.child.ts", import.meta.url));

/** Runs the child with descriptors 3, 4 … open, `LISTEN_PID` its own; what it prints. */
function inherit(variables: string, descriptors = "3</dev/null 4</dev/zero"): unknown {
  const runtime = "Bun" in globalThis ? [process.execPath] : [process.execPath, "run", "--no-check", "--allow-all"];
  const script = `export LISTEN_PID=$$ ${variables}; exec "$@" ${descriptors}`;
  const { stdout, stderr } = spawnSync("/bin/sh", ["-c", script, "sh", ...runtime, CHILD], { encoding: "utf8" });
  return stdout === "" ? assert.fail(stderr) : JSON.parse(stdout);
}

test("descriptors come with their names, close-on-exec, and the variables are gone", () => {
  assert.deepEqual(inherit("LISTEN_FDS=2 LISTEN_FDNAMES='guest|1|v|3|1026:unread'"), {
    inherited: [
      { name: "guest|1|v|3|1026", path: "/dev/null", closesOnExec: true },
      { name: "unread", path: "/dev/zero", closesOnExec: true },
    ],
    left: [],
  });
});

test("descriptors without names are unknown ones", () => {
  assert.deepEqual(inherit("LISTEN_FDS=1"), {
    inherited: [{ name: "unknown", path: "/dev/null", closesOnExec: true }],
    left: [],
  });
});

test("those of another process, and numbers that are none, are left alone", () => {
  const nothing = { inherited: [], left: [] };
  assert.deepEqual(inherit("LISTEN_PID=1 LISTEN_FDS=2"), nothing);
  assert.deepEqual(inherit("LISTEN_FDS=-1"), nothing);
  assert.deepEqual(inherit("LISTEN_FDS=two"), nothing);
  assert.deepEqual(inherit("LISTEN_FDS="), nothing);
});
