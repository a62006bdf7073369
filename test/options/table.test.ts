import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { DOCUMENTS, optionsTable, withTable } from "../../scripts/options-table.ts";
import type { Option } from "../../src/options/option.ts";
import { DEMO_OPTIONS, OPTIONS } from "../../src/options/table.ts";

test("docs/options.md is up to date (if not, run scripts/options-table)", () => {
  let found = 0;
  for (const path of DOCUMENTS) {
    const document = readFileSync(path, "utf8");
    const updated = withTable(document);
    if (updated === undefined) continue;
    found++;
    assert.equal(document, updated, path);
  }
  assert.ok(found > 0);
});

test("the table is replaced between its marks, and the rest of the document stays", () => {
  const marks = [
    "<!-- options: written by scripts/options-table -->",
    "<!-- /options -->",
  ];
  const document = `a\n${marks[0]}\nold\n${marks[1]}\nb\n`;
  assert.equal(withTable(document), `a\n${marks[0]}\n\n${optionsTable()}\n${marks[1]}\nb\n`);
  assert.equal(withTable("a\n"), undefined);
  assert.equal(withTable(`${marks[1]}${marks[0]}`), undefined);
});

test("a row has flag, variable, default and meaning", () => {
  assert.ok(
    optionsTable().includes(
      "\n| `--idle-timeout TIME\\|off` | `KATA_TRACE_FORWARDER_IDLE_TIMEOUT` | `off` | " +
        "A guest that sends nothing for this long is disconnected |\n",
    ),
  );
  assert.ok(optionsTable().includes("\n| `-l, --log-level LEVEL` | "));
  assert.ok(optionsTable().includes("\n|  | `OTEL_RESOURCE_ATTRIBUTES` |  | Attributes for every"));
});

test("every option has one sentence, a flag or a variable, and a default that it accepts", () => {
  const options = [...Object.values(OPTIONS), ...Object.values(DEMO_OPTIONS)] as Option[];
  for (const option of options) {
    const name = option.flag ?? option.env?.[0];
    assert.ok(name);
    assert.match(option.help, /^[A-Za-z].*[^.]$/, name);
    if (option.default !== undefined) option.parse(option.default);
    if (typeof option.complete === "object") {
      option.complete.forEach((value) => option.parse(value));
    }
  }
});
