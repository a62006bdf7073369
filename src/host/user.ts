import type { Libc } from "../../ffi/libc.ts";

/** Somebody whom the process can become. */
export interface User {
  /** As it was asked for. */
  readonly name: string;
  readonly uid: number;
  /** The user's own group. */
  readonly gid: number;
}

/** The user of a name or a number, wherever the host keeps its users; undefined where there is none. */
export function findUser(
  libc: Pick<Libc, "userByName" | "userById">,
  name: string,
): User | undefined {
  // As chown(1) does it: a name of digits is a name first.
  const found = libc.userByName(name) ??
    (/^\d{1,10}$/.test(name) ? libc.userById(Number(name)) : undefined);
  return found && { name, ...found };
}

/** The user that is the forwarder's own; the packages make it. */
const OWN_USER = "kata-trace-forwarder";
/** The user to fall back to, which other programs run as too. */
const SHARED_USER = "nobody";

/** The user to become if none is asked for: the forwarder's own if there is one, else a shared one (`isShared`). */
export function defaultUser(
  libc: Pick<Libc, "userByName" | "userById">,
): { readonly name: string; readonly isShared: boolean } {
  return findUser(libc, OWN_USER) === undefined
    ? { name: SHARED_USER, isShared: true }
    : { name: OWN_USER, isShared: false };
}
