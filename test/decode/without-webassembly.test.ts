import assert from "node:assert/strict";
import { test } from "node:test";
import { startChild } from "../support/child.ts";

/** What the child says of itself. */
async function decodedBy(how: "with" | "without"): Promise<{ hasVectors: boolean; hash: string }> {
  const child = startChild(new URL("./without-webassembly.child.ts", import.meta.url), how);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => output += text);
  await new Promise((resolve) => child.once("close", resolve));
  return JSON.parse(output) as { hasVectors: boolean; hash: string };
}

test("a runtime without WebAssembly decodes everything to the same bytes", { timeout: 90_000 }, async () => {
  const [usual, without] = await Promise.all([decodedBy("with"), decodedBy("without")]);
  assert.deepEqual([usual.hasVectors, without.hasVectors], [true, false]);
  assert.equal(without.hash, usual.hash);
});
