import * as fs from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { describeError, type Logger } from "../../base/log.ts";
import type { EarlierRecord, EarlierSpool } from "./earlier-spool.ts";
import { lockHolder } from "./file-storage.ts";
import { closeQuietly, isDamage, isLocked, openOldDatabase } from "./old-database.ts";
import { SpoolError } from "./spool-error.ts";

/** The files that belong to a database. */
const SUFFIXES = ["", "-wal", "-shm", "-journal"] as const;

/** The sequence numbers that there can be. */
const POSSIBLE = `sequence BETWEEN 1 AND ${Number.MAX_SAFE_INTEGER - 1}`;

/**
 * The spool of earlier forwarders: an SQLite database with a batch in each row. It is read and emptied where it
 * is, because on a full disk there is no room for a second copy. Once it is empty it is removed, or set aside if
 * something in it was damaged or was not the forwarder's.
 */
export class OldSpool implements EarlierSpool {
  readonly records: readonly EarlierRecord[];
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #log: Logger;
  /** Rows are only deleted from a database in which nothing is wrong; from others they are just not sent again. */
  readonly #isWritable: boolean;
  #isDamaged: boolean;
  #cannotDelete = false;
  readonly #left = new Set<number>();

  private constructor(path: string, database: DatabaseSync, problem: string | undefined, log: Logger) {
    this.#path = path;
    this.#database = database;
    this.#log = log;
    this.#isWritable = problem === undefined;
    this.#isDamaged = problem !== undefined || hasDamagedRows(database);
    this.records = listRecords(database);
    for (const { sequence } of this.records) this.#left.add(sequence);
  }

  /**
   * Opens a database for this process alone.
   *
   * Returns undefined if nothing can be read of it: it is then set aside, or left alone if it is not a file that the
   * forwarder made. Throws {@link SpoolError} if it cannot be opened now.
   */
  static open(path: string, log: Logger): OldSpool | undefined {
    const foreign = SUFFIXES.map((suffix) => `${path}${suffix}`).find(isForeign);
    if (foreign !== undefined) {
      log.error("a file in the spool's directory cannot be used: it is left alone", {
        file: foreign,
        error: "it is not a file that the forwarder made",
      });
      return undefined;
    }
    try {
      const { database, problem } = openOldDatabase(path);
      if (problem !== undefined) {
        log.error("the spool of an earlier version is damaged: everything in it that can be read is sent", {
          file: path,
          error: problem,
        });
      }
      const spool = new OldSpool(path, database, problem, log);
      log.info("the spool of an earlier version is sent, and then removed", {
        file: path,
        batches: spool.records.length,
      });
      if (spool.records.length > 0) return spool;
      spool.#finish();
      return undefined;
    } catch (error) {
      if (!isDamage(error)) throw openError(path, error);
      log.error("the spool of an earlier version is damaged: nothing in it can be read", {
        file: path,
        error: describeError(error),
      });
      setAside(path, log);
      return undefined;
    }
  }

  read(sequence: number): Uint8Array | undefined {
    let row: Readonly<Record<string, unknown>> | undefined;
    try {
      row = this.#database.prepare(
        "SELECT CAST(spans AS TEXT) AS spans, CAST(checksum AS TEXT) AS checksum, request FROM batch " +
          "WHERE sequence = ?",
      ).get(sequence);
    } catch (error) {
      if (!isDamage(error)) throw openError(this.#path, error);
    }
    const request = row?.["request"];
    const isSound = request instanceof Uint8Array &&
      String(crc32(request, crc32(`${sequence} ${Number(row?.["spans"])}`))) === row?.["checksum"];
    if (isSound) return request;
    this.#isDamaged = true;
    return undefined;
  }

  remove(sequence: number): void {
    if (!this.#left.delete(sequence)) return;
    if (this.#left.size === 0) {
      this.#finish();
      return;
    }
    if (!this.#isWritable || this.#isDamaged) return;
    try {
      this.#database.prepare("DELETE FROM batch WHERE sequence = ?").run(sequence);
    } catch (error) {
      if (!this.#cannotDelete) {
        this.#log.warn("the spool of an earlier version cannot be changed: a restart may send batches again", {
          file: this.#path,
          error: describeError(error),
        });
      }
      this.#cannotDelete = true;
    }
  }

  close(): void {
    if (this.#left.size > 0) closeQuietly(this.#database);
  }

  /** Nothing in it is wanted any more. */
  #finish(): void {
    closeQuietly(this.#database);
    if (this.#isDamaged) {
      setAside(this.#path, this.#log);
      return;
    }
    try {
      // The database last: without it, its log means nothing.
      for (const suffix of SUFFIXES.toReversed()) fs.rmSync(`${this.#path}${suffix}`, { force: true });
    } catch (error) {
      this.#log.warn("the emptied spool of an earlier version cannot be removed", {
        file: this.#path,
        error: describeError(error),
      });
    }
  }
}

/** Whether a file is one that the forwarder did not make. SQLite would follow a link, and wait for a FIFO. */
function isForeign(path: string): boolean {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  return stat !== undefined && (!stat.isFile() || stat.nlink !== 1 || stat.uid !== process.geteuid?.());
}

function hasDamagedRows(database: DatabaseSync): boolean {
  return attempt(() => database.prepare("SELECT 1 FROM damaged LIMIT 1").get()) !== undefined;
}

/** From both ends of the table, since a walk ends at the first page that is damaged. */
function listRecords(database: DatabaseSync): EarlierRecord[] {
  const found = new Map<number, EarlierRecord>();
  for (const order of ["ASC", "DESC"]) {
    attempt(() => {
      // A number that a flipped bit has made absurd becomes a possible one: reading the batch finds it out.
      const rows = database.prepare(`
        SELECT sequence, coalesce(length(request), 0) AS size,
          coalesce(max(1, min(spans, length(request))), 1) AS spans
        FROM batch WHERE ${POSSIBLE} ORDER BY sequence ${order}
      `);
      for (const { sequence, size, spans } of rows.iterate()) {
        if (found.has(Number(sequence))) break;
        found.set(Number(sequence), { sequence: Number(sequence), size: Number(size), spans: Number(spans) });
      }
    });
  }
  return [...found.values()].sort((a, b) => a.sequence - b.sequence);
}

/** What `read` gives, or undefined if the file is damaged there. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return undefined;
  }
}

function openError(path: string, error: unknown): SpoolError {
  const locked = isLocked(error);
  const holder = locked ? lockHolder(fs.statSync(path).ino) : undefined;
  const why = locked
    ? `in use by another forwarder${holder === undefined ? "" : ` (process ${holder})`}`
    : describeError(error);
  return new SpoolError(locked ? "locked" : "failed", `spool ${path}: ${why}`, { cause: error });
}

/** Gives a database another name, under which it is not read again: its log first, which must not stay behind. */
function setAside(path: string, log: Logger): void {
  const time = new Date().toISOString().replaceAll(":", "-");
  let aside = `${path}.${time}.damaged`;
  for (let i = 2; fs.existsSync(aside); i++) aside = `${path}.${time}.${i}.damaged`;
  try {
    for (const suffix of SUFFIXES.toReversed()) {
      if (fs.existsSync(`${path}${suffix}`)) fs.renameSync(`${path}${suffix}`, `${aside}${suffix}`);
    }
    log.error("the spool of an earlier version is set aside; delete it when it is no longer wanted", { file: aside });
  } catch (error) {
    log.error("the damaged spool of an earlier version cannot be set aside", {
      file: basename(path),
      error: describeError(error),
    });
  }
}
