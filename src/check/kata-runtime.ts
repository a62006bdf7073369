import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import process from "node:process";
import { printable } from "../base/log.ts";

/** What `kata-runtime env --json` says, as far as it matters here; or why it says nothing. */
export type KataRuntimeEnvironment =
  | { readonly kind: "seen"; readonly configurationPath: string | undefined; readonly summary: string }
  | { readonly kind: "failed"; readonly reason: string };

/** How long it may take, milliseconds; it asks the hypervisor for its version, and takes about 100. */
const LONGEST_MS = 10_000;
/** The longest that it may write, bytes; it writes about 4 KB. */
const LONGEST_OUTPUT = 1024 * 1024;

/** Finds `kata-runtime` in the search path and where Kata's own packages have it. */
export function findKataRuntime(environment: Readonly<Record<string, string | undefined>>): string | undefined {
  const directories = (environment["PATH"] ?? "").split(":").filter((each) => each.startsWith("/"));
  return [...directories, "/usr/bin", "/usr/local/bin", "/opt/kata/bin"].map((each) => `${each}/kata-runtime`)
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs `kata-runtime env --json`, which changes nothing. */
export function askKataRuntime(program: string): Promise<KataRuntimeEnvironment> {
  return new Promise((resolve) => {
    const options = {
      timeout: LONGEST_MS,
      maxBuffer: LONGEST_OUTPUT,
      encoding: "utf8",
      env: { ...process.env },
    } as const;
    execFile(program, ["env", "--json"], options, (error, output) => {
      resolve(
        error === null ? parseKataEnvironment(program, output) : { kind: "failed", reason: failure(program, error) },
      );
    });
  });
}

function failure(program: string, error: Error): string {
  const [, said = error.message] = error.message.split("\n");
  return `${program} env --json failed: ${printable(said || error.message)}`;
}

/** Reads its output. */
export function parseKataEnvironment(program: string, output: string): KataRuntimeEnvironment {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    return { kind: "failed", reason: `${program} env --json writes something other than JSON` };
  }
  const text = (...keys: readonly string[]): string | undefined => {
    let at: unknown = value;
    for (const key of keys) {
      at = typeof at === "object" && at !== null ? (at as Record<string, unknown>)[key] : undefined;
    }
    return typeof at === "string" && at !== "" ? printable(at) : undefined;
  };
  const version = text("Runtime", "Version", "Semver");
  return {
    kind: "seen",
    configurationPath: text("Runtime", "Config", "Path"),
    summary: [`${program}${version === undefined ? "" : ` ${version}`}`, text("Hypervisor", "Path")].filter(Boolean)
      .join(", "),
  };
}
