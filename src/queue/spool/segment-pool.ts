import type { Logger } from "../../base/log.ts";
import { dataStart, encodeSegmentHeader, END_RECORD_BYTES, MARKER_BYTES, MAX_SLOTS } from "./segment-format.ts";
import { LEAST_RECORD_BYTES } from "./record-size.ts";
import { Segment } from "./segment.ts";
import { storageError } from "./spool-error.ts";
import type { SpoolStorage, StoredFile } from "./storage.ts";

/** The size of a segment, bytes, unless the spool or what the disk has left is small. */
const SEGMENT_BYTES = 16 * 1024 * 1024;
const MIN_SEGMENT_BYTES = 1024 * 1024;
/** A file that is smaller than this is not used again, bytes: a segment is often a little smaller than it may be. */
const MIN_REUSED_BYTES = MIN_SEGMENT_BYTES / 2;
/** Into how many segments a small spool or disk is divided at least. */
const MIN_SEGMENTS = 16;
/** Files that wait to be used again; further ones are removed, so that the disk gets its space back. */
const MAX_FREE = 2;
const NAME = /^(\d+)\.segment$/;
/** Names of segments in all their states, which are not used again. */
const ANY_NAME = /^(\d+)\.segment\b/;
/** The end of the name of a file that is being made. It has no records yet that anybody relies on. */
const NEW_SUFFIX = ".new";

/** Whether a name in the spool's directory is that of a segment. */
export function isSegmentName(name: string): boolean {
  return NAME.test(name);
}

/** Whether a name is that of a segment which was being made when the process stopped. */
export function isUnfinishedName(name: string): boolean {
  return name.endsWith(NEW_SUFFIX) && NAME.test(name.slice(0, -NEW_SUFFIX.length));
}

/** A file that can become a segment. */
interface FreeFile {
  readonly file: StoredFile;
  readonly slots: number;
  readonly capacity: number;
}

/** What the pool needs of the spool around it. */
export interface SegmentPoolOptions {
  readonly storage: SpoolStorage;
  /** Of all files together, bytes. */
  readonly maxBytes: number;
  readonly log: Logger;
}

/**
 * The files that segments are made of. A segment that has been emptied is used again: its blocks on the disk are
 * there already, so that a commit need not wait for the file system's metadata, and a disk without a free byte still
 * takes new records.
 */
export class SegmentPool {
  readonly #storage: SpoolStorage;
  readonly #maxBytes: number;
  readonly #log: Logger;
  readonly #free: FreeFile[] = [];
  /** New files whose names may not survive a power loss yet. */
  readonly #unpublished = new Set<StoredFile>();
  /** What is being done to files meanwhile; it has no errors. */
  readonly #underWay = new Set<Promise<void>>();
  /** Of all files, those of segments included. */
  #diskBytes = 0;
  #nextNumber = 1;
  #nextSequence = 1;
  /** How many files are being made fit to be used again. */
  #clearing = 0;

  constructor({ storage, maxBytes, log }: SegmentPoolOptions) {
    this.#storage = storage;
    this.#maxBytes = maxBytes;
    this.#log = log;
    for (const name of storage.list()) {
      this.#nextNumber = Math.max(this.#nextNumber, Number(ANY_NAME.exec(name)?.[1] ?? 0) + 1);
    }
  }

  /** A file that was found holds a segment: a new one gets a higher sequence. */
  found(segment: Segment): void {
    this.#diskBytes += segment.capacity;
    this.#nextSequence = Math.max(this.#nextSequence, segment.sequence + 1);
  }

  /** A file that was found holds nothing that is wanted. */
  foundFree(file: StoredFile, slots: number): void {
    this.#diskBytes += file.size;
    this.#useAgain(file, slots, file.size);
  }

