import { describeError } from "../../base/log.ts";

/** What is wrong with a spool; `full` and `damaged` are the two that are not a failure of the machine. */
export type SpoolErrorKind = "locked" | "full" | "damaged" | "failed";

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
