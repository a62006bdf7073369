import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { withBlock } from "../marked-block.ts";
import { type Layer, LAYERS, SHARED } from "./layers.ts";

/** The document that holds the table. */
export const DOCUMENT: string = fileURLToPath(new URL("../../CONTRIBUTING.md", import.meta.url));

/** Every layer as a Markdown table, from the bottom up. */
export function layersTable(layers: Readonly<Record<string, Layer>> = LAYERS): string {
  const rows = Object.entries(layers).map(([name, layer]) =>
    `| \`${name}\` | ${layer.purpose} | ${importsCell(name, layer, layers)} |`
  );
  return ["| layer | what belongs in it | what it may import |", "|---|---|---|", ...rows, ""].join("\n");
}

/** A document with the table brought up to date; undefined if it has no place for it. */
export function withLayersTable(document: string): string | undefined {
  return withBlock(document, { name: "layers", script: "scripts/layers-table" }, layersTable());
}

function importsCell(name: string, { imports, packages = [] }: Layer, layers: Readonly<Record<string, Layer>>): string {
  const names = Object.keys(layers);
  const others = names.slice(0, names.indexOf(name)).filter((other) => !imports.includes(other));
  const isShared = SHARED.every((shared) => imports.includes(shared));
  const listed = imports.filter((imported) => !isShared || !SHARED.some((shared) => shared === imported));
  const code = (words: readonly string[]): string[] => words.map((word) => `\`${word}\``);
  const cells = [
    ...(isShared ? ["shared"] : []),
    ...code(listed),
    ...packages.map((word) => `npm's \`${word}\``),
  ];
  // A list of nearly all layers says less than the few that are missing.
  if (imports.length > names.length / 2) {
    return others.length === 0 ? "all above" : `all above but ${code(others).join(", ")}`;
  }
  return cells.length === 0 ? "nothing" : cells.join(", ");
}

if (import.meta.main) {
  const document = readFileSync(DOCUMENT, "utf8");
  const updated = withLayersTable(document);
  if (updated !== undefined && updated !== document) {
    writeFileSync(DOCUMENT, updated);
    console.log(`scripts/layers-table: ${DOCUMENT} brought up to date`);
  }
}
