/** A virtual machine that has AF_VSOCK, to run one script in. */

import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** How long a machine may take, milliseconds: more than `test/vm/run` gives it itself. */
export const MACHINE_PATIENCE = { timeout: 300_000 } as const;

const VM = fileURLToPath(new URL("../../vm/", import.meta.url));
/** How much of what the machine printed is told where it failed, characters. */
const CONSOLE_TAIL = 2_000;

/** What a script left in the machine's `/out`. */
export class Results {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The content of a file. */
  text(path: string): string {
    return readFileSync(join(this.#directory, path), "utf8");
  }

  /** The contents of all files of a folder, by name. */
  folder(path: string): Map<string, string> {
    const names = readdirSync(join(this.#directory, path));
    return new Map(names.map((name) => [name, this.text(join(path, name))]));
  }
}

/**
 * Runs a script of `test/vm/scripts` in a machine of its own.
 *
 * @param directory an existing folder for what it leaves.
 * @param options further options of `test/vm/run`.
 * Rejects, with the end of what the machine printed, when the script fails.
 */
export function runMachine(
  script: string,
  directory: string,
  options: readonly string[],
): Promise<Results> {
  const all = ["--script", join(VM, "scripts", script), "--out", directory, ...options];
  return new Promise((resolve, reject) => {
    execFile(join(VM, "run"), all, (error, _, stderr) => {
      if (error === null) return resolve(new Results(directory));
      reject(
        new Error(`${script} failed in the machine: ${stderr.trim()}\n${consoleTail(directory)}`, {
          cause: error,
        }),
      );
    });
  });
}

function consoleTail(directory: string): string {
  try {
    return readFileSync(join(directory, "console.log"), "utf8").slice(-CONSOLE_TAIL);
  } catch (error) {
    return `no console: ${error}`;
  }
}
