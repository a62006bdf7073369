import assert from "node:assert/strict";
import type { Settings } from "../../src/pipeline/settings.ts";
import { parseCommandLine } from "../../src/options/cli.ts";

/** The settings that a forwarder has with these arguments and nothing in the environment. */
export function settingsOf(...words: readonly string[]): Settings {
  const command = parseCommandLine(["check", ...words], {});
  assert.equal(command.kind, "check");
  return command.settings;
}
