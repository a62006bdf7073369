import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { LIBRARIES, type Text } from "./libraries.ts";

/** What `bun build --metafile` writes, as far as it matters here. */
export interface Metafile {
  /** By path. */
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** A package of npm's in the executable. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly homepage: string;
  /** All of its licence and notice files. */
  readonly text: string;
}

/** A package is bundled without a licence text, or something in Bun has none here. */
export class NoticeError extends Error {
  override readonly name = "NoticeError";
}

/** The runtime whose executable the program is compiled into. */
export interface Runtime {
  readonly version: string;
  readonly revision: string;
  /** The revisions of what is in it, by name. */
  readonly parts: Readonly<Record<string, string | undefined>>;
}

const RULE = "=".repeat(100);
/** Files in which packages have their licences. */
const LICENCE_FILE = /^(?:licen[cs]e|copying|notice|copyright)(?:[.-].*)?$/i;
/** The innermost package that a path is in. */
const PACKAGE = /^.*node_modules\/((?:@[^/]+\/)?[^/]+)\//;
/** Compiled into the page or into modules that no metafile knows: named with what it is needed for. */
const COMPILED_IN: readonly string[] = ["assemblyscript"];

/**
 * The packages in the bundles that these metafiles describe, by name. Throws a {@link NoticeError} for one without a
 * licence text.
 */
export function bundledPackages(root: string, metafiles: readonly Metafile[]): readonly BundledPackage[] {
  const directories = new Map<string, string>();
  for (const { inputs } of metafiles) {
    for (const path of Object.keys(inputs)) {
      const [matched, name] = PACKAGE.exec(path) ?? [];
      if (matched !== undefined && name !== undefined) directories.set(name, matched);
    }
  }
  for (const name of COMPILED_IN) {
    if (existsSync(join(root, "node_modules", name))) directories.set(name, `node_modules/${name}/`);
  }
  return [...directories].sort(([left], [right]) => left < right ? -1 : 1)
    .map(([name, directory]) => readPackage(name, join(root, directory.slice(directory.indexOf("node_modules/")))));
}

function readPackage(name: string, directory: string): BundledPackage {
  const { version, license, homepage } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as {
    version: string;
    license?: string;
    homepage?: string;
  };
  const files = readdirSync(directory).filter((file) => LICENCE_FILE.test(file)).sort();
  const text = files.map((file) => readFileSync(join(directory, file), "utf8").trim()).join("\n\n");
  if (text === "" || license === undefined) {
    throw new NoticeError(`the package ${name} ${version} is bundled, but has no licence text: find it, or do without`);
  }
  return { name, version, licence: license, homepage: homepage ?? `https://www.npmjs.com/package/${name}`, text };
}

