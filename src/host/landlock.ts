import { errnoName } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";

/*
 * Landlock: what a thread, and every thread and process that it starts later, may still reach of the file system.
 *
 * Specification: landlock(7), Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h. The numbers of
 * the calls are the same on all architectures.
 */

const LANDLOCK_CREATE_RULESET = 444;
const LANDLOCK_ADD_RULE = 445;
const LANDLOCK_RESTRICT_SELF = 446;
const CREATE_RULESET_VERSION = 1n;
const RULE_PATH_BENEATH = 1n;
/** Since version 8: every thread of the process, and not only the one that calls. */
const RESTRICT_SELF_TSYNC = 8n;
const TSYNC_VERSION = 8;

// LANDLOCK_ACCESS_FS_…
const EXECUTE = 1n << 0n;
const WRITE_FILE = 1n << 1n;
const READ_FILE = 1n << 2n;
const READ_DIR = 1n << 3n;
const REMOVE_DIR = 1n << 4n;
const REMOVE_FILE = 1n << 5n;
const MAKE_DIR = 1n << 7n;
const MAKE_REG = 1n << 8n;
const MAKE_SOCK = 1n << 9n;
const REFER = 1n << 13n;
const TRUNCATE = 1n << 14n;
/** How many bits of those above, and of what else can be denied, there are in each version from 1 on. */
const ACCESS_BITS = [13n, 14n, 15n, 15n, 16n] as const;

/** What can be allowed of a file that is not a directory. */
const OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;
const READ = READ_FILE | READ_DIR;
const WRITE = READ | WRITE_FILE | TRUNCATE | MAKE_REG | MAKE_DIR | MAKE_SOCK | REMOVE_FILE | REMOVE_DIR | REFER;

/** LANDLOCK_ACCESS_NET_BIND_TCP, since version 4. */
const NET_BIND_TCP = 1n;
const NET_VERSION = 4;

/** fcntl.h */
const AT_FDCWD = -100;
const O_PATH = 0o10_000_000;
const O_DIRECTORY = 0o200_000;
const O_CLOEXEC = 0o2_000_000;
/** linux/prctl.h */
const PR_SET_NO_NEW_PRIVS = 38;

/** What may still be reached: files, and directories with everything below them. What does not exist is left out. */
export interface Reachable {
  readonly readable: readonly string[];
  /** Where files, directories and sockets may be made and removed too. */
  readonly writable: readonly string[];
}

/** How far a restriction goes. */
export type Restriction = "every thread" | "this thread and those that it starts" | "none: the kernel has no Landlock";

/**
 * Allows only `reachable` from now on, for reading and writing, and no TCP socket to be bound. Files that are open stay
 * so. It also sets no_new_privs, without which an ordinary user may not restrict itself.
 */
export function restrictFiles(libc: Libc, reachable: Reachable): Restriction {
  const version = landlockVersion(libc);
  if (version === 0) return "none: the kernel has no Landlock";
  const handled = (1n << (ACCESS_BITS[Math.min(version, ACCESS_BITS.length) - 1] as bigint)) - 1n;
  const attributes = version < NET_VERSION ? BigUint64Array.of(handled) : BigUint64Array.of(handled, NET_BIND_TCP);
  const bytes = new Uint8Array(attributes.buffer);
  const size = BigInt(bytes.length);
  const ruleset = Number(
    libc.syscall("landlock_create_ruleset", LANDLOCK_CREATE_RULESET, libc.addressOf(bytes), size, 0n),
  );
  keepUntilNow(bytes);
  try {
    for (const path of reachable.readable) allow(libc, ruleset, path, READ & handled);
    for (const path of reachable.writable) allow(libc, ruleset, path, WRITE & handled);
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1n);
    const hasTsync = version >= TSYNC_VERSION;
    const flags = hasTsync ? RESTRICT_SELF_TSYNC : 0n;
    libc.syscall("landlock_restrict_self", LANDLOCK_RESTRICT_SELF, BigInt(ruleset), flags, 0n);
    return hasTsync ? "every thread" : "this thread and those that it starts";
  } finally {
    libc.close(ruleset);
  }
}

/** The version of Landlock's interface; 0 if the kernel lacks it, or it is turned off. */
export function landlockVersion(libc: Libc): number {
  try {
    return Number(libc.syscall("landlock_create_ruleset", LANDLOCK_CREATE_RULESET, 0n, 0n, CREATE_RULESET_VERSION));
  } catch (error) {
    // ENOTSUP, which is EOPNOTSUPP too, is for a Landlock that is turned off; EPERM for what a container's own system
    // call filter does not allow.
    if (["ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EPERM"].includes(errnoName(error) ?? "")) return 0;
    throw error;
  }
}

function allow(libc: Libc, ruleset: number, path: string, access: bigint): void {
  const isDirectory = (): number => libc.openAt(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  let fd: number;
  let allowed = access;
  try {
    fd = isDirectory();
  } catch (error) {
    // If this user cannot even look a path up, it cannot reach it either.
    if (errnoName(error) !== "ENOTDIR") return;
    fd = libc.openAt(AT_FDCWD, path, O_PATH | O_CLOEXEC);
    allowed &= OF_FILES;
  }
  try {
    // struct landlock_path_beneath_attr, packed: what is allowed u64, the descriptor i32.
    const rule = new Uint8Array(12);
    const view = new DataView(rule.buffer);
    view.setBigUint64(0, allowed, true);
    view.setInt32(8, fd, true);
    libc.syscall("landlock_add_rule", LANDLOCK_ADD_RULE, BigInt(ruleset), RULE_PATH_BENEATH, libc.addressOf(rule), 0n);
    keepUntilNow(rule);
  } finally {
    libc.close(fd);
  }
}

/** Uses a buffer whose address the kernel has been given, so that it is not collected before. */
function keepUntilNow(buffer: Uint8Array): void {
  if (buffer.length === 0) throw new RangeError("an empty buffer");
}
