import { readFileSync } from "node:fs";
import { errnoName } from "../../../ffi/errors.ts";

/** What a QEMU process of Kata's says of itself. */
export interface QemuProcess {
  readonly pid: number;
  /** When it started, ticks since boot (USER_HZ is 100): with the number, it is never another process's. */
  readonly start: number;
  readonly cid: number;
  readonly sandbox: string;
}

/** USER_HZ, the unit of times in /proc, ticks a second: 100 wherever the runtimes run; proc(5). */
const TICKS_PER_SECOND = 100;
/** Where a process's start stands behind its name in /proc/PID/stat: field 22, the first one there being 3. */
const START_FIELD = 22 - 3;
/** Valid names of sandboxes: `VerifyContainerID` in Kata's src/runtime/pkg/katautils. */
const SANDBOX_NAME = /^sandbox-([a-zA-Z0-9][a-zA-Z0-9_.-]*)$/;
const VSOCK_DEVICE = /^(?:driver=)?vhost-vsock-/;
const GUEST_CID = /^guest-cid=([0-9]{1,10})$/;

/**
 * Reads a process of a proc file system. Undefined if it does not belong to root, because then what it says of itself
 * may be a lie; if it is not a QEMU that Kata started; or if it is gone. Throws what reading a file does.
 */
export function readQemuProcess(proc: string, pid: number): QemuProcess | undefined {
  try {
    const claim = parseQemuArguments(readFileSync(`${proc}/${pid}/cmdline`, "utf8"));
    if (claim === undefined) return undefined;
    const isRoot = /^Uid:\s+0\s+0\s+0\s+0$/m.test(readFileSync(`${proc}/${pid}/status`, "utf8"));
    const start = readStart(readFileSync(`${proc}/${pid}/stat`, "utf8"));
    return isRoot && start !== undefined ? { pid, start, ...claim } : undefined;
  } catch (error) {
    // It has ended, or is hidden from this user (hidepid).
    if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(errnoName(error) ?? "")) return undefined;
    throw error;
  }
}

/**
 * The CID and the sandbox in a command line, arguments with a NUL behind each. Both of Kata's runtimes start QEMU with
 * `-name sandbox-<ID>[,debug-threads=on]` and `-device vhost-vsock-pci,…,guest-cid=<CID>` (`-ccw` on s390x). Undefined
 * unless each is there exactly once. Undefined too if the machine was made out of a template (`-incoming`), because
 * then the name is the machine's own and not the sandbox's.
 */
export function parseQemuArguments(
  commandLine: string,
): { readonly cid: number; readonly sandbox: string } | undefined {
  const words = commandLine.split("\0");
  const valuesOf = (option: string): string[] =>
    words.filter((_, at) => words[at - 1] === option || words[at - 1] === `-${option}`);
  const names = valuesOf("-name");
  const devices = valuesOf("-device").filter((device) => VSOCK_DEVICE.test(device));
  if (names.length !== 1 || devices.length !== 1 || valuesOf("-incoming").length > 0) {
    return undefined;
  }
  const sandbox = SANDBOX_NAME.exec(names[0]?.split(",")[0] ?? "")?.[1];
  const cids = (devices[0] ?? "").split(",").flatMap((each) => GUEST_CID.exec(each)?.[1] ?? []);
  if (sandbox === undefined || cids.length !== 1) return undefined;
  return { cid: Number(cids[0]), sandbox };
}

/** When a process started, from its /proc/PID/stat; its name, in parentheses, may hold anything. */
function readStart(stat: string): number | undefined {
  const field = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_FIELD];
  return field !== undefined && /^[0-9]+$/.test(field) ? Number(field) : undefined;
}

/** How long the machine has been up, ticks, rounded down. */
export function uptime(proc: string): number {
  const [seconds = ""] = readFileSync(`${proc}/uptime`, "utf8").split(" ");
  // It has two digits after the point, so that only the product's own error is rounded away.
  return Math.round(Number(seconds) * TICKS_PER_SECOND);
}