/** The names in the tables of Bun's own page of licences: what is linked on Linux, and what is embedded. */
export function bunsOwnList(
  page: string,
): { readonly libraries: readonly string[]; readonly polyfills: readonly string[] } {
  const [, linked = "", embedded = ""] = page.split(/^## (?:Linked libraries|Polyfills)$/m);
  const rows = (table: string): string[] =>
    [...table.matchAll(/^\| (?!Library|Package|-)(.*?) *\|/gm)].flatMap(([, cell = ""]) => cell)
      .filter((cell) => !cell.includes("(on Windows)"))
      .map((cell) => /\[`?([^`\]]+)`?\]/.exec(cell)?.[1] ?? cell);
  return { libraries: rows(linked), polyfills: rows(embedded.split(/^## /m)[0] ?? "") };
}

/**
 * The notices of everything that is in the executable. Throws a {@link NoticeError} if Bun has a library whose licence
 * is not known here.
 *
 * @param licence the project's own licence.
 * @param bunPage Bun's page of licences, which comes with its types.
 */
export function notices(
  packages: readonly BundledPackage[],
  { licence, bunPage, runtime, texts }: {
    readonly licence: string;
    readonly bunPage: string;
    readonly runtime: Runtime;
    readonly texts: (name: Text) => string;
  },
): string {
  const { libraries, polyfills } = bunsOwnList(bunPage);
  const parts = [
    intro(runtime),
    ...packageSections(packages),
    section(`Bun ${runtime.version} (${runtime.revision})`, bunText(texts)),
    section("JavaScriptCore, in Bun", javaScriptCoreText(runtime)),
    ...libraries.map((name) => library(name, runtime, texts)),
    section(
      "Packages of npm's that are embedded in Bun",
      `${polyfills.join(", ")}\nCopyright (c) their authors, whom https://www.npmjs.com/ names\nLicence: MIT\n\n${
        texts("MIT")
      }`,
    ),
    section("GNU Library General Public License 2.0, for JavaScriptCore", texts("LGPL-2.0")),
    section("GNU Lesser General Public License 2.1, for TinyCC", texts("LGPL-2.1")),
    section("Apache License 2.0, for kata-trace-forwarder itself and what says so above", licence),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** One section for all packages with the same text, such as OpenTelemetry's. */
function packageSections(packages: readonly BundledPackage[]): string[] {
  const byText = Map.groupBy(packages, ({ text }) => text);
  return [...byText].map(([text, same]) => {
    const title = same.map(({ name, version }) => `${name} ${version}`).join("\n");
    const homepages = [...new Set(same.map(({ homepage }) => homepage))].join("\n");
    return section(title, `${homepages}\nLicence: ${same[0]?.licence}\n\n${text}`);
  });
}

function section(title: string, text: string): string {
  return `${RULE}\n${title}\n${RULE}\n\n${text.trim()}`;
}

function intro({ version }: Runtime): string {
  return [
    "kata-trace-forwarder is licensed under the Apache License 2.0.",
    "",
    `Its executable consists of that program, of the packages below, and of Bun ${version}, a JavaScript runtime that`,
    "is linked to the libraries below. On musl it loads Alpine's libstdc++ and libgcc, which it does not contain.",
  ].join("\n");
}

function bunText(texts: (name: Text) => string): string {
  return `https://bun.com\nCopyright (c) Oven and contributors\nLicence: MIT\n\n${texts("MIT")}`;
}

/** What sections 5 and 6 of the LGPL ask of a program that uses such a library. */
function javaScriptCoreText({ version, revision, parts }: Runtime): string {
  return [
    "This program uses JavaScriptCore (and other parts of WebKit), which are covered by the GNU Library General Public",
    "License, version 2 or later; its text is below. Parts of them are under the BSD licence.",
    "Copyright (C) 1999-2001 Harri Porten; Copyright (C) 2001 Peter Kelly; Copyright (C) 2003-2026 Apple Inc.; and",
    "others whom the source files name.",
    "",
    `Source: https://github.com/oven-sh/WebKit, commit ${
      parts["webkit"] ?? "named in Bun's scripts/build/deps/webkit.ts"
    }`,
    "",
    "You may change the library and use this program with the changed one. All that this takes is available: the",
    "program is JavaScript whose source is published under the Apache License 2.0, and it is not linked to the library",
    "but loaded by Bun. To do so:",
    "",
    `  1. Get the source of Bun ${version} (https://github.com/oven-sh/bun, ${revision}) and of its WebKit:`,
    "       git clone https://github.com/oven-sh/WebKit vendor/WebKit && bun sync-webkit-source",
    "  2. Change it, and build Bun with it: bun run build:local",
    "  3. In this program's source, put that bun into .toolchain/bin and run scripts/build.",
    "",
    "Reverse engineering for debugging such changes is permitted.",
  ].join("\n");
}

function library(name: string, { parts }: Runtime, texts: (name: Text) => string): string {
  const known = LIBRARIES[name];
  if (known === undefined) {
    throw new NoticeError(`Bun is linked to ${name}, whose licence is not in scripts/notices/libraries.ts: add it`);
  }
  const revision = parts[name.replace(/^lib|-|\.js$/g, "").toLowerCase()];
  // The long texts that several share come once, at the end.
  const own = known.texts.filter((text) => !["Apache-2.0", "LGPL-2.1"].includes(text));
  const licence = known.texts.length === 0 ? "" : `\nLicence: ${known.texts.join(", ")}`;
  const body = own.map(texts).join("\n\n");
  const title = `${name}${revision === undefined ? "" : ` (${revision})`}, in Bun`;
  return section(title, `${known.copyright}${licence}\n\n${body}`);
}
