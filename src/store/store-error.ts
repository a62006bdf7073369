/** The trace store cannot be opened, or written. The message says what, where and what to do. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  /**
   * - `full`: the disk or the file's size limit;
   * - `damaged`: a store whose content makes no sense;
   * - `unusable`: not a store, of another version, or not accessible.
   */
  readonly code: "full" | "damaged" | "unusable";

  constructor(code: StoreError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** SQLite's result codes for a disk or file without room: https://www.sqlite.org/rescode.html */
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_IOERR = 10;

/** What an error of SQLite's means for the store in a file. */
export function storeError(file: string, error: unknown): StoreError {
  const { errcode, message } = error as { errcode?: number; message?: string };
  // Extended codes have the primary one in their lowest byte.
  const primary = errcode === undefined ? undefined : errcode & 0xff;
  if (primary === SQLITE_FULL || primary === SQLITE_IOERR) {
    return new StoreError("full", `trace store ${file}: ${message}: free some space on its disk`, { cause: error });
  }
  const code = primary === SQLITE_CORRUPT ? "damaged" : "unusable";
  return new StoreError(code, `trace store ${file}: ${message}: move it away, or give another --store`, {
    cause: error,
  });
}
