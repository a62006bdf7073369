import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { LIBRARIES } from "../../scripts/notices/libraries.ts";
import { bundledPackages, bunsOwnList, NoticeError, notices } from "../../scripts/notices/notices.ts";
import { THIRD_PARTY_NOTICES } from "../../src/notices/third-party.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BUN_PAGE = readFileSync(`${ROOT}node_modules/bun-types/docs/project/license.mdx`, "utf8");
const RUNTIME = { version: "9.9.9", revision: "abc", parts: { webkit: "def", zstd: "123" } };
const MANIFEST = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")) as { dependencies: Record<string, string> };

/** A project with packages in it, by name: the licence file's text, or undefined for none. */
function project(directory: string, packages: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(packages).map(([name, text]) => {
    const folder = join(directory, "node_modules", name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ version: "1.0.0", license: "MIT" }));
    if (text !== undefined) writeFileSync(join(folder, "LICENSE.md"), text);
    return `node_modules/${name}/lib/index.js`;
  });
}

function metafile(paths: readonly string[]) {
  return { inputs: Object.fromEntries(paths.map((path) => [path, {}])) };
}

test("packages are those that the bundler has read, each once, with its licence's text", () => {
  using directory = temporaryDirectory();
  const paths = project(directory.path, { "@scope/b": "text of b", a: "text of a" });
  const found = bundledPackages(directory.path, [
    metafile(["src/main.ts", ...paths]),
    metafile(["../../../node_modules/a/x.js"]),
  ]);
  assert.deepEqual(found.map(({ name, text }) => [name, text]), [["@scope/b", "text of b"], ["a", "text of a"]]);
});

test("a bundled package without a licence text is an error that names it", () => {
  using directory = temporaryDirectory();
  for (const text of [undefined, "  \n"]) {
    const paths = project(directory.path, { nameless: text });
    assert.throws(
      () => bundledPackages(directory.path, [metafile(paths)]),
      (error) =>
        error instanceof NoticeError && /nameless 1\.0\.0 is bundled, but has no licence text/.test(error.message),
    );
  }
});

test("everything that Bun's own page lists as linked has a licence here, and nothing else has", () => {
  const { libraries, polyfills } = bunsOwnList(BUN_PAGE);
  assert.deepEqual([...libraries].sort(), Object.keys(LIBRARIES).sort());
  assert.ok(polyfills.includes("acorn") && polyfills.includes("vm-browserify"), polyfills.join());
  for (const { copyright, texts } of Object.values(LIBRARIES)) {
    assert.notEqual(copyright, "");
    for (const name of texts) {
      assert.ok(readFileSync(`${ROOT}scripts/notices/texts/${name}.txt`, "utf8").length > 500, name);
    }
  }
});

test("a library that Bun is linked to and that is unknown here is an error", () => {
  const page = BUN_PAGE.replace("| [`brotli`]", "| [`newlib`](https://example.com) | MIT |\n| [`brotli`]");
  assert.throws(
    () => notices([], { licence: "", bunPage: page, runtime: RUNTIME, texts: () => "" }),
    (error) => error instanceof NoticeError && /linked to newlib/.test(error.message),
  );
});

test("the notices say what the LGPL asks: which library, its source, its text and how to change it", () => {
  const texts = (name: string) => `<${name}>`;
  const text = notices([], { licence: "<apache>", bunPage: BUN_PAGE, runtime: RUNTIME, texts });
  for (
    const part of [
      "uses JavaScriptCore",
      "https://github.com/oven-sh/WebKit, commit def",
      "Bun 9.9.9 (https://github.com/oven-sh/bun, abc)",
      "<LGPL-2.0>",
      "<LGPL-2.1>",
      "scripts/build",
      "<apache>",
      "zstd (123), in Bun",
    ]
  ) assert.ok(text.includes(part), part);
});

test("the executable's notices name each of the program's own dependencies", () => {
  for (const [name, version] of Object.entries(MANIFEST.dependencies)) {
    assert.ok(
      THIRD_PARTY_NOTICES.includes(`\n${name} ${version}\n`),
      `${name} ${version}: run scripts/third-party-notices`,
    );
  }
});
