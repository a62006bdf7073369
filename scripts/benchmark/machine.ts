import { readFileSync } from "node:fs";

/** Linux's USER_HZ, the unit of the times in /proc: 100 on every architecture that Bun runs on (proc(5)). */
export const TICKS_PER_SECOND = 100;

/**
 * The fields of /proc/stat's first line that are not work: idle and iowait (proc(5)). Guest times are part of user's.
 */
const IDLE_FIELDS: ReadonlySet<number> = new Set([3, 4]);
const WORK_FIELDS = 8;

/**
 * Seconds that all processors together have worked since the machine was started, including what a hypervisor took.
 */
export function machineSeconds(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const ticks = line.trim().split(/\s+/).slice(1, 1 + WORK_FIELDS).map(Number);
  const work = ticks.reduce((sum, n, index) => (IDLE_FIELDS.has(index) ? sum : sum + n), 0);
  return work / TICKS_PER_SECOND;
}

/** User and system time of a process with all its threads, seconds. */
export function processSeconds(pid: number): number {
  return statSeconds(`/proc/${pid}/stat`);
}

/** User and system time of a process's main thread, seconds. */
export function mainThreadSeconds(pid: number): number {
  return statSeconds(`/proc/${pid}/task/${pid}/stat`);
}

function statSeconds(path: string): number {
  const text = readFileSync(path, "utf8");
  // The name, which may contain anything, is in parentheses. utime and stime are fields 14 and 15, and the first field
  // after the name is 3.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident memory of a process now and at its highest, MB (10^6 bytes). */
export function residentMb(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return { now: (kib("VmRSS") * 1024) / 1e6, peak: (kib("VmHWM") * 1024) / 1e6 };
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}
