/** A frame is its payload's length, 64 bits unsigned and big endian, and then the payload. */
export const FRAME_HEADER_BYTES = 8;

/**
 * How much of a payload is looked at before it counts as one, bytes. No more than bincode's shortest span has, and
 * enough for its times, which not much else looks like, behind a name of 49 bytes.
 */
export const RECOGNISED_BYTES = 120;

/**
 * The shortest payload that is searched for, bytes. A span has two ids of 24 bytes together in every encoding, and a
 * length below that is what zero bytes in a payload look like.
 */
const SHORTEST_PAYLOAD = 24;

/** Lengths below 2^24 have five zero bytes before them, longer ones four. */
const FIVE_ZEROS_BELOW = 1 << 24;

/**
 * Whether the beginning of a payload of `length` bytes, `buffer[start … end)`, looks like a span's. What is there is
 * all of it or at least {@link RECOGNISED_BYTES}.
 */
export type Resembles = (buffer: Uint8Array, start: number, end: number, length: number) => boolean;

/**
 * Looks for the next frame in a stream that has lost its framing, as the bytes come.
 *
 * An agent gives up an export that takes 30 s in the middle of a write, keeps the connection, and writes the next frame
 * right behind what it has written. So the frame that was given up is shorter than its header says, and the next header
 * lies anywhere in what was taken for the rest of it, or even in its header. A header begins with zero bytes; what
 * follows it must look like a span.
 *
 * If nothing is found, framing goes on at the end that the frame's own header gave: then the frame was whole, and only
 * its payload was not a span.
 */
export class HeaderSearch {
  readonly #maxFrameBytes: number;
  readonly #zeros: number;
  readonly #resembles: Resembles;
  /** True from {@link begin} until a place to go on at is found. */
  active = false;
  /** Whether that place is a header that was found, and not the end that the lost frame's header gave. */
  isFound = false;
  /** How many bytes, from the first on that has to be searched again, are needed to go on. */
  wanted = 0;
  /** How far the header of the frame that was given up is, which is not searched for; negative if it has been passed. */
  #known = 0;
  #left = 0;

  /** @param resembles is asked for each header that could be one. */
  constructor(maxFrameBytes: number, resembles: Resembles) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#zeros = maxFrameBytes < FIVE_ZEROS_BELOW ? 5 : 4;
    this.#resembles = resembles;
  }

  /** How far the end is at which framing goes on; Infinity if there is none. */
  get left(): number {
    return this.#left;
  }

  /**
   * Begins a search.
   *
   * @param known how many bytes there are to be searched before the frame that is given up.
   * @param left how many bytes it is to that frame's end; Infinity where its header says nothing sensible.
   */
  begin(known: number, left: number): void {
    this.active = true;
    this.isFound = false;
    this.#known = known;
    this.#left = left;
  }

  /**
   * Goes on from the header found last, whose frame is not valid.
   *
   * @param isTorn whether it was a frame's header all the same, so the end that the lost frame's header gave is wrong.
   */
  resume(isTorn: boolean): void {
    this.begin(0, isTorn ? Infinity : this.#left);
  }

  /**
   * Searches `buffer[at … end)`, which goes on where the last search stopped. Returns the place to go on at, if
   * {@link active} is false; else the first byte that has to be searched again together with what follows, when there
   * are `wanted` bytes from there.
   */
  search(buffer: Uint8Array, at: number, end: number): number {
    // Made an integer, as every place that is returned from here is: see `FrameReader`.
    const limit = Math.min(end - FRAME_HEADER_BYTES + 1, at + this.#left) | 0;
    const found = this.#find(buffer, at, limit, end);
    if (!this.isFound && found >= at + this.#left) {
      this.active = false;
      return (at + this.#left) | 0;
    }
    this.#known -= found - at;
    this.#left -= found - at;
    if (this.isFound) this.active = false;
    return found;
  }

  /** Looks for a header from `at` on, before `limit`; its payload may go on to `end`. */
  #find(buffer: Uint8Array, at: number, limit: number, end: number): number {
    const zeros = this.#zeros;
    const last = zeros - 1;
    const known = at + this.#known;
    this.wanted = FRAME_HEADER_BYTES;
    for (;;) {
      // No header begins at a byte that is not zero, nor so few bytes before it.
      while (at < limit && buffer[at + last] !== 0) at += zeros;
      if (at >= limit) return Math.min(at, end);
      let other = last - 1;
      while (other >= 0 && buffer[at + other] === 0) other--;
      if (other >= 0) {
        at += other + 1;
        continue;
      }
      const high = zeros === 5 ? 0 : buffer[at + 4] as number;
      const length = high * 0x100_0000 + ((buffer[at + 5] as number) << 16) + ((buffer[at + 6] as number) << 8) +
        (buffer[at + 7] as number);
      if (length === 0) {
        // No header begins before the last byte that can be its length is another.
        const other = firstOtherThanZero(buffer, at + FRAME_HEADER_BYTES, Math.min(end, limit + FRAME_HEADER_BYTES));
        at = other - FRAME_HEADER_BYTES + 1;
        continue;
      }
      if (length >= SHORTEST_PAYLOAD && length <= this.#maxFrameBytes && at !== known) {
        const start = at + FRAME_HEADER_BYTES;
        const seen = Math.min(length, RECOGNISED_BYTES);
        if (end - start < seen) {
          this.wanted = FRAME_HEADER_BYTES + seen;
          return at;
        }
        this.isFound = this.#resembles(buffer, start, end, length);
        if (this.isFound) return at;
      }
      at++;
    }
  }
}

/** The place of the first byte of `buffer[start … end)` that is not zero; `end` where all are. */
function firstOtherThanZero(buffer: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && buffer[at] === 0) at++;
  return at;
}
