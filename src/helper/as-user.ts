import { errnoName } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";

/** Asks for the current one: no user or group has this number; setfsuid(2). */
const NONE = 0xffff_ffff;

/** This process may not act as another user. */
export class UserChangeError extends Error {
  override readonly name = "UserChangeError";
}

/**
 * Runs an operation on files as another user, without any capability for files: it can do what that user could do, and
 * nothing else, whatever links and mounts that user has put in its way. The operation must be synchronous throughout,
 * because only this thread changes. Throws a {@link UserChangeError} if CAP_SETUID or CAP_SETGID are missing.
 */
export function asUser<Result>(libc: Libc, uid: number, gid: number, operation: () => Result): Result {
  const before = { uid: libc.setfsuid(NONE), gid: libc.setfsgid(NONE) };
  try {
    libc.setfsgid(gid);
    libc.setfsuid(uid);
    if (libc.setfsgid(NONE) !== gid || libc.setfsuid(NONE) !== uid) {
      throw new UserChangeError(`cannot act as the user ${uid}: grant CAP_SETUID and CAP_SETGID`);
    }
    return operation();
  } finally {
    libc.setfsuid(before.uid);
    libc.setfsgid(before.gid);
  }
}

/** Whether an error says that something is not there. */
export function isMissing(error: unknown): boolean {
  return errnoName(error) === "ENOENT" || errnoName(error) === "ENOTDIR";
}
