import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Runs a script with the runtime that runs the tests. Its standard error is also shown. */
export function startChild(script: URL, ...args: string[]): ChildProcess {
  const run = process.versions.bun === undefined ? ["run", "--no-check", "--unstable-vsock", "--allow-all"] : [];
  const child = spawn(process.execPath, [...run, fileURLToPath(script), ...args], { stdio: "pipe" });
  child.stderr.pipe(process.stderr);
  return child;
}
