import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { IS_ROOT } from "../../support/root.ts";
import { parseThreadStatus, type ThreadStatus } from "../../../src/host/thread-status.ts";

/** The first line that a process writes, as JSON. Fails with its standard error if there is none. */
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

/** Runs `ask` as an effective user that is not root, even if the tests run as root. */
export async function asNobody<Result>(ask: () => Promise<Result>): Promise<Result> {
  if (IS_ROOT) process.seteuid?.(65534);
  try {
    return await ask();
  } finally {
    if (IS_ROOT) process.seteuid?.(0);
  }
}
