import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import { errnoName } from "../../../ffi/errors.ts";

/** A process that says on its command line which sandbox it is for. */
export interface ShimProcess {
  readonly pid: number;
  /** When it started, ticks since boot: together with the number, it is never another process's. */
  readonly start: string;
  readonly sandbox: string;
}

/** Valid names of sandboxes: `VerifyContainerID` in Kata's src/runtime/pkg/katautils; the length is a name's limit. */
const SANDBOX_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;
/** Where a process's start stands behind its name in /proc/PID/stat: field 22, the first one there being 3; proc(5). */
const START_FIELD = 22 - 3;
/** Descriptors of one process that are looked at. */
const MAX_DESCRIPTORS = 4096;

/** Errors of reading a process that has ended, or that is hidden from or forbidden to this user. */
const UNREADABLE: ReadonlySet<string> = new Set(["ENOENT", "ESRCH", "EACCES", "EPERM"]);

/**
 * Both runtimes' shims are started with `-id SANDBOX`; Go's flags may also be written with two hyphens or with `=`.
 * Undefined if there is not exactly one.
 */
export function sandboxOnCommandLine(commandLine: string): string | undefined {
  const words = commandLine.split("\0");
  const ids = words.flatMap((word, at) => {
    const [, value] = /^--?id(?:=(.*))?$/s.exec(word) ?? [null, null];
    return value === null ? [] : [value ?? words[at + 1] ?? ""];
  });
  const [id, ...more] = ids;
  return id !== undefined && more.length === 0 && SANDBOX_ID.test(id) ? id : undefined;
}

/** Reads a process of a proc file system. Undefined if it is not a shim, is not root's or this user's, or cannot be read. */
export function readShim(proc: string, pid: number): ShimProcess | undefined {
  return readable(() => {
    const sandbox = sandboxOnCommandLine(readFileSync(`${proc}/${pid}/cmdline`, "utf8"));
    if (sandbox === undefined) return undefined;
    // What another user's process says of itself may be a lie.
    const uid = /^Uid:\s+(\d+)/m.exec(readFileSync(`${proc}/${pid}/status`, "utf8"))?.[1];
    const start = readStart(proc, pid);
    const isTrusted = uid === "0" || uid === String(process.geteuid?.());
    return isTrusted && start !== undefined ? { pid, start, sandbox } : undefined;
  });
}

/** Whether a process that was read before is still the same one. */
export function isAlive(proc: string, { pid, start }: ShimProcess): boolean {
  return readable(() => readStart(proc, pid)) === start;
}

/** The sockets that a process has open, by inode. Undefined if this user may not know. */
export function openSockets(proc: string, pid: number): ReadonlySet<number> | undefined {
  return readable(() => {
    const folder = `${proc}/${pid}/fd`;
    const sockets = new Set<number>();
    for (const name of readdirSync(folder).slice(0, MAX_DESCRIPTORS)) {
      const inode = readable(() => /^socket:\[(\d+)\]$/.exec(readlinkSync(`${folder}/${name}`))?.[1]);
      if (inode !== undefined) sockets.add(Number(inode));
    }
    return sockets;
  });
}

/** The processes of a proc file system, the newest first, as far as numbers tell. */
export function processIds(proc: string): number[] {
  return readdirSync(proc).filter((name) => /^[0-9]+$/.test(name)).map(Number).sort((left, right) => right - left);
}

/** Its name, in parentheses, may hold anything. */
function readStart(proc: string, pid: number): string | undefined {
  const stat = readFileSync(`${proc}/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_FIELD];
}

function readable<Result>(read: () => Result | undefined): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (UNREADABLE.has(errnoName(error) ?? "")) return undefined;
    throw error;
  }
}
