import { readdirSync, readFileSync } from "node:fs";
import { errnoName } from "../../ffi/errors.ts";

/** A thread's credentials, as the kernel has them; proc_pid_status(5). */
export interface ThreadStatus {
  /** The thread's ID. */
  readonly id: number;
  /** Real, effective, saved and file system IDs. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
  /** Capabilities, with a bit for each. */
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly ambient: bigint;
  readonly noNewPrivileges: boolean;
  /** 2 if a filter is installed. */
  readonly seccomp: number;
}

/** Reads a `/proc/…/status`. Throws if a line is missing. */
export function parseThreadStatus(id: number, text: string): ThreadStatus {
  const value = (key: string): string => {
    const found = new RegExp(`^${key}:[ \\t]*(.*)$`, "m").exec(text)?.[1];
    if (found === undefined) throw new Error(`no ${key} in the status of thread ${id}`);
    return found.trim();
  };
  const numbers = (key: string): number[] => value(key).split(/\s+/).filter(Boolean).map(Number);
  return {
    id,
    uids: numbers("Uid"),
    gids: numbers("Gid"),
    groups: numbers("Groups"),
    permitted: BigInt(`0x${value("CapPrm")}`),
    effective: BigInt(`0x${value("CapEff")}`),
    ambient: BigInt(`0x${value("CapAmb")}`),
    noNewPrivileges: value("NoNewPrivs") === "1",
    seccomp: Number(value("Seccomp")),
  };
}

/** Every thread of this process. */
export function readThreads(): ThreadStatus[] {
  const threads: ThreadStatus[] = [];
  for (const task of readdirSync("/proc/self/task")) {
    let text;
    try {
      text = readFileSync(`/proc/self/task/${task}/status`, "utf8");
    } catch (error) {
      // The thread has ended since the directory was read.
      if (errnoName(error) === "ENOENT" || errnoName(error) === "ESRCH") continue;
      throw error;
    }
    threads.push(parseThreadStatus(Number(task), text));
  }
  return threads;
}
