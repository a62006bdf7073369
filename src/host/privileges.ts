import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { errnoName } from "../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { CAP_DAC_OVERRIDE, KeptCapabilities, NO_CAPABILITY, PR_SET_KEEPCAPS } from "./capabilities.ts";
import {
  SECCOMP_ARCHITECTURES,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_SET_MODE_FILTER,
  seccompProgram,
  sockFprog,
} from "./seccomp.ts";
import { readThreads, type ThreadStatus } from "./thread-status.ts";
import { defaultUser, findUser, type User } from "./user.ts";

/** linux/prctl.h */
const PR_SET_NO_NEW_PRIVS = 38;
/** proc_pid_status(5), `Seccomp`. */
const SECCOMP_MODE_FILTER = 2;

/** Privileges that could not be dropped, or that are still there after they were: the start must fail. */
export class PrivilegeError extends Error {
  override readonly name = "PrivilegeError";
}

/** What of root's privileges is needed after the start. */
export interface Kept {
  /** Making and removing files in directories of root's: CAP_DAC_OVERRIDE, for one thread. */
  readonly directories: boolean;
  /** Groups that the user is in beside its own, so that it may give its files to them. */
  readonly groups: readonly number[];
}

const KEEP_NOTHING: Kept = { directories: false, groups: [] };

/** Root's privileges, as long as the process has them. */
export interface Privileges {
  /**
   * Whom the process becomes, and who must own what it goes on writing to; undefined: it is not root and stays who it
   * is.
   */
  readonly owner: User | undefined;
  /**
   * Gives them up for good, on every thread, and makes sure of it; nothing where the process is not root. To be called
   * once, when everything that needs root is open. Synchronous, so that nothing happens half way. Throws a
   * {@link PrivilegeError}, after which the process must not go on.
   */
  drop(): void;
  /**
   * Runs an operation with what was kept: of all threads only the one that dropped the rest may, and the operation
   * must be synchronous throughout. See {@link KeptCapabilities}.
   */
  run<Result>(operation: () => Result): Result;
}

/** What is said when root becomes a user that other programs run as too. */
const SHARED_USER =
  "running as nobody: whatever else runs as nobody can read the spool, stop this process and connect as any sandbox: " +
  "make a user for it (useradd --system --shell /usr/sbin/nologin kata-trace-forwarder), or give --user";

/**
 * Prepares to become a user, if the process is root, and to keep nothing else but `kept`. Rejects with a
 * {@link PrivilegeError} if there is no such user, or if it is root again.
 *
 * @param asked the user by name or number; undefined: the default one.
 * @param onProblem is told once if the default one is shared with other programs.
 */
export async function openPrivileges(
  asked: string | undefined,
  kept: Kept = KEEP_NOTHING,
  onProblem: (message: string) => void = () => {},
): Promise<Privileges> {
  if (effectiveUser() !== 0) {
    return { owner: undefined, drop: () => {}, run: (operation) => operation() };
  }
  const libc = await loadLibc();
  const { name, isShared } = asked === undefined ? defaultUser(libc) : { name: asked, isShared: false };
  if (isShared) onProblem(SHARED_USER);
  const user = findUser(libc, name);
  if (user === undefined) {
    throw new PrivilegeError(
      `there is no user "${name}" to run as: check --user, or start as another user than root`,
    );
  }
  if (user.uid === 0 || user.gid === 0) {
    const what = user.uid === 0 ? "is root" : "is in root's group";
    throw new PrivilegeError(
      `the user "${name}" ${what}, as which nothing that guests send may be handled: give --user another user`,
    );
  }
  if (kept.groups.includes(0)) {
    throw new PrivilegeError(
      "root's group cannot be kept for sockets that are made later: give --socket-group another group",
    );
  }
  let capabilities: KeptCapabilities | undefined;
  return {
    owner: user,
    drop: () => {
      capabilities = drop(libc, user, kept);
    },
    run: (operation) => capabilities === undefined ? operation() : capabilities.run(operation),
  };
}

function effectiveUser(): number {
  const uid = process.geteuid?.();
  // Taking "unknown" for "not root" would keep root's privileges.
  if (uid === undefined) throw new PrivilegeError("this runtime does not say whom it runs as");
  return uid;
}

/** Returns the capabilities that were kept, if any. */
function drop(libc: Libc, user: User, kept: Kept): KeptCapabilities | undefined {
  // Root's directory may be one that the user must not see, and would be kept busy.
  process.chdir("/");
  const set = kept.directories ? CAP_DAC_OVERRIDE : NO_CAPABILITY;
  const before = new Set(readThreads().map(({ id }) => id));
  // Only for this thread: every other one loses all it has as it becomes the user.
  if (kept.directories) libc.prctl(PR_SET_KEEPCAPS, 1n);
  become(libc, user, kept.groups);
  const capabilities = kept.directories ? keep(libc, set) : undefined;
  forbidNewPrivileges(libc);
  const self = Number(basename(readlinkSync("/proc/thread-self")));
  const permitted = (id: number): readonly bigint[] => {
    if (id === self) return [set];
    // One that this thread has started in between: see KeptCapabilities.
    return before.has(id) ? [NO_CAPABILITY] : [NO_CAPABILITY, set];
  };
  const violations = [
    ...readThreads().flatMap((thread) =>
      privilegesOf(thread, user, { permitted: permitted(thread.id), groups: kept.groups })
    ),
    ...rootRegained(libc),
  ];
  if (violations.length > 0) {
    throw new PrivilegeError(`privileges are still there after dropping them: ${violations[0]}`, {
      cause: new AggregateError([], violations.join("; ")),
    });
  }
  return capabilities;
}

