import type { Libc } from "../../ffi/libc.ts";

/** A user that the process can become. */
export interface User {
  /** As it was given. */
  readonly name: string;
  readonly uid: number;
  /** The user's own group. */
  readonly gid: number;
}

/** Finds a user by name or number, in any of the host's databases; undefined if there is none. */
export function findUser(
  libc: Pick<Libc, "userByName" | "userById">,
  name: string,
): User | undefined {
  // As chown(1) does: digits are a name first, and then a number.
  const found = libc.userByName(name) ??
    (/^\d{1,10}$/.test(name) ? libc.userById(Number(name)) : undefined);
  return found && { name, ...found };
}

/** The forwarder's own user, which the packages make. */
const OWN_USER = "kata-trace-forwarder";
/** The user to fall back to, which other programs run as too. */
const SHARED_USER = "nobody";

/** The user to become if none is given: the forwarder's own if there is one, else a shared one (`isShared`). */
export function defaultUser(
  libc: Pick<Libc, "userByName" | "userById">,
): { readonly name: string; readonly isShared: boolean } {
  return findUser(libc, OWN_USER) === undefined
    ? { name: SHARED_USER, isShared: true }
    : { name: OWN_USER, isShared: false };
}
