/**
 * Takes from a compiled executable the variables with which Bun would run other code than the program's, or become Bun
 * itself: each name is replaced by one of the same length that nobody uses. The program refuses to start if it finds
 * the real ones (`src/base/runtime-variables.ts`), which it otherwise could not, because Bun reads them first.
 *
 * Use: disable-runtime-variables.ts EXECUTABLE
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";

const REPLACEMENTS: readonly (readonly [string, string])[] = [
  ["BUN_OPTIONS", "BUN_0PT10N5"],
  ["BUN_BE_BUN", "BUN_83_BUN"],
  ["BUN_INSPECT", "BUN_1N5P3CT"],
];

const [, , path = ""] = process.argv;
const executable = readFileSync(path);
for (const [name, replacement] of REPLACEMENTS) {
  let count = 0;
  for (let at = executable.indexOf(name); at >= 0; at = executable.indexOf(name, at)) {
    executable.write(replacement, at, "latin1");
    count++;
  }
  if (count === 0) throw new Error(`${path} does not contain ${name}: has Bun given it another name?`);
}
writeFileSync(path, executable);
