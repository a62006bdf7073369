/** How much of a replay may be under way, and so be sent twice if the process is killed: one part in so many. */
const REPLAY_PARTS = 150;
/** But not fewer spans than this at once. */
const LEAST_PART_SPANS = 8;

/**
 * The spans that an earlier process left in the spool, on their way to the collector.
 *
 * What is under way when the process is killed is sent again by the next one, although the collector may have taken it.
 * So only little of it is under way at once: a replay takes some hundred round trips, however large it is.
 */
export class Replay {
  #found = 0;
  #underWay = 0;

  /** So many spans more were found. */
  found(spans: number): void {
    this.#found += spans;
  }

  /** How many spans may be under way at once. */
  get partSpans(): number {
    return Math.max(LEAST_PART_SPANS, Math.floor(this.#found / REPLAY_PARTS));
  }

  /** Whether so many spans more may be under way. */
  mayTake(spans: number): boolean {
    return this.#underWay === 0 || this.#underWay + spans <= this.partSpans;
  }

  /** So many spans are under way. */
  take(spans: number): void {
    this.#underWay += spans;
  }

  /** So many spans are no longer under way: they are delivered or given up. */
  settle(spans: number): void {
    this.#underWay -= spans;
  }
}

/** A record of the spool that is sent in parts. */
export class SplitRecord {
  /** Its number in the spool. */
  readonly id: number;
  /** How many spans each part has, in order. */
  readonly #parts: readonly number[];
  readonly #settled = new Set<number>();
  /** The parts before this one are settled. */
  #next = 0;
  #removedSpans: number;

  /** @param removedSpans how many spans come before the first part. */
  constructor(id: number, removedSpans: number, parts: readonly number[]) {
    this.id = id;
    this.#removedSpans = removedSpans;
    this.#parts = parts;
  }

  /** How many of its spans, from its first one on, are settled. */
  get removedSpans(): number {
    return this.#removedSpans;
  }
  /** Whether all of its parts are settled. */
  get isSettled(): boolean {
    return this.#next === this.#parts.length;
  }

  /** A part is delivered or given up. */
  settle(part: number): void {
    this.#settled.add(part);
    // Parts may be settled in any order; the spool only notes how far all of them are.
    while (this.#settled.has(this.#next)) this.#removedSpans += this.#parts[this.#next++] as number;
  }
}
