import { posix } from "node:path";
import type { Layer } from "./layers.ts";

/** A file that another one imports, or a package. */
interface Import {
  /** As it is written. */
  readonly specifier: string;
  /** The imported file's path; undefined for a package. */
  readonly file: string | undefined;
}

/**
 * A string, a template without nesting, or a comment: what imports must not be looked for in, but for plain strings.
 */
const LITERAL_OR_COMMENT = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\/[^\n]*|\/\*[^]*?\*\//g;
const IMPORT =
  /\b(?:import|export)\s[^;"'`()]*?\bfrom\s*"([^"]+)"|\bimport\s*"([^"]+)"|\bimport\s*\(\s*"([^"]+)"\s*\)/g;
/** A dynamic import that does not say what it imports. */
const COMPUTED_IMPORT = /\bimport\s*\(\s*(?!["\s])/;
/** What a layer that only computes must not use, and the modules that it may import all the same. */
const IMPURE = new RegExp(
  "\\b(?:" + [
    "process\\.(?:argv|cwd|env|exit|hrtime|on|pid|std\\w+|uptime)",
    "(?:Date|performance)\\.now",
    "set(?:Timeout|Interval|Immediate)",
  ].join("|") + ")\\b",
);
const PURE_MODULES: readonly string[] = ["node:buffer", "node:crypto"];
/** The file that has the version, and the one that may read it. */
const MANIFEST = "package.json";
const VERSION_FILE = "src/base/version.ts";
/** What differs by runtime, and the interface that chooses it. */
const RUNTIME_FILE = /^(.*)\.(?:bun|deno)\.ts$/;

/**
 * Everything in the sources that is against the layers, one line each.
 *
 * @param sources the text of each file by its path from the repository's root, with `/`.
 */
export function findViolations(
  sources: ReadonlyMap<string, string>,
  layers: Readonly<Record<string, Layer>>,
): string[] {
  const violations = wrongOrder(layers);
  const graph = new Map<string, string[]>();
  const used = new Map<string, Set<string>>();
  for (const [path, text] of sources) {
    const code = text.replace(LITERAL_OR_COMMENT, (token) => /^["']/.test(token) ? `"${token.slice(1, -1)}"` : "``");
    if (COMPUTED_IMPORT.test(code)) violations.push(`${path}: an import() must name its module`);
    const imports = importsOf(path, code);
    graph.set(path, imports.flatMap(({ file }) => file === undefined || file === interfaceOf(path) ? [] : [file]));
    const name = layerOf(path, layers);
    if (name === undefined) violations.push(`${path}: belongs to no layer`);
    else {
      const layer = layers[name] as Layer;
      for (const each of imports) violations.push(...againstLayer(path, each, name, layer, layers));
      const specifiers = used.get(name) ?? new Set();
      for (const { specifier } of imports) specifiers.add(specifier);
      used.set(name, specifiers);
      const impure = layer.isPure === true ? IMPURE.exec(code)?.[0] : undefined;
      if (impure !== undefined) violations.push(`${path}: ${name} only computes, so it must not use ${impure}`);
    }
  }
  for (const [name, specifiers] of used) {
    const unused = (layers[name]?.packages ?? []).filter((each) =>
      ![...specifiers].some((it) => isAllowed(it, [each]))
    );
    for (const each of unused) {
      violations.push(`${name}: no file of it imports ${each}, which the table of layers allows`);
    }
  }
  for (const circle of circles(graph)) violations.push(`a circle: ${circle.join(" → ")}`);
  return violations;
}

/** A file's layer: the longest name that fits. */
export function layerOf(path: string, layers: Readonly<Record<string, Layer>>): string | undefined {
  const names = Object.keys(layers).filter((name) => {
    const root = name === "ffi" ? name : `src/${name}`;
    return path === `${root}.ts` || path.startsWith(`${root}/`);
  });
  return names.sort((a, b) => b.length - a.length)[0];
}

/** Layers stand from the bottom up, so that there can be no circle between them. */
function wrongOrder(layers: Readonly<Record<string, Layer>>): string[] {
  const names = Object.keys(layers);
  return names.flatMap((name, index) =>
    (layers[name] as Layer).imports
      .filter((imported) => !names.slice(0, index).includes(imported))
      .map((imported) => `${name}: imports ${imported}, which does not stand above it in the table of layers`)
  );
}

function importsOf(path: string, code: string): Import[] {
  return [...code.matchAll(IMPORT)].map(([, from, bare, dynamic]) => {
    const specifier = (from ?? bare ?? dynamic) as string;
    const file = specifier.startsWith(".") ? posix.join(posix.dirname(path), specifier) : undefined;
    return { specifier, file };
  });
}

function againstLayer(
  path: string,
  { specifier, file }: Import,
  name: string,
  layer: Layer,
  layers: Readonly<Record<string, Layer>>,
): string[] {
  if (file === undefined) {
    if (specifier.startsWith("node:")) {
      return layer.isPure === true && !PURE_MODULES.includes(specifier)
        ? [`${path}: ${name} only computes, so it must not import ${specifier}`]
        : [];
    }
    const runtime = path.endsWith(".bun.ts") ? ["bun", "bun:*"] : [];
    return isAllowed(specifier, [...runtime, ...layer.packages ?? []])
      ? []
      : [`${path}: ${name} may not import ${specifier}`];
  }
  if (file === MANIFEST) {
    return path === VERSION_FILE ? [] : [`${path}: imports ${file}, which only ${VERSION_FILE} may`];
  }
  const only = interfaceOf(file);
  if (only !== undefined && path !== only) return [`${path}: imports ${file}, which only ${only} may`];
  const imported = layerOf(file, layers);
  if (imported === name) return [];
  return imported !== undefined && layer.imports.includes(imported)
    ? []
    : [`${path}: ${name} may not import ${imported ?? "what has no layer"} (${file})`];
}

/** The file that chooses a runtime's file; undefined for files that are for all runtimes. */
function interfaceOf(path: string): string | undefined {
  const [, name] = RUNTIME_FILE.exec(path) ?? [];
  return name === undefined ? undefined : `${name}.ts`;
}

function isAllowed(specifier: string, packages: readonly string[]): boolean {
  return packages.some((name) =>
    name.endsWith("*")
      ? specifier.startsWith(name.slice(0, -1))
      : specifier === name || specifier.startsWith(`${name}/`)
  );
}

/** Files that import each other, each circle once, with its first file at both ends. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const start = path.indexOf(file);
    if (start >= 0) found.push([...path.slice(start), file]);
    if (start >= 0 || done.has(file)) return;
    path.push(file);
    for (const next of graph.get(file) ?? []) visit(next);
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return found;
}
