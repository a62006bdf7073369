import type { ChunkJournal } from "../pipeline/destination.ts";
import type { SourceKind } from "../pipeline/source.ts";

/** A chunk to be put into the spool. */
export interface SpoolRecord {
  readonly account: string;
  readonly kind: SourceKind;
  readonly spans: number;
  /** Must not change until it is committed or removed. */
  readonly bytes: Uint8Array;
}

/** A chunk that an earlier process left in the spool. */
export interface RecoveredRecord {
  readonly id: number;
  readonly account: string;
  readonly kind: SourceKind;
  /** How many of its spans are still wanted: the last ones. */
  readonly spans: number;
  /** How many spans come before those. */
  readonly removedSpans: number;
  /** How many bytes it has. */
  readonly size: number;
}

/** What the queue needs of a spool. Errors are `SpoolError`s. */
export interface SpoolStore {
  /** When records take more than this, the spool counts as full; something more is taken in all the same. Bytes. */
  readonly limitBytes: number;
  /** What the records count for, bytes. */
  readonly usedBytes: number;
  /** How many records there are. */
  readonly count: number;
  /** Gets what is not in a chunk, or not committed, yet. */
  readonly journal?: ChunkJournal | undefined;
  /** What was found at the start, oldest first. To be gone through once. */
  recovered(): Iterable<RecoveredRecord>;
  /** Adds a record, which the next `commit` writes. Returns its number. Throws, of kind `full`, if there is no room. */
  append(record: SpoolRecord): number;
  /**
   * Resolves when all that has been appended, and not removed, is safe on disk. Rejects where it cannot be written; it
   * is still appended then, and the next commit tries it again.
   */
  commit(): Promise<void>;
  /** A record's bytes; undefined if it is damaged, and removed for that. Throws if it cannot be read now. */
  read(id: number): Uint8Array | undefined;
  /** Removes records, committed or not. */
  remove(ids: Iterable<number>): void;
  /** Removes so many spans of a recovered record, counted from its first one; the record stays until it is removed. */
  removeSpans(id: number, spans: number): void;
  /** Closes it. What has not been committed is gone. */
  close(): Promise<void>;
}
