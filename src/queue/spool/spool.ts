import * as fs from "node:fs";
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { describeError, type Logger } from "../../base/log.ts";
import { SPOOL_MIN_BYTES } from "../../pipeline/settings.ts";
import { LEAST_RECORD_BYTES as LEAST_SPOOLED_BYTES } from "./segment.ts";
import {
  checkedRow,
  closeQuietly,
  type OpenDatabase,
  openDatabase,
  PAGE_BYTES,
  POSSIBLE_SEQUENCE,
  READ_ROW,
  readableRows,
  rowChecksum,
  type SpoolRow,
} from "./spool-database.ts";
import { SpoolError, spoolErrorKind } from "./spool-error.ts";
import { asideName, finishMove, moveDatabase, sizeOf } from "./spool-files.ts";

/** The database's name in the spool's directory. */
const FILE = "spool.db";
/** The name of a damaged one while what can be read of it is brought over. */
const DAMAGED_FILE = "spool.db.damaged";

/** The most that is set aside for the write-ahead log, bytes; a small spool sets aside a quarter. */
const LOG_BYTES = 16 * 1024 * 1024;
/**
 * The most that is kept free for what guests had sent before they could be paused, bytes; a small spool keeps an
 * eighth.
 */
const OVERSHOOT_BYTES = 8 * 1024 * 1024;
/** A file larger than this takes a while to check where the disk is slow, so that it is said, bytes. */
const TOLD_BYTES = 64 * 1024 * 1024;
/** An emptied file with more unused bytes than this is made small again. */
const SHRINK_BYTES = 16 * 1024 * 1024;

/** A batch that an earlier process left. */
export interface SpooledBatch {
  readonly sequence: number;
  readonly spans: number;
  /** Bytes of its request. */
  readonly size: number;
}

/**
 * Batches on disk, for one process at a time: an SQLite database in WAL mode (https://www.sqlite.org/wal.html).
 *
 * Its order is that of the batches' sequence numbers, so that no clock has a say in it. All methods are synchronous:
 * when `commit` returns, what it was given survives a power loss.
 */
export class Spool {
  /** What was found at the start, oldest first. */
  readonly backlog: readonly SpooledBatch[];
  /** The smallest sequence number that no batch has had. */
  readonly nextSequence: number;
  /** Pages in use may take this many bytes before the spool counts as full. */
  readonly limitBytes: number;
  /** The most bytes of requests to give to one `commit`, a single request apart. */
  readonly commitBytes: number;
  readonly #database: DatabaseSync;
  readonly #log: Logger;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #read: StatementSync;
  readonly #keepDamaged: StatementSync;
  readonly #pageCount: StatementSync;
  readonly #freeCount: StatementSync;
  #usedBytes = 0;
  #count: number;

