import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { environmentNames, type Option } from "../src/options/option.ts";
import { DEMO_OPTIONS, OPTION_GROUPS } from "../src/options/table.ts";
import { withBlock } from "./marked-block.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The paths of the documents that may hold the table. */
export const DOCUMENTS: readonly string[] = ["docs/options.md"]
  .map((name) => `${root}${name}`)
  .filter(existsSync);

/** Every option as Markdown, a table for each group. */
export function optionsTable(): string {
  const parts: string[] = [];
  for (const [group, table] of Object.entries({ ...OPTION_GROUPS, "`demo`": DEMO_OPTIONS })) {
    parts.push(
      `## ${group}`,
      "",
      "| Option | Environment | Default | |",
      "|---|---|---|---|",
      ...Object.values(table).map(row),
      "",
    );
  }
  return parts.join("\n");
}

function row(option: Option): string {
  const flags = option.flag === undefined
    ? ""
    : `\`${option.short ? `${option.short}, ` : ""}${option.flag}${
      option.metavar === undefined ? "" : ` ${option.metavar}`
    }\``;
  const cells = [
    flags,
    environmentNames(option).map((name) => `\`${name}\``).join(", "),
    option.default === undefined ? option.defaultText ?? "" : `\`${option.default}\``,
    option.help,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** A document with the table brought up to date; undefined if it has no place for it. */
export function withTable(document: string): string | undefined {
  return withBlock(document, { name: "options", script: "scripts/options-table" }, optionsTable());
}

if (import.meta.main) {
  for (const path of DOCUMENTS) {
    const document = readFileSync(path, "utf8");
    const updated = withTable(document);
    if (updated === undefined || updated === document) continue;
    writeFileSync(path, updated);
    console.log(`scripts/options-table: ${path} brought up to date`);
  }
}
