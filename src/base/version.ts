import process from "node:process";
import manifest from "../../package.json" with { type: "json" };

// `scripts/build` defines these. A run from source has none of them.
declare const BUILD_COMMIT: string;
declare const BUILD_TARGET: string;
declare const BUILD_DATE: string;

/** The release, which is written in package.json alone. */
export const VERSION: string = manifest.version;
/** The commit that the executable was built from. */
export const COMMIT: string = typeof BUILD_COMMIT === "string" ? BUILD_COMMIT : "source";
/** The machine that the executable is for, such as `linux-x64` or `linux-arm64-musl`. */
const TARGET: string = typeof BUILD_TARGET === "string" ? BUILD_TARGET : `${process.platform}-${process.arch}`;
/** When it was built, or when the commit was made that it was built from; ISO 8601. */
const DATE: string = typeof BUILD_DATE === "string" ? BUILD_DATE : "from source";

/** The JavaScript runtime that the program runs on. */
function runtime(): string {
  const { bun, deno } = process.versions;
  return deno === undefined ? `Bun ${bun}` : `Deno ${deno}`;
}

/**
 * What `--version` prints after the program's name: a line with version and commit, and one with target, runtime and
 * build date. No newline at the end.
 */
export function versionText(): string {
  return `${VERSION} (commit ${COMMIT})\n${TARGET}, ${runtime()}, built ${DATE}`;
}
