/**
 * Writes a CycloneDX 1.6 bill of materials of one executable to standard output: the packages that the bundler has put
 * into it, Bun, and what Bun is linked to. Arguments: the target, the date, and the executable's SHA-256.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { VERSION } from "../src/base/version.ts";
import { LIBRARIES, type Text } from "./notices/libraries.ts";
import type { BundledPackage } from "./notices/notices.ts";

/** The licences that have an identifier of SPDX's. */
const SPDX: ReadonlySet<string> = new Set(["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT"]);
const SPDX_NAMES: Readonly<Partial<Record<Text, string>>> = {
  "LGPL-2.0": "LGPL-2.0-or-later",
  "LGPL-2.1": "LGPL-2.1-or-later",
  icu: "Unicode-3.0",
  zlib: "Zlib",
};

/** What a bill of materials is about. */
export interface Subject {
  /** Such as `linux-x64`. */
  readonly target: string;
  /** ISO 8601. */
  readonly date: string;
  /** Of the executable, hexadecimal. */
  readonly sha256: string;
  readonly runtime: { readonly version: string; readonly parts: Readonly<Record<string, string | undefined>> };
}

/** The bill of materials, as CycloneDX has it (https://cyclonedx.org/docs/1.6/json/). */
export function billOfMaterials(packages: readonly BundledPackage[], subject: Subject): object {
  const { target, date, sha256, runtime } = subject;
  const bun = `pkg:npm/bun@${runtime.version}`;
  const program = `pkg:generic/kata-trace-forwarder@${VERSION}?target=${target}`;
  const libraries = Object.entries(LIBRARIES).map(([name, { texts }]) => {
    const revision = runtime.parts[name.replace(/^lib|-/g, "").toLowerCase()];
    return {
      type: "library",
      "bom-ref": `bun/${name}`,
      name,
      ...(revision !== undefined && { version: revision }),
      ...(texts.length > 0 && { licenses: texts.map((text) => licence(SPDX_NAMES[text] ?? text)) }),
    };
  });
  const webkit = {
    type: "library",
    "bom-ref": "bun/javascriptcore",
    name: "JavaScriptCore",
    ...(runtime.parts["webkit"] !== undefined && { version: runtime.parts["webkit"] }),
    licenses: [licence("LGPL-2.0-or-later")],
    externalReferences: [{ type: "vcs", url: "https://github.com/oven-sh/WebKit" }],
  };
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: date,
      component: {
        type: "application",
        "bom-ref": program,
        name: "kata-trace-forwarder",
        version: VERSION,
        licenses: [licence("Apache-2.0")],
        hashes: [{ alg: "SHA-256", content: sha256 }],
        properties: [{ name: "target", value: target }],
      },
    },
    components: [
      ...packages.map((each) => ({
        type: "library",
        "bom-ref": purl(each),
        name: each.name,
        version: each.version,
        purl: purl(each),
        licenses: [licence(each.licence)],
      })),
      {
        type: "framework",
        "bom-ref": bun,
        name: "bun",
        version: runtime.version,
        purl: bun,
        licenses: [licence("MIT")],
      },
      webkit,
      ...libraries,
    ],
    dependencies: [
      { ref: program, dependsOn: [...packages.map(purl), bun] },
      { ref: bun, dependsOn: [webkit["bom-ref"], ...libraries.map((each) => each["bom-ref"])] },
    ],
  };
}

function purl({ name, version }: BundledPackage): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

function licence(name: string): object {
  const isSpdx = SPDX.has(name) || Object.values(SPDX_NAMES).includes(name);
  return { license: isSpdx ? { id: name } : { name } };
}

if (import.meta.main) {
  const [target = "", date = "", sha256 = ""] = process.argv.slice(2);
  const list = fileURLToPath(new URL("../src/notices/dist/packages.json", import.meta.url));
  const packages = JSON.parse(readFileSync(list, "utf8")) as readonly BundledPackage[];
  const { bun: version = "", ...parts } = process.versions;
  const subject = { target, date, sha256, runtime: { version, parts } };
  process.stdout.write(`${JSON.stringify(billOfMaterials(packages, subject), null, 2)}\n`);
}
