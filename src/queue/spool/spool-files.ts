import * as fs from "node:fs";
import { dirname } from "node:path";
import { describeError } from "../../base/log.ts";
import { SpoolError } from "./spool-error.ts";

/** The size of a file, bytes; undefined where there is none. */
export function sizeOf(path: string): number | undefined {
  try {
    return fs.statSync(path, { throwIfNoEntry: false })?.size;
  } catch (cause) {
    const reason = describeError(cause);
    throw new SpoolError(
      "failed",
      `spool directory ${dirname(path)} is out of reach for the user that the forwarder runs as: make each directory ` +
        `above it passable for that user (chmod o+x), or give another: ${reason}`,
      { cause },
    );
  }
}

/** A name for a damaged file that no other has. */
export function asideName(path: string): string {
  const name = `${path}.${new Date().toISOString().replaceAll(":", "-")}`;
  let aside = `${name}.damaged`;
  for (let i = 2; fs.existsSync(aside); i++) aside = `${name}.${i}.damaged`;
  return aside;
}

/**
 * Renames a database and its write-ahead log, the latter first: a log that stayed behind would be taken for that of
 * the next database of the name.
 */
export function moveDatabase(from: string, to: string): void {
  if (fs.existsSync(`${from}-wal`)) fs.renameSync(`${from}-wal`, `${to}-wal`);
  if (fs.existsSync(from)) fs.renameSync(from, to);
  // Only an index of the log, made anew by whoever opens it.
  fs.rmSync(`${from}-shm`, { force: true });
}

/** Goes on with a {@link moveDatabase} that was interrupted between the log and the database. */
export function finishMove(from: string, to: string): void {
  if (fs.existsSync(`${to}-wal`) && !fs.existsSync(to)) moveDatabase(from, to);
}

/** SQLite on Linux takes a file of one byte for an empty one too (`unixFileSize` in its os_unix.c). */
const EMPTY_BYTES = 1;

/**
 * Gives a database that has no pages, or is missing, one of zeros: SQLite throws the write-ahead log of one without
 * pages away, unread (`pagerOpenWalIfPresent` in its pager.c), and in the log may be all that matters. True where it
 * did.
 */
export function lengthenEmptied(path: string, pageBytes: number): boolean {
  if ((sizeOf(path) ?? 0) > EMPTY_BYTES) return false;
  const { O_CREAT, O_RDWR } = fs.constants;
  const file = fs.openSync(path, O_RDWR | O_CREAT, 0o600);
  try {
    // Only lengthened, in case another forwarder has just begun to use it: the lock decides later whose it is.
    const { size } = fs.fstatSync(file);
    if (size === EMPTY_BYTES) fs.writeSync(file, Uint8Array.of(0), 0, 1, 0);
    if (size <= EMPTY_BYTES) fs.ftruncateSync(file, pageBytes);
  } finally {
    fs.closeSync(file);
  }
  return true;
}
