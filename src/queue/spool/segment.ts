import { getRandomValues } from "node:crypto";
import { crc32 } from "node:zlib";
import { type Entry, entryBytes, writeRecords } from "./record-writer.ts";
import { countedBytes } from "./record-size.ts";
import { Removals } from "./removals.ts";
import {
  dataStart,
  decodeRecordHeader,
  encodeSegmentHeader,
  END_RECORD_BYTES,
  MARKER_BYTES,
  RECORD_HEADER_BYTES,
  recordBytes,
  type SegmentHeader,
  type SegmentState,
} from "./segment-format.ts";
import { SpoolError } from "./spool-error.ts";
import type { StoredFile } from "./storage.ts";

/** Where the records of a segment that was found on disk are. */
export interface FoundRecord {
  readonly slot: number;
  readonly offset: number;
  readonly accountBytes: number;
  readonly payloadBytes: number;
  readonly spans: number;
}

/**
 * One file of the spool and what is known of the records in it. For the layout see `segment-format.ts`.
 *
 * `write`, `sync`, `confirm` is a commit: only what has been confirmed is there. If one of the first two fails,
 * `rollBack` makes it as if nothing had been written, as far as a failing disk lets it.
 */
export class Segment {
  readonly file: StoredFile;
  readonly marker: Uint8Array;
  readonly sequence: number;
  readonly slots: number;
  /** Something in it is not what was written. It is then set aside when nothing in it is wanted any more. */
  damaged = false;
  /** A sync has failed: what was written since the one before may never reach the disk, even if the next one succeeds. */
  isSuspect = false;
  #state: SegmentState;
  #capacity: number;
  /** Where the end record is. */
  #end: number;
  #nextSlot = 0;
  #live = 0;
  #liveBytes = 0;
  /** Of what has been written and not confirmed: where it ends, and its first slot behind it. */
  #writtenEnd: number;
  #writtenSlot = 0;
  #isSyncing = false;
  /** Of each record, where it begins, and how long account and payload are; the latter is 0 if it is not there. */
  readonly #offsets: Uint32Array;
  readonly #accountBytes: Uint16Array;
  readonly #payloadBytes: Uint32Array;
  readonly #isLive: Uint8Array;
  readonly #removals: Removals;
  /** Of records that are wanted in part, how many spans are not. */
  readonly #parts = new Map<number, number>();
  #hasHeader: boolean;

  private constructor(file: StoredFile, header: SegmentHeader, words: Uint32Array<ArrayBuffer>) {
    this.#removals = new Removals(header.marker, words);
    this.file = file;
    this.marker = header.marker;
    this.sequence = header.sequence;
    this.slots = header.slots;
    this.#state = header.state;
    this.#capacity = header.capacity;
    this.#end = dataStart(header.slots);
    this.#writtenEnd = this.#end;
    this.#offsets = new Uint32Array(header.slots);
    this.#accountBytes = new Uint16Array(header.slots);
    this.#payloadBytes = new Uint32Array(header.slots);
    this.#isLive = new Uint8Array(header.slots);
    this.#hasHeader = true;
  }

  /** Begins to use a file that holds nothing; its header is written together with the first records. */
  static begin(file: StoredFile, sequence: number, slots: number, capacity: number): Segment {
    const marker = getRandomValues(new Uint8Array(MARKER_BYTES));
    const segment = new Segment(
      file,
      { state: "open", slots, sequence, marker, capacity, end: 0 },
      new Uint32Array(slots),
    );
    segment.#hasHeader = false;
    return segment;
  }

  /**
   * Takes over what was found in a file, which no more records are added to.
   *
   * @param words the file's slots. @param end where the records end.
   */
  static found(
    file: StoredFile,
    header: SegmentHeader,
    words: Uint32Array<ArrayBuffer>,
    records: readonly FoundRecord[],
    end: number,
  ): Segment {
    const segment = new Segment(file, header, words);
    segment.#state = "sealed";
    segment.#end = end;
    for (const { slot, offset, accountBytes, payloadBytes, spans } of records) {
      segment.#place(slot, offset, accountBytes, payloadBytes);
      segment.#nextSlot = slot + 1;
      const removal = segment.#removals.of(slot, spans);
      if (removal === "damaged") segment.damaged = true;
      else if (removal !== "delivered") segment.#revive(slot);
      if (typeof removal === "number") segment.#parts.set(slot, removal);
    }
    return segment;
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }
  /** Whether nothing has been committed to it. */
  get isUnused(): boolean {
    return this.#nextSlot === 0;
  }
  /** How many records there are that have not been removed. */
  get live(): number {
    return this.#live;
  }
  /** What these count for, bytes. */
  get liveBytes(): number {
    return this.#liveBytes;
  }
  /** Bytes that the file may have. */
  get capacity(): number {
    return this.#capacity;
  }
  /** Bytes that records can still take, the end record not counted. */
  get room(): number {
    return this.#nextSlot === this.slots ? 0 : this.#capacity - this.#end - END_RECORD_BYTES;
  }