/** Groups before the user: the user alone may not change groups. */
function become(libc: Libc, { name, uid, gid }: User, groups: readonly number[]): void {
  try {
    libc.setgroups(groups);
    libc.setresgid(gid, gid, gid);
    libc.setresuid(uid, uid, uid);
  } catch (error) {
    throw new PrivilegeError(
      `root cannot become the user "${name}" here (CAP_SETUID and CAP_SETGID are needed): ` +
        "grant them, or start as that user",
      { cause: error },
    );
  }
}

function keep(libc: Libc, set: bigint): KeptCapabilities {
  try {
    const capabilities = new KeptCapabilities(libc, set);
    libc.prctl(PR_SET_KEEPCAPS, 0n);
    return capabilities;
  } catch (error) {
    throw new PrivilegeError(
      "root's right to make sockets in its directories cannot be kept here: grant CAP_DAC_OVERRIDE, or give a " +
        "--socket-path without {ID}",
      { cause: error },
    );
  }
}

/** No_new_privs, on every thread: no program that is run gains anything. See {@link seccompProgram} for the filter. */
function forbidNewPrivileges(libc: Libc): void {
  const architecture = SECCOMP_ARCHITECTURES[process.arch];
  if (architecture === undefined) {
    throw new PrivilegeError(`there is no system call filter for ${process.arch}`);
  }
  const program = seccompProgram(architecture);
  const fprog = sockFprog(program, libc.addressOf(program));
  let unsynchronised: bigint;
  try {
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1n);
    unsynchronised = libc.syscall(
      "seccomp",
      architecture.seccomp,
      SECCOMP_SET_MODE_FILTER,
      SECCOMP_FILTER_FLAG_TSYNC,
      libc.addressOf(fprog),
    );
  } catch (error) {
    throw new PrivilegeError(
      "no_new_privs cannot be set on every thread: the kernel lacks seccomp filters, or forbids them here",
      { cause: error },
    );
  }
  // Both must have been reachable until now: the kernel read them through their addresses.
  if (unsynchronised !== 0n || fprog.length + program.length === 0) {
    throw new PrivilegeError(
      `no_new_privs cannot be set on every thread: thread ${unsynchronised} has a system call filter of its own`,
    );
  }
}

/** What a thread may have: one of these permitted sets, and exactly these groups. */
interface Allowed {
  readonly permitted: readonly bigint[];
  readonly groups: readonly number[];
}

const ALLOW_NOTHING: Allowed = { permitted: [NO_CAPABILITY], groups: [] };

/**
 * What a thread still may that it should not. Inheritable capabilities are left out: by themselves they allow nothing,
 * and what they would do, for a program that is run, no_new_privs prevents.
 */
export function privilegesOf(
  thread: ThreadStatus,
  user: User,
  allowed: Allowed = ALLOW_NOTHING,
): string[] {
  const wrong: string[] = [];
  const check = (right: boolean, what: string): void => {
    if (!right) wrong.push(`thread ${thread.id} ${what}`);
  };
  check(
    thread.uids.length === 4 && thread.uids.every((id) => id === user.uid),
    `has user IDs ${thread.uids}`,
  );
  check(
    thread.gids.length === 4 && thread.gids.every((id) => id === user.gid),
    `has group IDs ${thread.gids}`,
  );
  check(
    thread.groups.length === allowed.groups.length &&
      thread.groups.every((group) => allowed.groups.includes(group)),
    `has groups ${thread.groups}`,
  );
  check(
    allowed.permitted.includes(thread.permitted),
    `has permitted capabilities 0x${thread.permitted.toString(16)}`,
  );
  check(thread.effective === 0n, `has effective capabilities 0x${thread.effective.toString(16)}`);
  check(thread.ambient === 0n, `has ambient capabilities 0x${thread.ambient.toString(16)}`);
  check(thread.noNewPrivileges, "may gain privileges (no no_new_privs)");
  check(thread.seccomp === SECCOMP_MODE_FILTER, "has no system call filter");
  return wrong;
}

/** Tries to be root again, which must fail. */
function rootRegained(libc: Libc): string[] {
  const attempts: readonly [string, () => void][] = [
    ["setresuid", () => libc.setresuid(0, 0, 0)],
    ["setresgid", () => libc.setresgid(0, 0, 0)],
    ["setgroups", () => libc.setgroups([0])],
  ];
  return attempts.flatMap(([call, attempt]) => {
    try {
      attempt();
    } catch (error) {
      if (errnoName(error) === "EPERM") return [];
      throw error;
    }
    return [`${call} has brought root back`];
  });
}
