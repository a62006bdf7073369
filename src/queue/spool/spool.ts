import { describeError, type Logger } from "../../base/log.ts";
import { StateLog } from "../../base/quiet-log.ts";
import { SPOOL_MIN_BYTES } from "../../pipeline/settings.ts";
import { Journal } from "./journal.ts";
import { SegmentWriter } from "./segment-writer.ts";
import type { RecoveredRecord, SpoolRecord, SpoolStore } from "../spool-store.ts";
import { EarlierRecords, type EarlierSpool } from "./earlier-spool.ts";
import { MAX_ACCOUNT_BYTES, recordBytes } from "./segment-format.ts";
import { SegmentIndex } from "./segment-index.ts";
import { SegmentPool } from "./segment-pool.ts";
import { type Entry, entryBytes } from "./record-writer.ts";
import { countedBytes } from "./record-size.ts";
import type { Segment } from "./segment.ts";
import { SpoolError, storageError } from "./spool-error.ts";
import { recoverSegments, type Recovery } from "./spool-recovery.ts";
import type { SpoolStorage } from "./storage.ts";

/**
 * The part of the spool's size that records may not take, so that segments can be emptied and used again: one in so
 * many.
 */
const RESERVED_SHARE = 1 / 16;
/** What is kept free for spans that were on their way when the sources were paused. */
const LIMIT_SHARE = 7 / 8;
/** How often a record is tried that the disk does not give back, before it counts as damaged. */
const MAX_READ_TRIES = 10;

export interface SpoolOptions {
  readonly storage: SpoolStorage;
  /** Of all files together, bytes; at least {@link SPOOL_MIN_BYTES}. */
  readonly maxBytes: number;
  readonly log: Logger;
  /** Opens the spool of an earlier version that is in the same directory; what is in it is sent first. */
  readonly earlier?: (() => EarlierSpool | undefined) | undefined;
}

const UTF8 = new TextEncoder();

/**
 * Records on disk, for one process at a time, in segments (see `segment-format.ts`).
 *
 * Records are numbered in the order in which they come, so that no clock has a say in it. What `commit` has resolved
 * for survives a power loss; that a record has been removed survives the end of the process, but may be forgotten in a
 * power loss, after which the record is there once more.
 */
export class Spool implements SpoolStore {
  /** When records take more than this, the spool counts as full, bytes; what still comes then is taken in too. */
  readonly limitBytes: number;
  readonly #hardLimit: number;
  readonly #storage: SpoolStorage;
  readonly #pool: SegmentPool;
  readonly #index = new SegmentIndex();
  readonly #writer: SegmentWriter;
  readonly #recovery: Recovery;
  readonly #earlier: EarlierRecords;
  /** Appended and not committed. */
  readonly #pending = new Map<number, Entry>();
  #pendingBytes = 0;
  #usedBytes = 0;
  #nextId: number;
  /** The commit that is under way, and those before it. */
  #committing: Promise<void> = Promise.resolve();
  /** The commit that has not begun yet. */
  #nextCommit: Promise<void> | undefined;
  readonly #readFailures = new Map<number, number>();
  readonly journal: Journal;
  /** What the journal had is appended, so that the next commit makes it safe. */
  #isJournalAppended = false;
  readonly #log: Logger;
  readonly #removalLog: StateLog;
  #removalError: unknown;
  /** Segments whose removals could not be written. */
  readonly #unwritten = new Set<Segment>();

