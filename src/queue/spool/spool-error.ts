import { describeError } from "../../base/log.ts";

/** What is wrong with a spool; `full` and `damaged` are the two that are not a failure of the machine. */
export type SpoolErrorKind = "locked" | "full" | "damaged" | "failed";

/**
 * SQLITE_IOERR_SHORT_READ: a read ended before it should, in a file that was cut off within a page. Not a failure of
 * the machine, as the other I/O errors are (https://www.sqlite.org/rescode.html#ioerr_short_read).
 */
const SHORT_READ = 522;

/**
 * SQLite's primary result codes (https://www.sqlite.org/rescode.html), and their messages where a runtime gives no
 * code.
 */
const KINDS: readonly [kind: SpoolErrorKind, codes: readonly number[], message: RegExp][] = [
  // SQLITE_BUSY, SQLITE_LOCKED
  ["locked", [5, 6], /database (table )?is locked/],
  // SQLITE_FULL
  ["full", [13], /database or disk is full|ENOSPC|no space left/i],
  // SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_ERROR for a table that is missing
  ["damaged", [11, 26], /malformed|not a database|no such (table|column)/],
];

/** A spool that cannot be opened or used: the message names the file or directory, and what to do. */
export class SpoolError extends Error {
  override readonly name = "SpoolError";
  readonly kind: SpoolErrorKind;
  /** The name of the errno behind it, if there is one. `ENOSPC` also if the spool itself has no more room. */
  readonly code: string | undefined;

  constructor(kind: SpoolErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.code = errnoOf(options?.cause) ?? (kind === "full" ? "ENOSPC" : undefined);
  }
}

/** The errnos of a disk, quota or file-size limit that is used up. */
const NO_SPACE = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** The name of the errno in an error of the file system. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Whether an error says that there is no space left. */
export function isNoSpace(error: unknown): boolean {
  return error instanceof SpoolError ? error.kind === "full" : NO_SPACE.has(errnoOf(error) ?? "");
}

/** An error of the file system as a {@link SpoolError} that says what could not be done. */
export function storageError(error: unknown, action: string): SpoolError {
  if (error instanceof SpoolError) return error;
  return new SpoolError(isNoSpace(error) ? "full" : "failed", `${action}: ${describeError(error)}`, { cause: error });
}

/** What kind of trouble an error from SQLite, or from the file system, stands for. */
export function spoolErrorKind(error: unknown): SpoolErrorKind {
  if (error instanceof SpoolError) return error.kind;
  if (!(error instanceof Error)) return "failed";
  const extended = "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0;
  if (extended === SHORT_READ) return "damaged";
  const code = extended & 0xff;
  for (const [kind, codes, message] of KINDS) {
    if (codes.includes(code) || message.test(error.message)) return kind;
  }
  return "failed";
}
