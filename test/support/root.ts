import process from "node:process";

export const IS_ROOT: boolean = process.geteuid?.() === 0;

/** The user and group for IDs that have no mapping (user_namespaces(7), `overflowuid`). */
export const NOBODY = 65534;

/** For tests that only root can run. */
export const NEEDS_ROOT: { readonly skip?: string } = IS_ROOT
  ? {}
  : { skip: "needs root, because it tests a process that starts as root" };
