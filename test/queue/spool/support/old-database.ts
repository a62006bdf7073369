import { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";

/** A batch in the spool of an earlier version. */
export interface OldBatch {
  readonly sequence: number;
  readonly spans: number;
  readonly request: Uint8Array;
}

/** Makes a database as earlier versions left it, and gives it back open. */
export function openOldDatabase(path: string, batches: readonly OldBatch[]): DatabaseSync {
  const database = new DatabaseSync(path);
  database.exec(`
    PRAGMA page_size = 16384;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
  `);
  database.exec(`BEGIN IMMEDIATE; 
  CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY,
    spans INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    request BLOB NOT NULL
  );
  CREATE TABLE IF NOT EXISTS damaged (
    sequence INTEGER, spans INTEGER, checksum INTEGER, request BLOB
  );
  PRAGMA user_version = 1;
 COMMIT;`);
  const insert = database.prepare("INSERT INTO batch VALUES (?, ?, ?, ?)");
  for (const { sequence, spans, request } of batches) {
    insert.run(sequence, spans, crc32(request, crc32(`${sequence} ${spans}`)), request);
  }
  return database;
}
