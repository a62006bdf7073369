/**
 * Writes THIRD-PARTY-NOTICES, and beside it `packages.json` for the bill of materials. Arguments: the file to write,
 * and the metafiles of the bundles that the executable holds.
 * To be run by the Bun that the executable is made with.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Text } from "./libraries.ts";
import { bundledPackages, type Metafile, notices } from "./notices.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const [outfile, ...metafiles] = process.argv.slice(2);
if (outfile === undefined) throw new Error("scripts/notices/write.ts: no file to write");
const packages = bundledPackages(
  root,
  metafiles.map((path) => JSON.parse(readFileSync(path, "utf8")) as Metafile),
);
const list = packages.map(({ name, version, licence, homepage }) => ({ name, version, licence, homepage }));
writeFileSync(`${dirname(outfile)}/packages.json`, JSON.stringify(list, null, 2));
const { bun: version = "", ...parts } = process.versions;
writeFileSync(
  outfile,
  notices(packages, {
    licence: readFileSync(`${root}LICENSE`, "utf8"),
    bunPage: readFileSync(`${root}node_modules/bun-types/docs/project/license.mdx`, "utf8"),
    runtime: { version, revision: Bun.revision, parts },
    texts: (name: Text) => readFileSync(`${root}scripts/notices/texts/${name}.txt`, "utf8"),
  }),
);