  private constructor({ storage, maxBytes, log }: SpoolOptions, earlier: EarlierSpool | undefined) {
    this.#earlier = new EarlierRecords(earlier);
    this.#hardLimit = Math.floor(maxBytes * (1 - RESERVED_SHARE));
    this.limitBytes = Math.floor(this.#hardLimit * LIMIT_SHARE);
    this.#storage = storage;
    this.#log = log;
    this.journal = new Journal({ storage, log });
    this.#removalLog = new StateLog({
      begun: () =>
        log.error("the spool cannot note deliveries: spans may be sent again after a restart", {
          error: describeError(this.#removalError),
        }),
      ended: (seconds) => log.info("the spool can note deliveries again", { seconds }),
    });
    this.#pool = new SegmentPool({ storage, maxBytes, log });
    this.#recovery = recoverSegments(storage, this.#index, this.#pool, log);
    this.#nextId = this.#recovery.nextId;
    this.#writer = new SegmentWriter({
      pool: this.#pool,
      index: this.#index,
      closed: this.#recovery.closed,
      written: (segment) => this.#written(segment),
    });
    for (const segment of [...this.#index.segments()]) {
      this.#usedBytes += segment.liveBytes;
      this.#written(segment);
    }
  }

  /**
   * Opens the spool in a storage that is for this process alone. A damaged segment is set aside under another name when
   * what can be read of it has been removed.
   *
   * Throws {@link SpoolError}.
   */
  static open(options: SpoolOptions): Spool {
    if (options.maxBytes < SPOOL_MIN_BYTES) throw new RangeError(`a spool of ${options.maxBytes} bytes`);
    let earlier: EarlierSpool | undefined;
    try {
      earlier = options.earlier?.();
      return new Spool(options, earlier);
    } catch (error) {
      earlier?.close();
      options.storage.close();
      throw storageError(error, `cannot read the spool ${options.storage.path}`);
    }
  }

  /** What was found at the start and has not been removed, oldest first. To be gone through once. */
  *recovered(): Generator<RecoveredRecord> {
    yield* this.#earlier.recovered();
    yield* this.#recovery.records();
    yield* this.#appendJournal();
  }

  /** What a killed process had in its journal is put into the spool, and stays in the journal until it is there. */
  *#appendJournal(): Generator<RecoveredRecord> {
    for (const record of this.journal.recovered) {
      let id: number;
      try {
        id = this.append(record);
      } catch (error) {
        if (!(error instanceof SpoolError)) throw error;
        this.#log.error("the spool has no room for what a killed forwarder had taken in: it stays in the journal", {
          error,
        });
        return;
      }
      const { account, kind, spans, bytes } = record;
      yield { id, account, kind, spans, removedSpans: 0, size: bytes.length };
    }
    this.#isJournalAppended = true;
    // If it fails, the next commit tries it again.
    this.commit().catch(() => {});
  }

  /** What the committed records count for, bytes. */
  get usedBytes(): number {
    return this.#usedBytes + this.#earlier.usedBytes;
  }
  /** How many records are committed. */
  get count(): number {
    return this.#index.count + this.#earlier.count;
  }
  /** How full the spool is with what has been appended, 1 and more being full. */
  get fill(): number {
    return (this.usedBytes + this.#pendingBytes) / this.limitBytes;
  }

  /**
   * Adds a record, which the next `commit` writes. Returns its ID.
   *
   * Throws {@link SpoolError} of kind `full` if there is no room for it.
   */
  append({ account, kind, spans, bytes }: SpoolRecord): number {
    const encoded = UTF8.encode(account);
    if (encoded.length > MAX_ACCOUNT_BYTES) {
      throw new SpoolError("failed", `the name of an account has ${encoded.length} bytes`);
    }
    const size = countedBytes(recordBytes(encoded.length, bytes.length));
    if (this.usedBytes + this.#pendingBytes + size > this.#hardLimit) {
      throw new SpoolError("full", "the spool is full");
    }
    const id = this.#nextId++;
    this.#pending.set(id, { id, kind, spans, account: encoded, bytes });
    this.#pendingBytes += size;
    return id;
  }

  /**
   * Writes everything that has been appended and not removed. Resolves when it is safe on disk. The disk is waited for
   * on another thread, and one commit at a time is under way: what is appended meanwhile goes into the next one.
   *
   * Rejects with {@link SpoolError}, of kind `full` if the disk or the spool is. What could not be committed is still
   * appended then, and the next `commit` tries it again.
   */
  commit(): Promise<void> {
    if (this.#nextCommit !== undefined) return this.#nextCommit;
    const commit = this.#committing.then(() => {
      this.#nextCommit = undefined;
      return this.#commitPending();
    });
    this.#nextCommit = commit;
    // Who called is told; the next commit begins all the same.
    this.#committing = commit.catch(() => {});
    return commit;
  }

  /**
   * A record's bytes, or undefined if they are not what was appended; the record is removed then.
   *
   * Throws {@link SpoolError} if the disk does not give it back now. It may do so later.
   */
  read(id: number): Uint8Array | undefined {
    if (id < 0) return this.#earlier.read(id);
    const pending = this.#pending.get(id);
    if (pending !== undefined) return pending.bytes;
    const location = this.#index.locate(id);
    if (location === undefined) return undefined;
    const { segment, slot } = location;
    try {
      const { bytes } = segment.read(slot);
      this.#readFailures.delete(id);
      return bytes;
    } catch (error) {
      const tries = (this.#readFailures.get(id) ?? 0) + 1;
      const isDamaged = error instanceof SpoolError && error.kind === "damaged";
      if (!isDamaged && tries < MAX_READ_TRIES) {
        this.#readFailures.set(id, tries);
        throw storageError(error, "cannot read the spool");
      }
    }
    this.#remove(id, "damaged");
    this.#written(segment);
    return undefined;
  }

  /**
   * Removes records: they have been delivered or given up. Of those that are not committed yet, nothing is written.
   * Never fails: if the disk does not take it, it is tried again later, and logged.
   */
  remove(ids: Iterable<number>): void {
    const segments = new Set<Segment>();
    for (const id of ids) {
      if (id < 0) this.#earlier.remove(id);
      const pending = this.#pending.get(id);
      if (pending !== undefined) this.#forget(pending);
      const segment = this.#remove(id, "delivered");
      if (segment !== undefined) segments.add(segment);
    }
    for (const segment of segments) this.#written(segment);
  }

  /**
   * Removes so many spans of a record that was recovered, counted from its first one: a restart does not find them
   * again. The record stays until it is removed. Does nothing for records of an earlier version.
   */
  removeSpans(id: number, spans: number): void {
    const location = this.#index.locate(id);
    if (location === undefined) return;
    location.segment.removeSpans(location.slot, spans);
    this.#written(location.segment);
  }

  /** Closes the files, and lets other processes in. What has not been committed is gone. */
  async close(): Promise<void> {
    await this.#committing;
    await this.#writer.close();
    await this.#pool.settled();
    this.#removalLog.close();
    this.journal.close();
    this.#earlier.close();
    this.#storage.close();
  }

  async #commitPending(): Promise<void> {
    // Removed entries stay in the list that the writer has: it asks before it writes them, and once more afterwards.
    await this.#writer.write([...this.#pending.values()], {
      isWanted: ({ id }) => this.#pending.has(id),
      committed: (entry) => {
        this.#forget(entry);
        this.#usedBytes += countedBytes(entryBytes(entry));
      },
    });
    if (this.#isJournalAppended) this.journal.forgetRecovered();
  }

  #forget(entry: Entry): void {
    this.#pending.delete(entry.id);
    this.#pendingBytes -= countedBytes(entryBytes(entry));
  }

  #remove(id: number, removal: "delivered" | "damaged"): Segment | undefined {
    const location = this.#index.locate(id);
    if (location === undefined) return undefined;
    const { segment, slot } = location;
    this.#usedBytes -= segment.countedBytes(slot);
    segment.remove(slot, removal);
    this.#index.remove(id);
    this.#readFailures.delete(id);
    return segment;
  }

  /** Something in a segment has changed: writes what was removed, and retires the segment if nothing is left in it. */
  #written(segment: Segment): void {
    for (const each of new Set([segment, ...this.#unwritten])) this.#flushRemovals(each);
    this.#removalLog.set(this.#unwritten.size > 0);
    if (segment.isOpen || segment.live > 0) return;
    this.#unwritten.delete(segment);
    // While a segment is being emptied into another one, the last of its records may be removed, which retires it
    // before the emptying does. A file that was retired twice would become two segments.
    if (this.#index.delete(segment)) this.#pool.retire(segment);
  }

  #flushRemovals(segment: Segment): void {
    try {
      segment.flushRemovals();
      this.#unwritten.delete(segment);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#removalError = error;
      this.#unwritten.add(segment);
    }
  }
}
