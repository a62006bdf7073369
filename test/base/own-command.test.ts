import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ownCommand } from "../../src/base/own-command.ts";

test("another process of the program runs its first module, whichever script runs here", () => {
  const command = ownCommand();
  assert.equal(command[0], process.execPath);
  assert.equal(command.at(-1), fileURLToPath(new URL("../../src/main.ts", import.meta.url)));
});
