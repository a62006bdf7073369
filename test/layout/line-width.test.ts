import assert from "node:assert/strict";
import { type Dirent, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** As `deno fmt` has it, for all languages. */
const COLUMNS = 120;

/** What is not made of lines that somebody writes: other programs wrote it, or it is data. */
const SKIPPED_DIRECTORIES = new Set([".git", ".toolchain", "dist", "fixtures", "node_modules", "recorded", "target"]);
const SKIPPED_FILES = /(^LICENSE|\.(json|jsonl|lock|log|mod|png|sum|svg))$/;

/** All text files of the project by their paths from its root. */
function textFiles(directory = ""): string[] {
  const visit = (entry: Dirent): string[] => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return SKIPPED_DIRECTORIES.has(entry.name) ? [] : textFiles(path);
    return entry.isFile() && !SKIPPED_FILES.test(entry.name) ? [path] : [];
  };
  return readdirSync(join(ROOT, directory), { withFileTypes: true }).flatMap(visit);
}

/** Whether a line may be longer, because it cannot be broken. */
function isUnbreakable(line: string, path: string): boolean {
  if (path.endsWith(".md")) return /^\s*\||^\[[^\]]*\]: /.test(line);
  // A regular expression, or an address.
  return /^\s*\/.+\/[a-z]*[,;]?$/.test(line) || /^\s*[^\sa-z]*\s*https?:\/\/\S+$/.test(line);
}

test(`lines end at ${COLUMNS} columns`, () => {
  const files = textFiles();
  assert.ok(files.includes("src/main.ts") && files.includes("scripts/test") && files.includes("README.md"));
  const long = files.flatMap((path) =>
    readFileSync(join(ROOT, path), "utf8").split("\n").flatMap((line, index) =>
      [...line].length > COLUMNS && !isUnbreakable(line, path) ? [`${path}:${index + 1}`] : []
    )
  );
  assert.deepEqual(long, []);
});
