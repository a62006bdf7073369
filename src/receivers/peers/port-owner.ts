import { readFileSync } from "node:fs";
import { errnoName } from "../../../ffi/errors.ts";
import { openSockets, processIds } from "./shim-process.ts";
import { listeningInode } from "./socket-table.ts";

/** A process, for people. */
export interface PortOwner {
  readonly pid: number;
  /** Its name, as the kernel has it: 15 characters at most. */
  readonly name: string;
}

/**
 * Who listens at a TCP port of this machine: the first process that has the socket open. Undefined if nobody does, or
 * if this user may not see it. It reads a file for each process, so it should not be used where others wait.
 */
export function portOwner(port: number, proc = "/proc"): PortOwner | undefined {
  try {
    const inode = ["net/tcp", "net/tcp6"].map((table) => listeningInode(readTable(`${proc}/${table}`), port))
      .find((found) => found !== undefined);
    if (inode === undefined) return undefined;
    const pid = processIds(proc).find((candidate) => openSockets(proc, candidate)?.has(inode));
    return pid === undefined ? undefined : { pid, name: readFileSync(`${proc}/${pid}/comm`, "utf8").trimEnd() };
  } catch {
    // It has ended meanwhile, or there is no such file system: the error that this is for stands without it.
    return undefined;
  }
}

function readTable(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errnoName(error) === "ENOENT") return "";
    throw error;
  }
}
