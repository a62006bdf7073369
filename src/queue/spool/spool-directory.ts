import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { describeError } from "../../base/log.ts";
import { SpoolError } from "./spool-error.ts";

/** Whom the process will run as. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Permission bits that let others than the owner in. */
const OTHERS = 0o077;
/**
 * The sticky bit, of a directory that is for everybody, such as /tmp (inode(7)); an `emptyDir` of Kubernetes' is not.
 */
const STICKY = 0o1000;

/**
 * Makes sure that the spool's directory is there, 0700 and owned by the user that the process will run as. To be called
 * while the process still has its privileges; the spool itself is opened after they are gone (`Spool.open`), so
 * that root never reads, follows or changes what a less privileged process may have put there.
 *
 * A directory that is missing is made; its parent must exist. One that is empty is taken over, unless it is
 * everybody's. One that holds anything is left as it is and must already be right: `--spool-dir /etc` must not give
 * `/etc` away.
 *
 * @param owner whom it shall belong to; default: the user the process runs as now.
 * @returns its absolute path. Throws {@link SpoolError}.
 */
export function prepareSpoolDirectory(directory: string, owner?: Owner): string {
  const path = resolve(directory);
  let opened: number | undefined;
  try {
    makeDirectory(path);
    opened = openDirectory(path);
    claim(opened, path, owner);
    return path;
  } catch (error) {
    if (error instanceof SpoolError) throw error;
    throw new SpoolError(
      "failed",
      `spool directory ${path} cannot be prepared: ${describeError(error)}`,
      { cause: error },
    );
  } finally {
    if (opened !== undefined) fs.closeSync(opened);
  }
}

/** No link is followed. */
function openDirectory(path: string): number {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  try {
    return fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    const code = codeOf(error);
    if (code !== "ENOTDIR" && code !== "ELOOP") throw error;
    throw new SpoolError("failed", `spool directory ${path} is not a directory`, { cause: error });
  }
}

/**
 * Checks an open directory and makes it the owner's. It is changed by its descriptor, because anyone who may write to
 * its parent could meanwhile put a link to another directory in its place, and root would give that one away.
 */
function claim(opened: number, path: string, owner: Owner | undefined): void {
  const uid = owner?.uid ?? process.getuid?.() ?? 0;
  const stat = fs.fstatSync(opened);
  if ((stat.mode & STICKY) !== 0) {
    throw new SpoolError(
      "failed",
      `spool directory ${path} is everybody's: give one of its own, such as ${join(path, "kata-spool")}`,
    );
  }
  const mayChange = fs.readdirSync(`/proc/self/fd/${opened}`).length === 0;
  const isOthers = stat.uid !== uid;
  const isOpen = (stat.mode & OTHERS) !== 0;
  if (isOthers && (owner === undefined || !mayChange)) {
    throw new SpoolError(
      "failed",
      `spool directory ${path} belongs to user ${stat.uid}, not to ${uid} whom the forwarder runs as: chown it, or ` +
        "give another",
    );
  }
  if (isOpen && !mayChange) {
    throw new SpoolError("failed", `spool directory ${path} is open to other users: chmod 700 it`);
  }
  // In this order, because only CAP_FOWNER may change the mode of a directory that already belongs to somebody else.
  if (isOpen) fs.fchmodSync(opened, 0o700);
  if (isOthers && owner !== undefined) fs.fchownSync(opened, owner.uid, owner.gid);
}

/** Makes the directory durably unless it is there. */
function makeDirectory(path: string): void {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const code = codeOf(error);
    if (code === "EEXIST") return;
    if (code === "ENOENT") {
      throw new SpoolError(
        "failed",
        `spool directory ${path} cannot be made: ${dirname(path)} does not exist`,
        { cause: error },
      );
    }
    throw error;
  }
  const parent = fs.openSync(dirname(path), "r");
  try {
    fs.fsyncSync(parent);
  } finally {
    fs.closeSync(parent);
  }
}

/** The errno's name. */
function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
