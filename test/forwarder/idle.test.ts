import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startChild } from "../support/child.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** Where timers were set that a forwarder has although its guests say nothing. */
async function timersLeft(args: (directory: string) => string[]): Promise<string[]> {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  chmodSync(directory, 0o777);
  const child = startChild(new URL("./idle.child.ts", import.meta.url), directory, ...args(directory));
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => output += text);
  await new Promise((resolve) => child.once("close", resolve));
  return JSON.parse(output) as string[];
}

test("a forwarder whose guests say nothing has no timer", async () => {
  assert.deepEqual(await timersLeft(() => []), []);
});

test("… nor with a spool, its metrics, joined traces and a runtime's endpoint", async () => {
  const args = [
    "--join-traces",
    "--metrics",
    "127.0.0.1:0",
    "--jaeger-listen",
    "127.0.0.1:0",
    "--max-spans-per-second",
  ];
  assert.deepEqual(await timersLeft((directory) => [...args, "100", "--spool-dir", join(directory, "spool")]), []);
});
