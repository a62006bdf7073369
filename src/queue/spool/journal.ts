import { Buffer } from "node:buffer";
import { getRandomValues } from "node:crypto";
import { freeBytes } from "../../base/free-bytes.ts";
import { describeError, type Logger } from "../../base/log.ts";
import { StateLog } from "../../base/quiet-log.ts";
import { type UnwrittenBytes, writtenOut } from "../../base/unwritten-bytes.ts";
import type { ChunkJournal, JournalEntry } from "../../pipeline/destination.ts";
import type { Source } from "../../pipeline/source.ts";
import { readJournals } from "./journal-recovery.ts";
import {
  encodeJournalHead,
  encodeJournalHeader,
  encodeJournalRecord,
  JOURNAL_HEADER_BYTES,
  journalName,
  journalNumber,
  journalRecordBytes,
} from "./journal-format.ts";
import type { SpoolRecord } from "../spool-store.ts";
import type { SpoolStorage, StoredFile } from "./storage.ts";

/** Bytes of each file. What is written again and again there stays in the page cache. */
const FILE_BYTES = 8 * 1024 * 1024;
/**
 * How many files there are at most: two while a few guests send, up to seven with 100 guests that send as fast as they
 * are read. Together they hold twice what the queue holds by default, because each record has its resource anew.
 */
const MOST_FILES = 16;
/**
 * What is collected before it is written, bytes: a little more than the largest chunk, so that only the record of a
 * larger span is written by itself. What is not used of it takes none.
 */
const STAGING_BYTES = (1024 + 64) * 1024;
/** How long after an error the journal is tried again, milliseconds. */
const RETRY_MS = 1000;

const NO_ACCOUNT = new Uint8Array(0);
const NO_BYTES = new Uint8Array(0);
const UTF8 = new TextEncoder();

/** One of the files, which are written in turns. */
interface Generation {
  readonly file: StoredFile;
  epoch: number;
  position: number;
  /** How many records in it are of chunks that are not safe. */
  outstanding: number;
}

export interface JournalOptions {
  readonly storage: SpoolStorage;
  readonly log: Logger;
  /** For tests. */
  readonly fileBytes?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/**
 * What has been taken in but is not in the spool yet: spans in open chunks, and chunks that wait for the commit before
 * theirs. It is written in the same turn of the event loop and never synced, because what the kernel has survives the
 * process: a killed forwarder loses none of it. For the layout see `journal-format.ts`.
 *
 * When a chunk is committed to the spool, delivered or given up, its records count no more. As soon as none of a file
 * count, the file begins anew. If the disk fails, or is so slow that all files are full, spans are in memory only for
 * as long as that lasts.
 */
export class Journal implements ChunkJournal {
  /** What an earlier process had in its journal. To be made safe, and then {@link forgetRecovered} to be called. */
  readonly recovered: readonly SpoolRecord[];
  readonly #storage: SpoolStorage;
  readonly #fileBytes: number;
  readonly #now: () => number;
  readonly #log: StateLog;
  readonly #process: number = getRandomValues(new Uint32Array(1))[0] as number;
  readonly #staging = Buffer.allocUnsafeSlow(STAGING_BYTES);
  #old: string[];
  #generations: Generation[] = [];
  /** The one that is written to. */
  #active: Generation | undefined;
  #staged = 0;
  #isFlushDue = false;
  #nextChunk = 0;
  #nextNumber: number;
  #retryAt = 0;
  #error: unknown;
  #isClosed = false;

  /** Throws the storage's error if it cannot read what an earlier process has left. */
  constructor({ storage, log, fileBytes = FILE_BYTES, now = () => performance.now() }: JournalOptions) {
    this.#storage = storage;
    this.#fileBytes = fileBytes;
    this.#now = now;
    this.#log = new StateLog({
      begun: () =>
        log.warn("the spool's journal cannot be written: a kill loses what is not committed yet", {
          error: describeError(this.#error),
        }),
      ended: (seconds) => log.info("the spool's journal can be written again", { seconds }),
    });
    this.#old = storage.list().filter((name) => journalNumber(name) !== undefined);
    this.#nextNumber = Math.max(0, ...this.#old.map((name) => journalNumber(name) as number)) + 1;
    this.recovered = readJournals(storage, this.#old, log);
  }

