import * as fs from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { describeError } from "../../base/log.ts";
import { SpoolError, spoolErrorKind } from "./spool-error.ts";
import { asideName, lengthenEmptied } from "./spool-files.ts";
import { commitFrames } from "./spool-wal.ts";

/** A batch as a row of the spool. */
export interface SpoolRow {
  readonly sequence: number;
  readonly spans: number;
  readonly request: Uint8Array;
}

/**
 * Bytes of a database page. Four times SQLite's default: a batch of some 100 KB then hangs on fewer overflow pages,
 * which is a third less CPU for each commit, and small batches still share a page.
 */
export const PAGE_BYTES = 16 * 1024;

/** What `PRAGMA user_version` says of the tables below. */
const SCHEMA_VERSION = 1;

/** `damaged` keeps what is no longer what was put in, for whoever wants to look. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY,
    spans INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    request BLOB NOT NULL
  );
  CREATE TABLE IF NOT EXISTS damaged (
    sequence INTEGER, spans INTEGER, checksum INTEGER, request BLOB
  );
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/**
 * Of a row that may be damaged. The numbers come as text, as which they are checksummed: one that a flipped bit has
 * made too large for a JavaScript number would be an error instead of a row.
 */
export const READ_ROW = `
  SELECT sequence, CAST(spans AS TEXT) AS spans, CAST(checksum AS TEXT) AS checksum, request
  FROM batch WHERE sequence = ?
`;

/** The sequence numbers that there can be: positive, and exact as a JavaScript number with the next one too. */
export const POSSIBLE_SEQUENCE = `sequence BETWEEN 1 AND ${Number.MAX_SAFE_INTEGER - 1}`;

/** CRC-32 of everything a row says, so that a flipped bit is seen wherever it is. */
export function rowChecksum({ sequence, spans, request }: SpoolRow): number {
  return crc32(request, crc32(`${sequence} ${spans}`));
}

/** A spool's database, open. */
export interface OpenDatabase {
  readonly database: DatabaseSync;
  /** A copy of the write-ahead log, where SQLite could not read all that had been committed to it. */
  readonly damagedLog: string | undefined;
  /** The file had no pages, or was missing, although there is a log of it. */
  readonly wasEmptied: boolean;
}

/**
 * Opens a spool's database for this process alone, checks it from end to end and makes its tables where it is new.
 *
 * - `locking_mode=EXCLUSIVE` before anything is read: the file stays locked until the process ends, however it ends,
 *   and there is no shared-memory file beside it.
 * - `synchronous=FULL`: in WAL mode each commit is then written through to the disk before it returns, so that what
 *   counts as accepted survives a power loss, not only a crash of the process (for which NORMAL would do).
 *
 * Throws {@link SpoolError}; of kind `damaged` where the file is not what SQLite wrote.
 */
export function openDatabase(path: string): OpenDatabase {
  let database: DatabaseSync | undefined;
  try {
    const commits = commitFrames(`${path}-wal`, PAGE_BYTES);
    const wasEmptied = commits.length > 0 && lengthenEmptied(path, PAGE_BYTES);
    database = new DatabaseSync(path);
    database.exec(`
      PRAGMA page_size = ${PAGE_BYTES};
      PRAGMA locking_mode = EXCLUSIVE;
      PRAGMA temp_store = MEMORY;
    `);
    // Not before the lock is known to be ours, which the first read of the file finds out.
    database.prepare("PRAGMA user_version").get();
    // Before anything is written, which would begin the write-ahead log anew.
    const framesRead = numberOf(database, "PRAGMA wal_checkpoint(PASSIVE)", "log");
    const isLogDamaged = commits.some((frame) => frame > framesRead);
    const damagedLog = isLogDamaged ? asideName(`${path}-wal`) : undefined;
    if (damagedLog !== undefined) fs.copyFileSync(`${path}-wal`, damagedLog);
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    fs.chmodSync(path, 0o600);
    const problem = firstProblem(database);
    if (problem !== undefined) throw new SpoolError("damaged", problem);
    const version = numberOf(database, "PRAGMA user_version", "user_version");
    if (version !== 0 && version !== SCHEMA_VERSION) {
      throw new SpoolError(
        "failed",
        `it was written by another version of the forwarder (its format is ${version}, this one's ${SCHEMA_VERSION})`,
      );
    }
    database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
    return { database, damagedLog, wasEmptied };
  } catch (error) {
    // Closing may fail for the same reason; the first failure is the one to tell.
    if (database !== undefined) closeQuietly(database);
    const kind = spoolErrorKind(error);
    const holder = kind === "locked" ? lockHolder(path) : undefined;
    const why = kind === "locked"
      ? `in use by another forwarder${holder === undefined ? "" : ` (process ${holder})`}`
      : describeError(error);
    throw new SpoolError(kind, `spool ${path}: ${why}`, { cause: error });
  }
}

