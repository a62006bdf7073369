import process from "node:process";
import type { Libc } from "../../ffi/libc.ts";

/** linux/prctl.h */
const PR_SET_DUMPABLE = 4;
/** setrlimit(2), by the name in `process.arch`: syscall_64.tbl, asm-generic/unistd.h. */
const SETRLIMIT: { readonly [name: string]: number } = { x64: 160, arm64: 164 };
const RLIMIT_CORE = 4n;

/**
 * Leaves nothing of this process's memory to others: no core dump, which would have guests' spans and the collector's
 * credentials in it, and no debugger of another process of the same user (ptrace(2), /proc/PID/mem).
 */
export function forbidDumping(libc: Libc): void {
  const setrlimit = SETRLIMIT[process.arch];
  if (setrlimit !== undefined) {
    const none = new Uint8Array(16);
    libc.syscall("setrlimit", setrlimit, RLIMIT_CORE, libc.addressOf(none), 0n);
  }
  libc.prctl(PR_SET_DUMPABLE, 0n);
}