  private constructor(database: DatabaseSync, maxBytes: number, log: Logger) {
    this.#database = database;
    this.#log = log;
    const logBytes = Math.min(LOG_BYTES, maxBytes / 4);
    const hardLimit = maxBytes - logBytes;
    this.limitBytes = hardLimit - Math.min(OVERSHOOT_BYTES, maxBytes / 8);
    this.commitBytes = logBytes / 2;
    database.exec(`
      PRAGMA max_page_count = ${Math.floor(hardLimit / PAGE_BYTES)};
      PRAGMA wal_autocheckpoint = ${Math.floor(logBytes / 4 / PAGE_BYTES)};
      PRAGMA journal_size_limit = ${Math.floor(logBytes)};
    `);
    this.#insert = database.prepare("INSERT OR IGNORE INTO batch VALUES (?, ?, ?, ?)");
    this.#delete = database.prepare("DELETE FROM batch WHERE sequence = ?");
    this.#read = database.prepare(READ_ROW);
    this.#keepDamaged = database.prepare(
      "INSERT INTO damaged SELECT * FROM batch WHERE sequence = ?",
    );
    this.#pageCount = database.prepare("PRAGMA page_count");
    this.#freeCount = database.prepare("PRAGMA freelist_count");
    this.backlog = readBacklog(database);
    this.#count = this.backlog.length;
    this.nextSequence = (this.backlog.at(-1)?.sequence ?? 0) + 1;
    this.#measure();
  }

  /**
   * Opens the spool in a directory that `prepareSpoolDirectory` has prepared, as the user that will go on using it. A
   * damaged file is set aside under another name in the same directory, and what can be read of it goes on.
   *
   * @param maxBytes of files on disk, at least {@link SPOOL_MIN_BYTES}.
   * Throws {@link SpoolError}.
   */
  static open(directory: string, maxBytes: number, log: Logger): Spool {
    if (maxBytes < SPOOL_MIN_BYTES) throw new RangeError(`a spool of ${maxBytes} bytes`);
    const path = join(directory, FILE);
    const damagedPath = join(directory, DAMAGED_FILE);
    const size = sizeOf(path);
    finishMove(path, damagedPath);
    if (size !== undefined && size > TOLD_BYTES) {
      log.info("the spool's file is checked from end to end", { file: path, bytes: size });
    }
    let open: OpenDatabase;
    let second: string | undefined;
    try {
      open = openDatabase(path);
    } catch (error) {
      if (!(error instanceof SpoolError) || error.kind !== "damaged") throw error;
      log.error("the spool's file is damaged; saving what can be read", { file: path, error });
      // One that is there already waits to be saved from, and must not be lost for this one.
      if (fs.existsSync(damagedPath)) second = asideName(path);
      moveDatabase(path, second ?? damagedPath);
      open = openDatabase(path);
    }
    const { database, damagedLog, wasEmptied } = open;
    if (wasEmptied) {
      log.error("the spool's file was empty or missing; what its write-ahead log has goes on", {
        file: path,
      });
    } else if (size === 0) {
      log.warn("the spool's file is empty: if it held batches, they are gone", { file: path });
    }
    if (damagedLog !== undefined) {
      log.error(
        "the spool's write-ahead log is damaged: the last batches committed to it are gone",
        {
          file: damagedLog,
        },
      );
    }
    const spool = new Spool(database, maxBytes, log);
    // Also there when an earlier process was killed while it did this: rows that were saved then are saved once.
    if (!fs.existsSync(damagedPath)) return spool;
    const aside = (file: string, savedBatches: number): void =>
      log.error("the spool's damaged file is set aside; delete it when it is no longer wanted", {
        file,
        savedBatches,
      });
    const saved = spool.#save(damagedPath);
    const asidePath = asideName(path);
    moveDatabase(damagedPath, asidePath);
    aside(asidePath, saved);
    if (second !== undefined) aside(second, spool.#save(second));
    // What was saved is backlog now.
    return new Spool(database, maxBytes, log);
  }

  /** How full the spool is, 1 and more being full; `extraBytes`: with so many more, or fewer. */
  fill(extraBytes = 0): number {
    const counted = Math.max(this.#usedBytes, this.#count * LEAST_SPOOLED_BYTES);
    return (counted + extraBytes) / this.limitBytes;
  }

  /** What the batches take on disk, bytes of pages in use. */
  get usedBytes(): number {
    return this.#usedBytes;
  }
  /** How many batches there are. */
  get count(): number {
    return this.#count;
  }

  /**
   * Puts batches in and takes others out, all or nothing. Returns when the former are safe on disk; where there are
   * only batches to take out, the disk is not waited for, since the worst that a power loss does is to bring them back.
   *
   * Throws {@link SpoolError}, of kind `full` where the disk or the spool is.
   */
  commit(inserts: readonly SpoolRow[], deletes: readonly number[]): void {
    const database = this.#database;
    let count = this.#count;
    try {
      database.exec(`PRAGMA synchronous = ${inserts.length > 0 ? "FULL" : "NORMAL"}; BEGIN`);
      for (const sequence of deletes) count -= Number(this.#delete.run(sequence).changes);
      for (const row of inserts) {
        const { sequence, spans, request } = row;
        count += Number(this.#insert.run(sequence, spans, rowChecksum(row), request).changes);
      }
      database.exec("COMMIT");
    } catch (error) {
      // For some errors SQLite has rolled back already.
      if (database.isTransaction) database.exec("ROLLBACK");
      throw new SpoolError(
        spoolErrorKind(error),
        "cannot write to the spool",
        {
          cause: error,
        },
      );
    }
    this.#count = count;
    this.#measure();
  }

  /**
   * A batch's request, or nothing where it is not what was put in; that is then kept in the table `damaged`, and not
   * found again. Throws {@link SpoolError}.
   */
  read(sequence: number): Uint8Array | undefined {
    let row: ReturnType<StatementSync["get"]>;
    try {
      row = this.#read.get(sequence);
    } catch (error) {
      throw new SpoolError(spoolErrorKind(error), "cannot read the spool", { cause: error });
    }
    const request = row && checkedRow(row)?.request;
    if (request === undefined) this.#setAside(sequence);
    return request;
  }

  /** Gives an emptied file's space back to the disk. Throws {@link SpoolError}. */
  shrink(): void {
    if (this.#count > 0 || this.#freePages() * PAGE_BYTES < SHRINK_BYTES) return;
    try {
      this.#database.exec("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    } catch (error) {
      throw new SpoolError(
        spoolErrorKind(error),
        "cannot shrink the spool",
        {
          cause: error,
        },
      );
    }
    this.#measure();
  }

  /** Closes the files, and lets other processes in. */
  close(): void {
    closeQuietly(this.#database);
  }

  /** Moves a damaged row out of the way. */
  #setAside(sequence: number): void {
    const database = this.#database;
    try {
      database.exec("BEGIN");
      this.#keepDamaged.run(sequence);
      const { changes } = this.#delete.run(sequence);
      database.exec("COMMIT");
      this.#count -= Number(changes);
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      // No room, say: it stays where it is, keeps nothing else waiting, and is found damaged again at the next start.
      this.#log.warn("a damaged batch stays in the spool", {
        batch: sequence,
        error: describeError(error),
      });
    }
  }

  #pages(): number {
    return Number(this.#pageCount.get()?.["page_count"]);
  }

  #freePages(): number {
    return Number(this.#freeCount.get()?.["freelist_count"]);
  }

  #measure(): void {
    this.#usedBytes = (this.#pages() - this.#freePages()) * PAGE_BYTES;
  }

  /** Brings over what can be read of a damaged database; returns how many batches that are. */
  #save(damagedPath: string): number {
    let saved = 0;
    let group: SpoolRow[] = [];
    let bytes = 0;
    for (const row of readableRows(damagedPath)) {
      group.push(row);
      bytes += row.request.length;
      saved++;
      if (bytes < this.commitBytes) continue;
      this.commit(group, []);
      group = [];
      bytes = 0;
    }
    this.commit(group, []);
    return saved;
  }
}

/**
 * What is there, oldest first. A number that a flipped bit has made absurd becomes a possible one: reading the batch
 * finds it out.
 */
function readBacklog(database: DatabaseSync): SpooledBatch[] {
  database.exec(`
    BEGIN;
    INSERT INTO damaged SELECT * FROM batch WHERE NOT ${POSSIBLE_SEQUENCE};
    DELETE FROM batch WHERE NOT ${POSSIBLE_SEQUENCE};
    COMMIT;
  `);
  const rows = database.prepare(`
    SELECT sequence, coalesce(length(request), 0) AS size,
      coalesce(max(1, min(spans, length(request))), 1) AS spans
    FROM batch ORDER BY sequence
  `).all();
  return rows.map(({ sequence, spans, size }) => ({
    sequence: Number(sequence),
    spans: Number(spans),
    size: Number(size),
  }));
}