  begin({ account, kind }: Pick<Source, "account" | "kind">): JournalEntry {
    const chunk = this.#nextChunk++;
    const name = UTF8.encode(account);
    const inGeneration = new Map<Generation, number>();
    let isNamed = false;
    let isSafe = false;
    return {
      note: (bytes, spans) => {
        const generation = this.#write({ type: "spans", kind, process: this.#process, chunk, spans }, name, bytes);
        if (generation === undefined) return;
        isNamed = true;
        generation.outstanding++;
        inGeneration.set(generation, (inGeneration.get(generation) ?? 0) + 1);
      },
      safe: () => {
        if (isSafe) return;
        isSafe = true;
        if (!isNamed) return;
        for (const [generation, records] of inGeneration) generation.outstanding -= records;
        // A file none of whose records count begins anew instead.
        if ([...inGeneration.keys()].some(({ outstanding }) => outstanding > 0)) {
          this.#write({ type: "safe", kind, process: this.#process, chunk, spans: 0 }, NO_ACCOUNT, NO_BYTES);
        } else this.#flushSoon();
      },
    };
  }

  flush(): void {
    if (!this.#isFlushDue) return;
    this.#isFlushDue = false;
    if (this.#isClosed) return;
    try {
      for (const generation of this.#generations) this.#settle(generation);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What was recovered is safe now. */
  forgetRecovered(): void {
    for (const name of this.#old.splice(0)) this.#attempt(() => this.#storage.remove(name));
  }

  /** Everything is safe, or given up. */
  close(): void {
    this.#isClosed = true;
    for (const { file } of this.#generations.splice(0)) {
      this.#attempt(() => {
        file.close();
        this.#storage.remove(file.name);
      });
    }
    this.#log.close();
  }

  /** Returns where a record has gone, or undefined if nowhere. */
  #write(
    record: Parameters<typeof encodeJournalRecord>[2],
    account: Uint8Array,
    payload: Uint8Array | UnwrittenBytes,
  ): Generation | undefined {
    if (this.#isClosed || this.#now() < this.#retryAt) return undefined;
    const size = journalRecordBytes(account, payload);
    try {
      const generation = this.#generationFor(size);
      if (generation === undefined) return undefined;
      if (this.#staged + size > STAGING_BYTES) this.#flush(generation);
      if (size <= STAGING_BYTES) {
        this.#staged = encodeJournalRecord(this.#staging, this.#staged, record, generation.epoch, account, payload);
        this.#flushSoon();
      } else {
        // In two writes, because to copy it would take longer: until both are done, nothing behind it is written.
        const bytes = writtenOut(payload);
        const head = encodeJournalHead(record, generation.epoch, account, bytes);
        generation.file.write(head, generation.position);
        generation.file.write(bytes, generation.position + head.length);
        generation.position += size;
        if (bytes !== payload) freeBytes(bytes);
      }
      this.#log.set(false);
      return generation;
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /** A file with room for a record of so many bytes. Throws the storage's error. */
  #generationFor(size: number): Generation | undefined {
    const current = this.#active ??= this.#create();
    if (current.position + this.#staged + size <= this.#fileBytes) return current;
    this.#flush(current);
    if (current.outstanding === 0) return this.#restart(current, size);
    const empty = this.#generations.find(({ outstanding }) => outstanding === 0);
    if (empty === undefined && this.#generations.length === MOST_FILES) return undefined;
    this.#active = empty ?? this.#create();
    return this.#restart(this.#active, size);
  }

  #restart(generation: Generation, size: number): Generation | undefined {
    generation.epoch = (generation.epoch + 1) >>> 0;
    generation.file.write(encodeJournalHeader(generation.epoch), 0);
    generation.position = JOURNAL_HEADER_BYTES;
    return JOURNAL_HEADER_BYTES + size <= this.#fileBytes ? generation : undefined;
  }

  #create(): Generation {
    const file = this.#storage.create(journalName(this.#nextNumber++));
    const epoch = getRandomValues(new Uint32Array(1))[0] as number;
    file.write(encodeJournalHeader(epoch), 0);
    const generation = { file, epoch, position: JOURNAL_HEADER_BYTES, outstanding: 0 };
    this.#generations.push(generation);
    return generation;
  }

  /** At the end of the callback that the bytes came in: nothing else is read before they are written. */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => this.flush());
  }

  /** Writes what is staged, or begins the file anew if none of its records count. */
  #settle(generation: Generation): void {
    const isActive = generation === this.#active;
    if (generation.outstanding > 0) {
      if (isActive) this.#flush(generation);
      return;
    }
    if (isActive) this.#staged = 0;
    if (generation.position > JOURNAL_HEADER_BYTES) this.#restart(generation, 0);
  }

  #flush(generation: Generation): void {
    if (this.#staged === 0) return;
    const staged = this.#staged;
    this.#staged = 0;
    generation.file.write(this.#staging.subarray(0, staged), generation.position);
    generation.position += staged;
  }

  #fail(error: unknown): void {
    this.#error = error;
    this.#staged = 0;
    this.#retryAt = this.#now() + RETRY_MS;
    this.#log.set(true);
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#fail(error);
    }
  }
}
