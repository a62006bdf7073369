import { readFileSync } from "node:fs";
import { constants } from "node:os";

/**
 * Whether a signal was already ignored when this process was started, as `nohup` does with SIGHUP (execve(2) preserves
 * it). Such a signal must not be handled.
 *
 * @param status the process's `/proc/self/status`. `SigIgn` has a bit for each signal, the lowest one for signal 1
 * (proc_pid_status(5)).
 */
export function isIgnored(
  signal: NodeJS.Signals,
  status: string = readFileSync("/proc/self/status", "utf8"),
): boolean {
  const [, mask = "0"] = /^SigIgn:[ \t]*([0-9a-f]+)$/m.exec(status) ?? [];
  return (BigInt(`0x${mask}`) >> BigInt(constants.signals[signal] - 1) & 1n) === 1n;
}
