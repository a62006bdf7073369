import assert from "node:assert/strict";
import { test } from "node:test";
import { refusedVariable } from "../../src/base/runtime-variables.ts";

test("variables with which the runtime would do something else are refused by name", () => {
  for (
    const [variable, value] of [
      ["BUN_OPTIONS", "--preload /tmp/x.js"],
      ["BUN_BE_BUN", "1"],
      ["BUN_INSPECT", "127.0.0.1:1"],
      ["BUN_INSPECT_PRELOAD", "/x"],
      ["NODE_TLS_REJECT_UNAUTHORIZED", "0"],
    ] as const
  ) assert.match(refusedVariable({ PATH: "/bin", [variable]: value }) ?? "", new RegExp(`^${variable} .*: unset it$`));
});

test("nothing else is refused", () => {
  const variables = { BUN_OPTIONS: "", BUN_BE_BUN: "", NODE_TLS_REJECT_UNAUTHORIZED: "1", BUN_JSC_useJIT: "1", X: "0" };
  assert.equal(refusedVariable(variables), undefined);
});
