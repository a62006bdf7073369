import { readFileSync } from "node:fs";
import process from "node:process";
import { errnoName } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { parseThreadStatus } from "./thread-status.ts";

/** Sets of capabilities, with a bit for each, numbered as in linux/capability.h; capabilities(7). */
export const NO_CAPABILITY = 0n;
/** Changing the owner and the group of files. */
export const CAP_CHOWN = 1n << 0n;
/** Reading, writing and searching, whatever the permissions of files and directories are. */
export const CAP_DAC_OVERRIDE = 1n << 1n;
/** Becoming another group, and another user. */
export const CAP_SETGID = 1n << 6n;
export const CAP_SETUID = 1n << 7n;
/** Looking into other users' processes, and into those that have more capabilities; ptrace(2), "access mode checking". */
export const CAP_SYS_PTRACE = 1n << 19n;

/** What the helper process always needs: for sockets, their groups and owners, and for files that only root may read. */
export const HELPER_CAPABILITIES: bigint = CAP_CHOWN | CAP_DAC_OVERRIDE | CAP_SETGID | CAP_SETUID;

/** What this process may have; none if the system does not say. */
export function permittedCapabilities(): bigint {
  try {
    return parseThreadStatus(process.pid, readFileSync("/proc/self/status", "utf8")).permitted;
  } catch {
    // Without /proc there is nothing that any of them would be needed for there.
    return NO_CAPABILITY;
  }
}

/** prctl(2): takes a capability from what root gets by running a program. */
const PR_CAPBSET_DROP = 24;
/** More than any kernel has. */
const MAX_CAPABILITIES = 64;

/**
 * Makes the programs that this thread runs from now on get no other capabilities than these, although it is root. What
 * it has itself stays. If that is not allowed (CAP_SETPCAP is missing), whatever took that right away has limited them
 * already, as the unit and the DaemonSet do.
 */
export function boundCapabilities(libc: Pick<Libc, "prctl">, set: bigint): void {
  for (let number = 0; number < MAX_CAPABILITIES; number++) {
    if ((set >> BigInt(number) & 1n) === 1n) continue;
    try {
      libc.prctl(PR_CAPBSET_DROP, BigInt(number));
    } catch (error) {
      // EINVAL: the kernel has no more.
      if (errnoName(error) === "EINVAL" || errnoName(error) === "EPERM") return;
      throw error;
    }
  }
}
