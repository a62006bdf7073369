import { basename } from "node:path";
import type { HostFiles } from "./host-files.ts";

/** A process of the host, as its files in /proc show it. */
export interface HostProcess {
  readonly pid: number;
  /** Its arguments; none if it is the kernel's, or if this user may not see them. */
  readonly arguments: readonly string[];
  /** The base name of its first argument, else the kernel's name for it (15 characters at most). */
  readonly name: string;
  /** Its effective user; undefined if that cannot be seen. */
  readonly uid: number | undefined;
}

/** All processes that this user sees, in the order of their numbers. */
export function listProcesses(files: HostFiles): readonly HostProcess[] {
  const names = files.names("/proc");
  if (names.kind !== "seen") return [];
  const pids = names.content.filter((name) => /^[0-9]+$/.test(name)).map(Number).sort((left, right) => left - right);
  return pids.flatMap((pid) => readProcess(files, pid) ?? []);
}

function readProcess(files: HostFiles, pid: number): HostProcess | undefined {
  const commandLine = files.text(`/proc/${pid}/cmdline`);
  const comm = files.value(`/proc/${pid}/comm`);
  // It has ended since the directory was read.
  if (comm === undefined) return undefined;
  const words = commandLine.kind === "seen" ? commandLine.content.split("\0").slice(0, -1) : [];
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(files.value(`/proc/${pid}/status`) ?? "")?.[1];
  return {
    pid,
    arguments: words,
    name: basename(words[0] ?? "") || comm,
    uid: uid === undefined ? undefined : Number(uid),
  };
}

/** Whether other users' processes are hidden from this one (the mount option `hidepid`). */
export function hidesProcesses(files: HostFiles): boolean {
  const mounts = files.value("/proc/self/mounts") ?? "";
  return mounts.split("\n").some((line) => {
    const [, place, type, options = ""] = line.split(" ");
    return type === "proc" && place === "/proc" && /(?:^|,)hidepid=(?!0|off)/.test(options);
  });
}
