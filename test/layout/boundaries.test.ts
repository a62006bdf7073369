import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { findViolations } from "../../scripts/layers/boundaries.ts";
import { type Layer, LAYERS } from "../../scripts/layers/layers.ts";
import { DOCUMENT, layersTable, withLayersTable } from "../../scripts/layers/table.ts";

const ROOT = new URL("../../", import.meta.url);

/** All source files of the project by their paths. */
function projectSources(): Map<string, string> {
  const paths = ["src", "ffi"].flatMap((folder) =>
    readdirSync(new URL(folder, ROOT), { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name}`)
  );
  return new Map(
    paths.filter((path) => /\.tsx?$/.test(path)).map((path) => [path, readFileSync(new URL(path, ROOT), "utf8")]),
  );
}

/** The violations in a made-up tree with the layers `low`, `pure` (imports low), `top/inner` and `top`. */
function violations(sources: Readonly<Record<string, string>>, more: Readonly<Record<string, Layer>> = {}): string[] {
  return findViolations(new Map(Object.entries(sources)), {
    low: { purpose: "", imports: [] },
    pure: { purpose: "", imports: ["low"], isPure: true },
    "top/inner": { purpose: "", imports: [] },
    top: { purpose: "", imports: ["low", "top/inner"] },
    ...more,
  });
}

test("the project keeps to its layers", () => {
  assert.deepEqual(findViolations(projectSources(), LAYERS), []);
});

test("CONTRIBUTING holds the table of layers as it is (else run scripts/layers-table)", () => {
  const document = readFileSync(DOCUMENT, "utf8");
  assert.equal(document, withLayersTable(document));
  assert.ok(layersTable().includes("\n| `ffi` | the only door to libc | nothing |\n"));
});

test("a tree that keeps to its layers has no violations", () => {
  assert.deepEqual(
    violations({
      "src/low/a.ts": 'import { b } from "./b.ts";',
      "src/low/b.ts": 'export const b = 1; // import "../top/a.ts"',
      "src/low/c.ts": 'export * from "./b.ts";\nconst text = `import "../top/a.ts"`;',
      "src/low/d.ts": 'import { readFileSync } from "node:fs";',
      "src/pure/a.ts": 'import type { a } from "../low/a.ts";\nimport { Buffer } from "node:buffer";',
      "src/top.ts": 'const { a } = await import("./top/inner/a.ts");',
      "src/top/inner/a.ts": "",
    }),
    [],
  );
});

const FORBIDDEN: readonly [what: string, text: string][] = [
  ["an import", 'import { a } from "../top/a.ts";'],
  ["an import of a type", 'import type {\n  A,\n} from "../top/a.ts";'],
  ["an import for its effect", 'import "../top/a.ts";'],
  ["a dynamic import", 'await import( "../top/a.ts" );'],
  ["an import in single quotes", "import { a } from '../top/a.ts';"],
  ["a type's import", 'let a: import("../top/a.ts").A;'],
  ["an export", 'export { a } from "../top/a.ts";'],
  ["an export of everything", 'export * from "../top/a.ts";'],
];
for (const [what, text] of FORBIDDEN) {
  test(`${what} from a forbidden layer is a violation`, () => {
    assert.deepEqual(violations({ "src/low/a.ts": text }), ["src/low/a.ts: low may not import top (src/top/a.ts)"]);
  });
}

test("a nested layer is not the one around it", () => {
  assert.deepEqual(violations({ "src/top/inner/a.ts": 'import "../a.ts";' }), [
    "src/top/inner/a.ts: top/inner may not import top (src/top/a.ts)",
  ]);
});

test("a package that a layer does not name is a violation, even if its name begins like one that it does", () => {
  const npm = { npm: { purpose: "", imports: [], packages: ["left-pad", "@scope/*"] } };
  const file = 'import pad from "left-pad/fast";\nimport "@scope/any";';
  assert.deepEqual(violations({ "src/npm/a.ts": file }, npm), []);
  assert.deepEqual(
    violations({ "src/npm/a.ts": `${file}\nimport "left-padding";`, "src/top/a.ts": 'import "left-pad";' }, npm),
    ["src/npm/a.ts: npm may not import left-padding", "src/top/a.ts: top may not import left-pad"],
  );
});

test("a package that no file of its layer imports is a violation of the table itself", () => {
  const npm = { npm: { purpose: "", imports: [], packages: ["left-pad", "@scope/*"] } };
  assert.deepEqual(violations({ "src/npm/a.ts": 'import "left-pad";' }, npm), [
    "npm: no file of it imports @scope/*, which the table of layers allows",
  ]);
});

test("a file without a layer is a violation, and so is importing it", () => {
  assert.deepEqual(violations({ "src/lower/a.ts": "", "src/low/a.ts": 'import "../lower/a.ts";' }), [
    "src/lower/a.ts: belongs to no layer",
    "src/low/a.ts: low may not import what has no layer (src/lower/a.ts)",
  ]);
});

test("a circle of files is a violation, even within a layer and by types alone", () => {
  assert.deepEqual(
    violations({
      "src/low/a.ts": 'import type { B } from "./b.ts";',
      "src/low/b.ts": 'import type { C } from "./c.ts";',
      "src/low/c.ts": 'import type { A } from "./a.ts";',
    }),
    ["a circle: src/low/a.ts → src/low/b.ts → src/low/c.ts → src/low/a.ts"],
  );
});

test("a circle of layers is a violation of the table itself", () => {
  const circle = { one: { purpose: "", imports: ["two"] }, two: { purpose: "", imports: ["one"] } };
  assert.deepEqual(violations({}, circle), [
    "one: imports two, which does not stand above it in the table of layers",
  ]);
});

test("a runtime's file may be imported by its interface alone, and may import that", () => {
  const sources = {
    "src/low/a.ts": 'await import("./a.bun.ts");\nawait import("./a.deno.ts");',
    "src/low/a.bun.ts": 'import type { A } from "./a.ts";\nimport "bun:ffi";\nimport "bun";',
    "src/low/a.deno.ts": 'import type { A } from "./a.ts";',
  };
  assert.deepEqual(violations(sources), []);
  assert.deepEqual(violations({ ...sources, "src/low/b.ts": 'import { a } from "./a.bun.ts";' }), [
    "src/low/b.ts: imports src/low/a.bun.ts, which only src/low/a.ts may",
  ]);
  assert.deepEqual(violations({ ...sources, "src/top/b.bun.ts": 'import { a } from "../low/a.bun.ts";' }), [
    "src/top/b.bun.ts: imports src/low/a.bun.ts, which only src/low/a.ts may",
  ]);
  assert.deepEqual(violations({ "src/low/b.ts": 'import "bun:ffi";' }), ["src/low/b.ts: low may not import bun:ffi"]);
});

for (const text of ["Date.now()", "process.env", "performance.now()", "setTimeout(() => {}, 1)"]) {
  test(`a layer that only computes must not use ${text}`, () => {
    assert.equal(violations({ "src/pure/a.ts": `const a = ${text};` }).length, 1);
    assert.deepEqual(violations({ "src/low/a.ts": `const a = ${text};` }), []);
  });
}

test("a layer that only computes must not import what reaches outside", () => {
  assert.deepEqual(violations({ "src/pure/a.ts": 'import net from "node:net";' }), [
    "src/pure/a.ts: pure only computes, so it must not import node:net",
  ]);
});

test("an import of a computed name is a violation, because it cannot be checked", () => {
  for (const name of ["name", "`./${name}.ts`"]) {
    assert.deepEqual(violations({ "src/low/a.ts": `await import(${name});` }), [
      "src/low/a.ts: an import() must name its module",
    ]);
  }
});
