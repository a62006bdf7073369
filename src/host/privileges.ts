import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { errnoName } from "../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { CAP_DAC_OVERRIDE, NO_CAPABILITY, PR_SET_KEEPCAPS, RetainedCapabilities } from "./capabilities.ts";
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

/** Privileges could not be dropped, or are still there afterwards. The start must fail. */
export class PrivilegeError extends Error {
  override readonly name = "PrivilegeError";
}

/** The privileges of root that are needed after the start. */
export interface RetainedPrivileges {
  /** CAP_DAC_OVERRIDE for one thread, to make and remove files in root's directories. */
  readonly directories: boolean;
  /** Groups that the user is in besides its own, so that it may give its files to them. */
  readonly groups: readonly number[];
}

const RETAIN_NOTHING: RetainedPrivileges = { directories: false, groups: [] };

/** Root's privileges, as long as the process has them. */
export interface Privileges {
  /**
   * The user that the process becomes, and that must own what it goes on writing to. Undefined if the process is not
   * root, and stays the user that it is.
   */
  readonly owner: User | undefined;
  /**
   * Gives them up for good, on every thread, and checks that. Does nothing if the process is not root. To be called
   * once, when everything that needs root is open. It is synchronous, so that nothing else happens half way. Throws a
   * {@link PrivilegeError}, after which the process must not go on.
   */
  drop(): void;
  /**
   * Runs an operation with the retained privileges. Only the thread that dropped the others may do that, and the
   * operation must be synchronous throughout. See {@link RetainedCapabilities}.
   */
  run<Result>(operation: () => Result): Result;
}

/** The warning if root becomes a user that other programs run as too. */
const SHARED_USER =
  "running as nobody: anything else that runs as nobody can read the spool, stop this process and connect as any " +
  "sandbox: make a user for it (useradd --system --shell /usr/sbin/nologin kata-trace-forwarder), or give --user";

/**
 * Prepares to become a user, if the process is root, and to retain only `retained`. Rejects with a
 * {@link PrivilegeError} if there is no such user, or if that user is root again.
 *
 * @param asked the user by name or number; undefined: the default user.
 * @param onProblem is called once if the default user is shared with other programs.
 */
export async function openPrivileges(
  asked: string | undefined,
  retained: RetainedPrivileges = RETAIN_NOTHING,
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
      `the user "${name}" ${what}, which must not handle what guests send: give --user another user`,
    );
  }
  if (retained.groups.includes(0)) {
    throw new PrivilegeError(
      "root's group cannot be retained for sockets that are made later: give --socket-group another group",
    );
  }
  let capabilities: RetainedCapabilities | undefined;
  return {
    owner: user,
    drop: () => {
      capabilities = drop(libc, user, retained);
    },
    run: (operation) => capabilities === undefined ? operation() : capabilities.run(operation),
  };
}

function effectiveUser(): number {
  const uid = process.geteuid?.();
  // Treating "unknown" as "not root" would retain root's privileges.
  if (uid === undefined) throw new PrivilegeError("this runtime does not say which user it runs as");
  return uid;
}

/** Returns the retained capabilities, if any. */
function drop(libc: Libc, user: User, retained: RetainedPrivileges): RetainedCapabilities | undefined {
  // The current directory may be one that the user must not see, and it could not be unmounted.
  process.chdir("/");
  const set = retained.directories ? CAP_DAC_OVERRIDE : NO_CAPABILITY;
  const before = new Set(readThreads().map(({ id }) => id));
  // Only for this thread. Every other one loses all of its capabilities when it becomes the user.
  if (retained.directories) libc.prctl(PR_SET_KEEPCAPS, 1n);
  become(libc, user, retained.groups);
  const capabilities = retained.directories ? retain(libc, set) : undefined;
  forbidNewPrivileges(libc);
  const self = Number(basename(readlinkSync("/proc/thread-self")));
  const permitted = (id: number): readonly bigint[] => {
    if (id === self) return [set];
    // A thread that this one has started in between, see RetainedCapabilities.
    return before.has(id) ? [NO_CAPABILITY] : [NO_CAPABILITY, set];
  };
  const violations = [
    ...readThreads().flatMap((thread) =>
      privilegesOf(thread, user, { permitted: permitted(thread.id), groups: retained.groups })
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

/** Groups come before the user, because only root may change groups. */
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

function retain(libc: Libc, set: bigint): RetainedCapabilities {
  try {
    const capabilities = new RetainedCapabilities(libc, set);
    libc.prctl(PR_SET_KEEPCAPS, 0n);
    return capabilities;
  } catch (error) {
    throw new PrivilegeError(
      "the right to make sockets in root's directories cannot be retained here: grant CAP_DAC_OVERRIDE, or give a " +
        "--socket-path without {ID}",
      { cause: error },
    );
  }
}

/**
 * Sets no_new_privs on every thread, so that no program gains privileges, with the filter of {@link seccompProgram}.
 */
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
  // Both must be reachable until now, because the kernel read them through their addresses.
  if (unsynchronised !== 0n || fprog.length + program.length === 0) {
    throw new PrivilegeError(
      `no_new_privs cannot be set on every thread: thread ${unsynchronised} has a system call filter of its own`,
    );
  }
}

/** What a thread may have: any of these permitted sets, and exactly these groups. */
interface Allowed {
  readonly permitted: readonly bigint[];
  readonly groups: readonly number[];
}

const ALLOW_NOTHING: Allowed = { permitted: [NO_CAPABILITY], groups: [] };

/**
 * The privileges that a thread still has but should not have. Inheritable capabilities are left out, because they only
 * count for a program that is run, and no_new_privs prevents that.
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

/** Tries to become root again, which must fail. */
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