/** A number that a statement gives in its only row. */
export function numberOf(database: DatabaseSync, sql: string, column: string): number {
  const value = database.prepare(sql).get()?.[column];
  if (typeof value !== "number") throw new SpoolError("damaged", `${sql} gave ${String(value)}`);
  return value;
}

/** Closes a database that failed before: whether that works changes nothing any more. */
export function closeQuietly(database: DatabaseSync): void {
  try {
    database.close();
  } catch (error) {
    // Nothing depends on it: the process's end closes the file too. Anything but SQLite's own word is a bug.
    if (!(error instanceof Error)) throw error;
  }
}

function firstProblem(database: DatabaseSync): string | undefined {
  const row = database.prepare("PRAGMA quick_check(1)").get();
  const answer = row === undefined ? "no answer" : String(Object.values(row)[0]);
  return answer === "ok" ? undefined : answer;
}

/** The process that has the file locked, where the kernel tells (proc_locks(5)); it may be in another PID namespace. */
function lockHolder(path: string): number | undefined {
  try {
    const { ino } = fs.statSync(path);
    const locks = fs.readFileSync("/proc/locks", "utf8");
    const match = new RegExp(` (\\d+) [0-9a-f]+:[0-9a-f]+:${ino} `).exec(locks);
    return match === null || match[1] === "0" ? undefined : Number(match[1]);
  } catch (error) {
    // Only a help for the reader of the message: without /proc it is left out.
    if (!(error instanceof Error)) throw error;
    return undefined;
  }
}

/**
 * The rows of a damaged database that can be read and whose checksums hold. The file is opened read-only, so that it
 * stays as it was found.
 */
export function* readableRows(path: string): Generator<SpoolRow> {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    // What makes SQLite read a file that has been cut off, though nothing is written.
    database.enableDefensive(false);
    database.exec("PRAGMA writable_schema = ON");
    const read = database.prepare(READ_ROW);
    for (const sequence of readableSequences(database)) {
      const row = attempt(() => read.get(sequence));
      const checked = row && checkedRow(row);
      if (checked !== undefined) yield checked;
    }
  } catch (error) {
    // Not even its beginning can be read: there is nothing to save.
    if (spoolErrorKind(error) !== "damaged") throw error;
  } finally {
    if (database !== undefined) closeQuietly(database);
  }
}

/** A row as it was put in, or nothing where the checksum does not hold. */
export function checkedRow(row: Readonly<Record<string, unknown>>): SpoolRow | undefined {
  const { sequence, spans, checksum, request } = row;
  if (!(request instanceof Uint8Array)) return undefined;
  const checked = { sequence: Number(sequence), spans: Number(spans), request };
  return String(rowChecksum(checked)) === checksum ? checked : undefined;
}

/** Walks the table from both ends, since a walk ends at the first page that is damaged. */
function readableSequences(database: DatabaseSync): number[] {
  const found = new Set<number>();
  for (const order of ["ASC", "DESC"]) {
    attempt(() => {
      const walk = database.prepare(
        `SELECT sequence FROM batch WHERE ${POSSIBLE_SEQUENCE} ORDER BY sequence ${order}`,
      );
      for (const { sequence } of walk.iterate()) found.add(Number(sequence));
    });
  }
  return [...found].sort((a, b) => a - b);
}

/** What `read` gives, or nothing where the file is damaged there. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (spoolErrorKind(error) !== "damaged") throw error;
    return undefined;
  }
}
