import { chooseSparse, movedEntries, type MovedEntry } from "./compaction.ts";
import type { SegmentIndex } from "./segment-index.ts";
import type { SegmentPool } from "./segment-pool.ts";
import { type Entry, entryBytes } from "./record-writer.ts";
import type { Segment } from "./segment.ts";
import { SpoolError, storageError } from "./spool-error.ts";

/** What is written at once at most, bytes, unless a single record is larger: writing holds up the event loop. */
const WRITE_BYTES = 4 * 1024 * 1024;

export interface SegmentWriterOptions {
  readonly pool: SegmentPool;
  readonly index: SegmentIndex;
  /** Segments that must be durable before there is a newer one. */
  readonly closed: readonly Segment[];
  /** A segment has been written to, or has been emptied into another one. */
  readonly written: (segment: Segment) => void;
}

/** What the writer asks and tells about the entries that it writes. */
export interface WriteCallbacks {
  /** Whether an entry is still to be written. */
  readonly isWanted: (entry: Entry) => boolean;
  /** It is durable, and was still wanted. */
  readonly committed: (entry: Entry) => void;
}

/**
 * Writes entries to segments, one write and one sync for as many as there are, and goes from one segment to the next.
 * If all segments are in use, those with the least in them are emptied into another one. One call at a time.
 */
