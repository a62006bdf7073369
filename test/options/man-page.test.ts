import assert from "node:assert/strict";
import { test } from "node:test";
import { manPage } from "../../scripts/man-page.ts";
import type { Option } from "../../src/options/option.ts";
import { environmentNames } from "../../src/options/option.ts";
import { COMMANDS, OPTIONS } from "../../src/options/table.ts";

const PAGE = manPage("2026-01-02");

test("the man page has every option, its variables and its default, and every command", () => {
  for (const option of Object.values(OPTIONS) as readonly Option[]) {
    for (const name of [option.flag ?? [], environmentNames(option)].flat()) {
      assert.ok(PAGE.includes(name.replaceAll("-", "\\-")), name);
    }
  }
  for (const name of Object.keys(COMMANDS)) assert.match(PAGE, new RegExp(`^\\.SS ${name}$`, "m"));
  assert.match(PAGE, /\\fB\\-l\\fR, \\fB\\-\\-log\\-level\\fR \\fILEVEL\\fR\n.*Default: info\./);
  assert.match(PAGE, /^\.TH KATA-TRACE-FORWARDER 1 2026-01-02 "kata-trace-forwarder \d/);
});

test("no line of it is a request by accident", () => {
  const known = new Set([".TH", ".SH", ".SS", ".TP", ".PP", ".br", ".B", ".I"]);
  for (const line of PAGE.split("\n")) {
    if (/^[.']/.test(line)) assert.ok(known.has(line.split(" ")[0] ?? ""), line);
  }
});