  /** The slots of the records that have not been removed, oldest first. */
  *liveSlots(): Generator<number> {
    for (let slot = 0; slot < this.#nextSlot; slot++) if (this.#isLive[slot] === 1) yield slot;
  }

  isLive(slot: number): boolean {
    return this.#isLive[slot] === 1;
  }

  /** What a record counts for, bytes. */
  countedBytes(slot: number): number {
    return countedBytes(recordBytes(this.#accountBytes[slot] as number, this.#payloadBytes[slot] as number));
  }

  /**
   * How many of the entries, from `from` on, there is room for, at most `maxBytes` of them unless the first alone is
   * larger.
   */
  fitting(entries: readonly Entry[], from: number, maxBytes: number): number {
    let bytes = 0;
    let count = 0;
    const slots = this.slots - this.#nextSlot;
    const room = this.room;
    for (let i = from; i < entries.length && count < slots; i++) {
      const size = entryBytes(entries[i] as Entry);
      if (bytes + size > room || (count > 0 && bytes + size > maxBytes)) break;
      bytes += size;
      count++;
    }
    return count;
  }

  /** Writes records behind those that are there. Throws the storage's error. */
  write(entries: readonly Entry[]): void {
    const { file, marker } = this;
    if (!this.#hasHeader) {
      // The slots too: a new file has none, and those of a used one may not have been durable when it was cleared.
      const head = new Uint8Array(dataStart(this.slots));
      head.set(encodeSegmentHeader(this.#header()));
      file.write(head, 0);
    }
    const written = writeRecords(file, marker, { position: this.#end, slot: this.#nextSlot }, entries);
    for (const [i, offset] of written.offsets.entries()) {
      const { account, bytes } = entries[i] as Entry;
      this.#place(this.#nextSlot + i, offset, account.length, bytes.length);
    }
    this.#writtenEnd = written.end;
    this.#writtenSlot = this.#nextSlot + entries.length;
  }

  /** Makes what was written durable, removals included. Rejects with the storage's error. */
  async sync(): Promise<void> {
    this.#isSyncing = true;
    try {
      await this.file.sync();
    } catch (error) {
      this.isSuspect = true;
      throw error;
    } finally {
      this.#isSyncing = false;
    }
    this.#hasHeader = true;
  }

  /** What was written is there now. Returns the slot of the first record of it. */
  confirm(): number {
    const first = this.#nextSlot;
    for (let slot = first; slot < this.#writtenSlot; slot++) this.#revive(slot);
    this.#nextSlot = this.#writtenSlot;
    this.#end = this.#writtenEnd;
    return first;
  }

  /**
   * A commit has failed: no one knows how much of it is on disk. If the disk lets it, the records that are there end
   * before it again, and those of the commit count as removed.
   */
  rollBack(): void {
    if (!this.#hasHeader) return;
    this.#writtenEnd = this.#end;
    try {
      writeRecords(this.file, this.marker, { position: this.#end, slot: this.#nextSlot }, []);
    } catch (error) {
      // What was written of the commit is then found at the next start, and sent once more.
      if (!(error instanceof Error)) throw error;
    }
  }

  /**
   * A record's bytes. Throws the storage's error; {@link SpoolError} of kind `damaged` if they are not what was
   * written.
   */
  read(slot: number): Entry {
    const head = new Uint8Array(RECORD_HEADER_BYTES + (this.#accountBytes[slot] as number));
    const bytes = new Uint8Array(this.#payloadBytes[slot] as number);
    const read = this.file.read([head, bytes], this.#offsets[slot] as number);
    const header = decodeRecordHeader(head, 0, this.marker);
    const isSound = read === head.length + bytes.length && header?.type === "record" && header.slot === slot &&
      header.payloadBytes === bytes.length && header.payloadCrc === crc32(bytes);
    if (!isSound) throw new SpoolError("damaged", `a record in ${this.file.name} is damaged`);
    const { id, kind, spans } = header;
    return { id, kind, spans, account: head.subarray(RECORD_HEADER_BYTES), bytes };
  }

  /** How many spans of a record are not wanted any more, from the first on. */
  removedSpans(slot: number): number {
    return this.#parts.get(slot) ?? 0;
  }

  /** Removes so many spans of a record, counted from its first one. They are on disk after the next `flushRemovals`. */
  removeSpans(slot: number, spans: number): void {
    if (this.#isLive[slot] !== 1 || spans === 0) return;
    this.#parts.set(slot, spans);
    this.#removals.note(slot, spans);
  }

  /** Removes a record. It is on disk after the next `flushRemovals`. */
  remove(slot: number, removal: "delivered" | "damaged"): void {
    if (this.#isLive[slot] !== 1) return;
    this.#parts.delete(slot);
    this.#isLive[slot] = 0;
    this.#live--;
    this.#liveBytes -= this.countedBytes(slot);
    if (removal === "damaged") this.damaged = true;
    this.#removals.note(slot, removal);
  }

  /**
   * Writes what has been removed, unless a sync is under way, which would hold the writing up. What is written survives
   * the process, but not the machine before the next `sync`. Returns whether nothing is left to write; throws the
   * storage's error.
   */
  flushRemovals(): boolean {
    if (this.#removals.isWritten) return true;
    if (this.#isSyncing) return false;
    this.#removals.write(this.file);
    return true;
  }

  /** Adds no more records. Throws the storage's error, after which it is sealed all the same. */
  seal(): void {
    this.#state = "sealed";
    this.#capacity = Math.max(this.file.size, this.#end);
    if (this.#hasHeader) this.file.write(encodeSegmentHeader(this.#header()), 0);
  }

  #header(): SegmentHeader {
    const { marker, sequence, slots } = this;
    const end = this.#state === "sealed" ? this.#end : 0;
    return { state: this.#state, slots, sequence, marker, capacity: this.#capacity, end };
  }

  #place(slot: number, offset: number, accountBytes: number, payloadBytes: number): void {
    this.#offsets[slot] = offset;
    this.#accountBytes[slot] = accountBytes;
    this.#payloadBytes[slot] = payloadBytes;
  }

  #revive(slot: number): void {
    this.#isLive[slot] = 1;
    this.#live++;
    this.#liveBytes += this.countedBytes(slot);
  }
}
