import { Buffer } from "node:buffer";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from "./schema.ts";
import { StoreError, storeError } from "./store-error.ts";

/**
 * A file may be damaged, or made by somebody else: each page is checked as it is read, and nothing in its schema is run
 * (https://www.sqlite.org/security.html).
 */
const DISTRUST = "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;";

export type SqlValue = string | number | bigint | Uint8Array | null;

/** The SQLite file of a trace store: opening, statements and transactions. */
export class StoreDatabase {
  readonly file: string;
  readonly isReadOnly: boolean;
  readonly #sqlite: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  private constructor(file: string, sqlite: DatabaseSync, isReadOnly: boolean) {
    this.file = file;
    this.#sqlite = sqlite;
    this.isReadOnly = isReadOnly;
  }

  /** Opens a file, or makes a new one. Throws a {@link StoreError}. */
  static open(file: string): StoreDatabase {
    return StoreDatabase.#open(file, false, (sqlite) => {
      // NORMAL: a power loss may cost the last commits, never the file (https://www.sqlite.org/wal.html).
      sqlite.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;");
      sqlite.exec(DISTRUST);
      checkVersion(file, sqlite);
      sqlite.exec(SCHEMA);
    });
  }

  /** Opens a file that another process may be writing to. Nothing of it is changed. Throws a {@link StoreError}. */
  static openForReading(file: string): StoreDatabase {
    return StoreDatabase.#open(file, true, (sqlite) => {
      sqlite.exec(DISTRUST);
      checkVersion(file, sqlite);
    });
  }

  static #open(file: string, readOnly: boolean, prepare: (sqlite: DatabaseSync) => void): StoreDatabase {
    let sqlite: DatabaseSync | undefined;
    try {
      sqlite = new DatabaseSync(file, { readOnly });
      prepare(sqlite);
      return new StoreDatabase(file, sqlite, readOnly);
    } catch (error) {
      sqlite?.close();
      if (error instanceof StoreError) throw error;
      throw storeError(file, error);
    }
  }

  /** Does something that begins to use the database, which is closed if that fails. Throws a {@link StoreError}. */
  orClose<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      this.close();
      throw error instanceof StoreError ? error : storeError(this.file, error);
    }
  }

  /** Of the file, bytes: pages in use, so that what was removed counts as free. */
  get usedBytes(): number {
    const pragma = (name: string): number => Number(Object.values(this.all(`PRAGMA ${name}`)[0] ?? {})[0]);
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  }

  /** The rows of a query. Integers that may not fit into a double have to be selected as text. */
  all(sql: string, ...values: SqlValue[]): Record<string, unknown>[] {
    return this.#statement(sql).all(...values);
  }

  /** Changes rows; returns how many. */
  run(sql: string, ...values: SqlValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  /** Runs a change that may be lost on a full disk; returns whether it was made. Not within {@link change}. */
  tryRun(sql: string, ...values: SqlValue[]): boolean {
    try {
      this.run(sql, ...values);
      return true;
    } catch (error) {
      if (storeError(this.file, error).code !== "full") throw error;
      return false;
    }
  }

  /**
   * Changes something, all of it or nothing. Throws a {@link StoreError}.
   *
   * @param undone is called before that, when the file is as it was before the change.
   */
  change<T>(action: () => T, undone: () => void): T {
    try {
      this.#sqlite.exec("BEGIN");
      const result = action();
      this.#sqlite.exec("COMMIT");
      return result;
    } catch (error) {
      this.#rollBack();
      undone();
      throw storeError(this.file, error);
    }
  }

  #rollBack(): void {
    try {
      this.#sqlite.exec("ROLLBACK");
    } catch (error) {
      // SQLite has rolled back by itself if the disk is full.
      if (!/no transaction is active/.test(String(error))) throw storeError(this.file, error);
    }
  }

  close(): void {
    this.#statements.clear();
    this.#sqlite.close();
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#sqlite.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

/** Binary columns hold IDs and hashes as bytes. */
export function bytesOf(hex: string): Uint8Array {
  return Buffer.from(hex, "hex");
}

function checkVersion(file: string, sqlite: DatabaseSync): void {
  const number = (pragma: string): number => Number(Object.values(sqlite.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
  const hasTables = sqlite.prepare("SELECT count(*) AS n FROM sqlite_master").get() as { n: number };
  if (hasTables.n === 0) return;
  if (number("application_id") !== APPLICATION_ID) {
    throw new StoreError("unusable", `${file} is an SQLite file, but not a trace store: give another --store`);
  }
  const version = number("user_version");
  if (version !== SCHEMA_VERSION) {
    throw new StoreError("unusable", `${file} is a trace store of another version (${version}): give another --store`);
  }
}
