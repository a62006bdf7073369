import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseCommandLine } from "../../src/options/cli.ts";
import { environmentNames } from "../../src/options/option.ts";
import { OPTIONS } from "../../src/options/table.ts";
import { environmentFile } from "../../scripts/environment-file.ts";

const FILE = new URL("../../deploy/systemd/kata-trace-forwarder.env", import.meta.url);

/**
 * The assignments of a file, those commented out too where asked for, in the syntax of systemd's `EnvironmentFile=`.
 */
function assignments(text: string, commented: boolean): Record<string, string> {
  const pattern = commented ? /^#?([A-Z][A-Z0-9_]*)=(.*)$/gm : /^([A-Z][A-Z0-9_]*)=(.*)$/gm;
  return Object.fromEntries([...text.matchAll(pattern)].map(([, name, value]) => [name, value]));
}

test("the environment file is up to date (if not, run scripts/options-table)", () => {
  assert.equal(
    readFileSync(FILE, "utf8"),
    environmentFile(),
    "run scripts/options-table",
  );
});

test("every option has a line, and every line is an option or the exporter's", () => {
  const lines = Object.keys(assignments(readFileSync(FILE, "utf8"), true));
  const options = Object.values(OPTIONS).map((option) => environmentNames(option).at(-1));
  assert.deepEqual(
    lines.filter((name) => !options.includes(name)),
    ["HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"]
      .map((name) => `OTEL_EXPORTER_OTLP_${name}`),
  );
  assert.deepEqual(options.filter((name) => !lines.includes(name as string)), []);
});

test("as it is the file sets nothing, and with every default uncommented nothing changes", () => {
  const text = readFileSync(FILE, "utf8");
  assert.deepEqual(assignments(text, false), {});
  const defaults = Object.entries(assignments(text, true)).filter(([name, value]) =>
    value !== "true" && !name.startsWith("OTEL_EXPORTER_OTLP_")
  );
  assert.deepEqual(
    parseCommandLine([], Object.fromEntries(defaults)),
    parseCommandLine([], {}),
  );
});
