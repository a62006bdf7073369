import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The command line that runs a script with the runtime that runs the tests. */
export function childCommand(script: URL, ...args: string[]): [program: string, ...words: string[]] {
  const run = process.versions.bun === undefined ? ["run", "--no-check", "--unstable-vsock", "--allow-all"] : [];
  return [process.execPath, ...run, fileURLToPath(script), ...args];
}

/** Runs a script with the runtime that runs the tests. Its standard error is also shown. */
export function startChild(script: URL, ...args: string[]): ChildProcess {
  const [program, ...words] = childCommand(script, ...args);
  const child = spawn(program, words, { stdio: "pipe" });
  child.stderr.pipe(process.stderr);
  return child;
}
