import { MAX_SLOTS } from "./segment-format.ts";
import type { Segment } from "./segment.ts";

/** Where a record is. */
export interface Location {
  readonly segment: Segment;
  readonly slot: number;
}

/** The segments that hold records, and where each record is. A record takes some 40 bytes of memory. */
export class SegmentIndex {
  readonly #segments = new Map<number, Segment>();
  readonly #keys = new Map<Segment, number>();
  /** By the record's ID: the segment's key times {@link MAX_SLOTS}, and the slot. */
  readonly #locations = new Map<number, number>();
  #nextKey = 0;

  /** How many records there are. */
  get count(): number {
    return this.#locations.size;
  }

  segments(): IterableIterator<Segment> {
    return this.#segments.values();
  }

  add(segment: Segment): void {
    const key = this.#nextKey++;
    this.#segments.set(key, segment);
    this.#keys.set(segment, key);
  }

  /** Forgets a segment whose records have all been removed. Returns false if that was done already. */
  delete(segment: Segment): boolean {
    this.#segments.delete(this.#keys.get(segment) ?? -1);
    return this.#keys.delete(segment);
  }

  /** Says where a record is now. */
  place(id: number, segment: Segment, slot: number): void {
    this.#locations.set(id, (this.#keys.get(segment) as number) * MAX_SLOTS + slot);
  }

  locate(id: number): Location | undefined {
    const location = this.#locations.get(id);
    if (location === undefined) return undefined;
    const segment = this.#segments.get(Math.floor(location / MAX_SLOTS)) as Segment;
    return { segment, slot: location % MAX_SLOTS };
  }

  /** Forgets where a record is. */
  remove(id: number): void {
    this.#locations.delete(id);
  }
}