  /** How many segments can be had that a record of this size fits into. */
  available(size: number): number {
    const capacity = this.#newCapacity(size);
    const bytesLeft = this.#storage.freeBytes();
    const free = this.#free.filter((each) => fits(each, size)).length;
    const withinLimit = Math.floor((this.#maxBytes - this.#diskBytes) / capacity);
    // The last one need not become as large as it may.
    const isOneLeft = bytesLeft >= dataStart(slotsFor(capacity)) + size + END_RECORD_BYTES;
    const onDisk = Math.max(Math.floor(bytesLeft / capacity), isOneLeft ? 1 : 0);
    return free + Math.max(0, Math.min(withinLimit, onDisk));
  }

  /**
   * A new segment that a record of this size fits into; undefined if there is no room for one. Throws
   * {@link SpoolError}.
   */
  take(size: number): Segment | undefined {
    const index = this.#free.findIndex((each) => fits(each, size));
    const [free = this.#create(size)] = index < 0 ? [] : this.#free.splice(index, 1);
    return free && Segment.begin(free.file, this.#nextSequence++, free.slots, free.capacity);
  }

  /**
   * Makes a new segment's file findable after a restart, once its first records are durable. Rejects with the storage's
   * error.
   */
  async publish({ file }: Segment): Promise<void> {
    if (!this.#unpublished.has(file)) return;
    if (file.name.endsWith(NEW_SUFFIX)) file.rename(file.name.slice(0, -NEW_SUFFIX.length));
    await this.#storage.sync();
    this.#unpublished.delete(file);
  }

  /** A new segment's first records could not be written. */
  discard({ file, capacity }: Segment): void {
    this.#remove(file, capacity);
  }

  /** A segment has been sealed, and takes no more than it has. */
  sealed(segment: Segment, capacityBefore: number): void {
    this.#diskBytes += segment.capacity - capacityBefore;
  }

  /** Nothing in a sealed segment is wanted any more. */
  retire(segment: Segment): void {
    const { file, slots, capacity, damaged } = segment;
    if (damaged) this.setAside(file, capacity);
    else this.#useAgain(file, slots, capacity);
  }

  /** Gives a damaged file another name, under which it is not read again. @param counted what it was counted with. */
  setAside(file: StoredFile, counted = 0): void {
    this.#diskBytes -= counted;
    const name = `${file.name}.${new Date().toISOString().replaceAll(":", "-")}`;
    try {
      let aside = `${name}.damaged`;
      for (let i = 2; this.#storage.exists(aside); i++) aside = `${name}.${i}.damaged`;
      file.rename(aside);
      file.close();
      this.#log.error("a damaged segment of the spool is set aside; delete it when it is no longer wanted", {
        file: `${this.#storage.path}/${aside}`,
      });
      this.#run(() => this.#storage.sync(), "the new name of a damaged segment may not survive a power loss");
    } catch (error) {
      // It is found again at the next start, with all its records removed.
      this.#log.error("a damaged segment of the spool cannot be set aside", {
        file: `${this.#storage.path}/${file.name}`,
        error: storageError(error, "cannot rename it"),
      });
    }
  }

  /** Resolves when nothing is being done to files. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Bytes that the segment may have which `take` would give. */
  nextCapacity(size: number): number {
    return this.#free.find((each) => fits(each, size))?.capacity ?? this.#newCapacity(size);
  }

  /** Bytes that a new file may have. */
  #newCapacity(size: number): number {
    const bytes = Math.min(this.#maxBytes, this.#diskBytes + this.#storage.freeBytes()) / MIN_SEGMENTS;
    const usual = Math.min(SEGMENT_BYTES, Math.max(MIN_SEGMENT_BYTES, bytes));
    const wanted = dataStart(slotsFor(usual)) + size + END_RECORD_BYTES;
    return Math.ceil(Math.max(usual, wanted) / LEAST_RECORD_BYTES) * LEAST_RECORD_BYTES;
  }

  #create(size: number): FreeFile | undefined {
    const capacity = this.#newCapacity(size);
    if (this.#diskBytes + capacity > this.#maxBytes) return undefined;
    const name = `${String(this.#nextNumber++).padStart(8, "0")}.segment${NEW_SUFFIX}`;
    let file: StoredFile;
    try {
      file = this.#storage.create(name);
    } catch (error) {
      throw storageError(error, `cannot make ${this.#storage.path}/${name}`);
    }
    this.#unpublished.add(file);
    this.#diskBytes += capacity;
    return { file, slots: slotsFor(capacity), capacity };
  }

  /** Makes a file fit to be used again, unless there are enough of those. */
  #useAgain(file: StoredFile, slots: number, capacity: number): void {
    const isUseful = capacity >= MIN_REUSED_BYTES && capacity > dataStart(slots) + END_RECORD_BYTES;
    if (!isUseful || this.#free.length + this.#clearing >= MAX_FREE) {
      this.#remove(file, capacity);
      return;
    }
    this.#clearing++;
    this.#run(async () => {
      try {
        this.#writeFree(file, slots, capacity);
        // Until this is durable, its old records could be taken for new ones.
        await file.sync();
        this.#free.push({ file, slots, capacity });
      } catch (error) {
        this.#remove(file, capacity);
        throw error;
      } finally {
        this.#clearing--;
      }
    }, "an emptied segment of the spool cannot be used again");
  }

  #writeFree(file: StoredFile, slots: number, capacity: number): void {
    const head = new Uint8Array(dataStart(slots));
    const marker = new Uint8Array(MARKER_BYTES);
    head.set(encodeSegmentHeader({ state: "free", slots, sequence: 0, marker, capacity, end: 0 }));
    file.write(head, 0);
  }

  #remove(file: StoredFile, capacity: number): void {
    try {
      file.close();
      this.#storage.remove(file.name);
      this.#unpublished.delete(file);
      this.#diskBytes -= capacity;
    } catch (error) {
      // It takes up space until the next start.
      this.#log.warn("a segment of the spool cannot be removed", {
        file: `${this.#storage.path}/${file.name}`,
        error: storageError(error, "cannot remove it"),
      });
    }
  }

  /** Does something that nobody waits for, and that the spool can do without. */
  #run(action: () => Promise<void>, failure: string): void {
    const promise = action().catch((error) => this.#log.warn(failure, { error: storageError(error, "spool") }))
      .finally(() => this.#underWay.delete(promise));
    this.#underWay.add(promise);
  }
}

function slotsFor(capacity: number): number {
  return Math.min(MAX_SLOTS, Math.floor(capacity / LEAST_RECORD_BYTES));
}

function fits({ slots, capacity }: FreeFile, size: number): boolean {
  return dataStart(slots) + size + END_RECORD_BYTES <= capacity;
}
