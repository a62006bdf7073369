import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { parseThreadStatus, type ThreadStatus } from "../../../src/host/thread-status.ts";

export const isRoot: boolean = process.geteuid?.() === 0;
export const NEEDS_ROOT: { readonly skip?: string } = isRoot
  ? {}
  : { skip: "needs root: it is about a process that is root and drops it" };

/** The first line that a process writes, as JSON; its standard error where there is none. */
export async function firstLine(child: ChildProcess): Promise<Record<string, unknown>> {
  let output = "";
  let errors = "";
  child.stderr?.on("data", (chunk) => errors += chunk);
  for await (const chunk of child.stdout ?? []) {
    output += chunk;
    if (output.includes("\n")) return JSON.parse(output.slice(0, output.indexOf("\n")));
  }
  return assert.fail(`no output: ${errors}`);
}

/** Every thread of a process. */
export function threadsOf(pid: number): ThreadStatus[] {
  return readdirSync(`/proc/${pid}/task`).map((task) =>
    parseThreadStatus(Number(task), readFileSync(`/proc/${pid}/task/${task}/status`, "utf8"))
  );
}

/** Asks as an effective user that is not root, for a moment where the tests run as root. */
export async function asNobody<Result>(ask: () => Promise<Result>): Promise<Result> {
  if (isRoot) process.seteuid?.(65534);
  try {
    return await ask();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}
