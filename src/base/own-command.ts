import process from "node:process";
import { fileURLToPath } from "node:url";
import { isInExecutable } from "./in-executable.ts";

/** The program's first module, which the executable has inside of it. */
const MAIN = new URL("../main.ts", import.meta.url);

/**
 * The command line that runs this program: the executable alone, or the runtime with the first module. Never the
 * script that runs now, because that may be a test, which would start itself again and again.
 */
export function ownCommand(): string[] {
  const { execPath, execArgv } = process;
  if (isInExecutable(MAIN)) return [execPath];
  const deno = "Deno" in globalThis ? ["run", "--no-check", "--unstable-vsock", "--allow-all"] : execArgv;
  return [execPath, ...deno, fileURLToPath(MAIN)];
}