export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  /** Those that are still to be made durable. */
  #closed: Segment[];
  /** The segment that takes new records. */
  #active: Segment | undefined;
  /** Segments of which something could not be read. */
  readonly #unmovable = new Set<Segment>();

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#closed = [...options.closed];
  }

  /** Rejects with {@link SpoolError} at the first entry that cannot be made durable; those before it are. */
  async write(entries: readonly Entry[], callbacks: WriteCallbacks): Promise<void> {
    let left = entries;
    let mostEntries = Infinity;
    let failed = false;
    for (;;) {
      left = left.filter(callbacks.isWanted);
      const [first] = left;
      if (first === undefined) return;
      const segment = await this.#segmentFor(entryBytes(first));
      // An entry that was removed in the meantime has already lost its bytes.
      left = left.filter(callbacks.isWanted);
      const group = left.slice(0, Math.min(mostEntries, segment.fitting(left, 0, WRITE_BYTES)));
      if (group.length === 0) continue;
      try {
        await this.#commit(segment, group);
      } catch (error) {
        if (!segment.isSuspect && group.length > 1) {
          // Fewer may fit into what is left of the disk, or be written before it fails again.
          mostEntries = Math.ceil(group.length / 2);
          continue;
        }
        this.#abandon(segment);
        if (failed) throw storageError(error, "cannot write to the spool");
        failed = true;
        continue;
      }
      failed = false;
      mostEntries *= 2;
      left = left.slice(group.length);
      this.#place(segment, group, callbacks);
    }
  }

  /** Seals the segment in use. */
  async close(): Promise<void> {
    const segment = this.#active;
    if (segment === undefined) return;
    this.#active = undefined;
    this.#seal(segment);
    await syncQuietly(segment);
  }

  async #commit(segment: Segment, group: readonly Entry[]): Promise<void> {
    try {
      segment.write(group);
      await segment.sync();
      await this.#options.pool.publish(segment);
    } catch (error) {
      segment.rollBack();
      throw error;
    }
  }

  /** What was written is durable: says where it is. */
  #place(segment: Segment, group: readonly Entry[], { isWanted, committed }: WriteCallbacks): void {
    const { index, written } = this.#options;
    let slot = segment.confirm();
    for (const entry of group) {
      if (isWanted(entry)) {
        index.place(entry.id, segment, slot);
        committed(entry);
      } else segment.remove(slot, "delivered");
      slot++;
    }
    written(segment);
  }

  /** A segment with room for a record of so many bytes. Throws {@link SpoolError}. */
  async #segmentFor(size: number): Promise<Segment> {
    const active = this.#active;
    if (active !== undefined && active.room >= size) return active;
    this.#active = undefined;
    if (active !== undefined) this.#seal(active);
    await this.#syncClosed();
    return this.#nextSegment(size);
  }

  /** Throws {@link SpoolError}. */
  async #nextSegment(size: number): Promise<Segment> {
    const { index, pool } = this.#options;
    for (let hasWaited = false;;) {
      const available = pool.available(size);
      const isInUse = [...index.segments()].some(({ live }) => live > 0);
      // One is left for the records of sparse segments, which are what frees others if a few records are not removed
      // for long.
      if (available > 1 || (available === 1 && !isInUse)) {
        const segment = pool.take(size);
        if (segment !== undefined) return this.#use(segment);
      }
      if (hasWaited) break;
      await pool.settled();
      hasWaited = true;
    }
    const segment = pool.available(size) > 0 ? await this.#compact(size) : undefined;
    if (segment === undefined) throw new SpoolError("full", "the spool or its disk is full");
    return segment;
  }

  /**
   * A segment that others have been emptied into, with room for a record of so many bytes; undefined if none are
   * sparse.
   */
  async #compact(size: number): Promise<Segment | undefined> {
    const { index, pool, written } = this.#options;
    const sparse = chooseSparse(index, this.#unmovable, pool.nextCapacity(size), size);
    const target = sparse.length === 0 ? undefined : pool.take(size);
    if (target === undefined) return undefined;
    this.#use(target);
    for (const segment of sparse) {
      const groups = movedEntries(segment);
      for (
        let group = this.#nextGroup(groups, segment);
        group !== undefined;
        group = this.#nextGroup(groups, segment)
      ) {
        await this.#move(group, target);
      }
      written(segment);
    }
    return target.room >= size ? target : undefined;
  }

  /**
   * The next records to be moved; undefined also if the disk does not give them back: then they stay where they are.
   */
  #nextGroup(groups: Iterator<MovedEntry[], void>, segment: Segment): MovedEntry[] | undefined {
    try {
      return groups.next().value ?? undefined;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#unmovable.add(segment);
      return undefined;
    }
  }

  /** Throws {@link SpoolError}. */
  async #move(group: readonly MovedEntry[], target: Segment): Promise<void> {
    const { index } = this.#options;
    for (let left = group; left.length > 0;) {
      const part = left.slice(0, target.fitting(left, 0, WRITE_BYTES));
      if (part.length === 0) throw new SpoolError("full", "the spool is full");
      try {
        await this.#commit(target, part);
      } catch (error) {
        this.#abandon(target);
        throw storageError(error, "cannot write to the spool");
      }
      left = left.slice(part.length);
      const origins = new Map(part.map((entry) => [entry.id, entry.from]));
      this.#place(target, part, {
        isWanted: ({ id }) => {
          const [from, at] = [origins.get(id), index.locate(id)];
          return from !== undefined && at?.segment === from.segment && at.slot === from.slot;
        },
        committed: ({ id }) => {
          const from = origins.get(id);
          if (from === undefined) return;
          target.removeSpans(index.locate(id)?.slot as number, from.segment.removedSpans(from.slot));
          from.segment.remove(from.slot, "delivered");
        },
      });
    }
  }

  #use(segment: Segment): Segment {
    this.#active = segment;
    this.#options.index.add(segment);
    return segment;
  }

  /** A segment could not be written: it takes no more records. */
  #abandon(segment: Segment): void {
    if (this.#active === segment) this.#active = undefined;
    if (segment.isUnused) {
      this.#options.index.delete(segment);
      this.#options.pool.discard(segment);
    } else this.#seal(segment);
  }

  #seal(segment: Segment): void {
    const { capacity } = segment;
    try {
      segment.seal();
    } catch (error) {
      // The end record says the same, but for a file that is cut off later.
      if (!(error instanceof Error)) throw error;
    }
    this.#options.pool.sealed(segment, capacity);
    this.#options.written(segment);
  }

  async #syncClosed(): Promise<void> {
    const closed = this.#closed;
    this.#closed = [];
    for (const segment of closed) await syncQuietly(segment);
  }
}

/** Syncs a segment whose records are durable already. */
async function syncQuietly(segment: Segment): Promise<void> {
  try {
    await segment.sync();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}
