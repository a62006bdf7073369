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
