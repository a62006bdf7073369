import process from "node:process";
import { errnoName } from "../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { NO_CAPABILITY } from "./capabilities.ts";
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
}

/** The warning if root becomes a user that other programs run as too. */
const SHARED_USER =
  "running as nobody: anything else that runs as nobody can read the spool, stop this process and connect as any " +
  "sandbox: make a user for it (useradd --system --shell /usr/sbin/nologin kata-trace-forwarder), or give --user";

/**
 * Prepares to become a user, if the process is root. Rejects with a {@link PrivilegeError} if there is no such user, or
 * if that user is root again.
 *
 * @param asked the user by name or number; undefined: the default user.
 * @param onProblem is called once if the default user is shared with other programs.
 */
export async function openPrivileges(
  asked: string | undefined,
  onProblem: (message: string) => void = () => {},
): Promise<Privileges> {
  if (effectiveUser() !== 0) {
    return { owner: undefined, drop: () => {} };
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
  return { owner: user, drop: () => drop(libc, user) };
}

function effectiveUser(): number {
  const uid = process.geteuid?.();
  // Treating "unknown" as "not root" would retain root's privileges.
  if (uid === undefined) throw new PrivilegeError("this runtime does not say which user it runs as");
  return uid;
}

function drop(libc: Libc, user: User): void {
  // The current directory may be one that the user must not see, and it could not be unmounted.
  process.chdir("/");
  become(libc, user);
  forbidNewPrivileges(libc);
  const violations = [...readThreads().flatMap((thread) => privilegesOf(thread, user)), ...rootRegained(libc)];
  if (violations.length > 0) {
    throw new PrivilegeError(`privileges are still there after dropping them: ${violations[0]}`, {
      cause: new AggregateError([], violations.join("; ")),
    });
  }
}

/** Groups come before the user, because only root may change groups. */
function become(libc: Libc, { name, uid, gid }: User): void {
  try {
    libc.setgroups([]);
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

/**
 * Sets no_new_privs on every thread, so that no program gains privileges, with the filter of {@link seccompProgram}.
 * Throws a {@link PrivilegeError}.
 *
 * @param needed the names of system calls that the filter must not deny here.
 */
export function forbidNewPrivileges(libc: Libc, needed: readonly string[] = []): void {
  const architecture = SECCOMP_ARCHITECTURES[process.arch];
  if (architecture === undefined) {
    throw new PrivilegeError(`there is no system call filter for ${process.arch}`);
  }
  const program = seccompProgram(architecture, needed);
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

/**
 * The privileges that a thread still has but should not have. Inheritable capabilities are left out, because they only
 * count for a program that is run, and no_new_privs prevents that.
 */
export function privilegesOf(thread: ThreadStatus, user: User): string[] {
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
  check(thread.groups.length === 0, `has groups ${thread.groups}`);
  check(thread.permitted === NO_CAPABILITY, `has permitted capabilities 0x${thread.permitted.toString(16)}`);
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
