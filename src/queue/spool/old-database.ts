import { DatabaseSync } from "node:sqlite";
import { SpoolError } from "./spool-error.ts";

/** What `PRAGMA user_version` says of the tables below. */
const SCHEMA_VERSION = 1;
/** The tables that the forwarder made, as SQLite keeps them, with single blanks. */
const TABLES: Readonly<Record<string, string>> = {
  batch: "CREATE TABLE batch ( sequence INTEGER PRIMARY KEY, spans INTEGER NOT NULL, checksum INTEGER NOT NULL, " +
    "request BLOB NOT NULL )",
  damaged: "CREATE TABLE damaged ( sequence INTEGER, spans INTEGER, checksum INTEGER, request BLOB )",
};

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html), and its messages where Deno gives no code. */
const DAMAGE = {
  // SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_ERROR for a table that is missing
  codes: [11, 26, 1],
  message: /malformed|not a database|no such (table|column)/,
};
/** SQLITE_BUSY, SQLITE_LOCKED */
const LOCKED = { codes: [5, 6], message: /database (table )?is locked/ };
/** SQLITE_IOERR_SHORT_READ: a file that was cut off within a page; the other I/O errors are failures of the machine. */
const SHORT_READ = 522;

/** A database that can be read, and what is wrong with it. */
export interface Opened {
  readonly database: DatabaseSync;
  readonly problem: string | undefined;
}

/** Opens a database even if it is damaged. Throws SQLite's error, or {@link SpoolError}. */
export function openOldDatabase(path: string): Opened {
  try {
    return openDatabase(path, false);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return openDatabase(path, true);
  }
}

/** @param isDamaged whether the database is to be read although SQLite finds that it is damaged. */
function openDatabase(path: string, isDamaged: boolean): Opened {
  const database = new DatabaseSync(path);
  try {
    // Nothing in the file may call functions or change the schema. What SQLite reads a file for that has been cut off,
    // it calls writable; only SELECT is used then.
    database.enableDefensive(!isDamaged);
    // The lock is there from the first read on, without a shared-memory file, for which a full disk has no room.
    database.exec(`
      PRAGMA writable_schema = ${isDamaged ? "ON" : "OFF"};
      PRAGMA trusted_schema = OFF;
      PRAGMA cell_size_check = ON;
      PRAGMA locking_mode = EXCLUSIVE;
      PRAGMA temp_store = MEMORY;
      PRAGMA synchronous = NORMAL;
    `);
    const problem = findProblem(database);
    return { database, problem: problem ?? (isDamaged ? "it is not as SQLite wrote it" : undefined) };
  } catch (error) {
    closeQuietly(database);
    throw error;
  }
}

/** What is wrong with a database that can be read all the same. Throws SQLite's error, or {@link SpoolError}. */
function findProblem(database: DatabaseSync): string | undefined {
  const version = database.prepare("PRAGMA user_version").get()?.["user_version"];
  const objects = database.prepare("SELECT name, sql FROM sqlite_schema").all();
  // A process that was killed at its first start has left an empty file.
  if (objects.length === 0) return undefined;
  if (version !== SCHEMA_VERSION) {
    throw new SpoolError(
      "failed",
      `it was written by another version of the forwarder (its format is ${version}, this one reads ${SCHEMA_VERSION})`,
    );
  }
  const isOurs = ({ name, sql }: Readonly<Record<string, unknown>>): boolean =>
    TABLES[String(name)] === String(sql).replace(/\s+/g, " ");
  if (!objects.some((object) => object["name"] === "batch" && isOurs(object))) {
    throw new SpoolError("damaged", "it has no table of batches");
  }
  // A trigger, for one, would run when a row is deleted.
  const foreign = objects.find((object) => !isOurs(object));
  if (foreign !== undefined) {
    return `it has something in it that the forwarder did not make: ${String(foreign["name"])}`;
  }
  const answer = database.prepare("PRAGMA quick_check(1)").get();
  const first = answer === undefined ? "no answer" : String(Object.values(answer)[0]);
  return first === "ok" ? undefined : first;
}

/** Whether an error says that the file is not what SQLite wrote. */
export function isDamage(error: unknown): boolean {
  if (error instanceof SpoolError) return error.kind === "damaged";
  return errcodeOf(error) === SHORT_READ || matches(error, DAMAGE);
}

/** Whether another process uses the database. */
export function isLocked(error: unknown): boolean {
  return matches(error, LOCKED);
}

function matches(error: unknown, { codes, message }: typeof DAMAGE): boolean {
  return error instanceof Error && (codes.includes(errcodeOf(error) & 0xff) || message.test(error.message));
}

/** SQLite's extended result code; 0 if there is none. */
function errcodeOf(error: unknown): number {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0;
}

/** Whether closing works changes nothing: the process's end closes the file too. */
export function closeQuietly(database: DatabaseSync): void {
  try {
    database.close();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}
