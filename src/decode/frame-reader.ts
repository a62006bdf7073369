/** A frame is its payload's length, 64 bits unsigned and big endian, and then the payload. */
export const FRAME_HEADER_BYTES = 8;

/** A carry buffer up to this size is kept for the guest's next frame; about as much as a page of memory. */
const RETAINED_BYTES = 4096;
/** The smallest carry buffer: most payloads fit. */
const SMALLEST_CARRY_BYTES = 1024;

const NO_BYTES = new Uint8Array(0);

/** What takes a {@link FrameReader}'s frames. Its methods must not throw: the rest of the chunk would be lost. */
export interface FrameSink {
  /** A whole payload, `buffer[start … end)`; the bytes are the sink's only until it returns. */
  payload(buffer: Uint8Array, start: number, end: number): void;
  /** A frame has begun whose payload of `length` bytes is over the limit, and will be skipped. */
  oversized(length: bigint): void;
}

/** A frame that is not whole yet. */
export interface UnfinishedFrame {
  /** How much of the length is there: 0 to {@link FRAME_HEADER_BYTES}. */
  readonly headerBytes: number;
  /** How much of the payload has come, skipped bytes included. */
  readonly payloadBytes: bigint;
  /** The payload's length; absent while the header is not whole. */
  readonly expectedBytes: bigint | undefined;
}

/**
 * Cuts one guest's stream into payloads, whatever chunks it comes in.
 *
 * A payload that lies whole in a chunk is handed out where it is; any other is gathered in a carry buffer, which grows
 * as the bytes arrive: nothing is allocated because a length says so. A payload over the limit is skipped and not held.
 */
export class FrameReader {
  readonly #maxFrameBytes: number;
  readonly #sink: FrameSink;
  #framesBegun = 0;
  #headerBytes = 0;
  // The stated length, two halves of 32 bits: a double would round lengths above 2^53.
  #lengthHigh = 0;
  #lengthLow = 0;
  /** How much of an oversized payload is still to come, as two halves. */
  #skipHigh = 0;
  #skipLow = 0;
  /** The begun payload's first `#gathered` bytes are the first bytes of `#carry`. */
  #carry: Uint8Array = NO_BYTES;
  #gathered = 0;

  /** `maxFrameBytes` is the largest payload that is taken, below 2^32. */
  constructor(maxFrameBytes: number, sink: FrameSink) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#sink = sink;
  }

  /** True when the stream is inside a frame: its header has begun and its last byte has not come. */
  get inFrame(): boolean {
    return this.#headerBytes !== 0 || this.#skipping;
  }

  /** How many frames have begun so far: while this stays and {@link inFrame} is true, it is still the same frame. */
  get framesBegun(): number {
    return this.#framesBegun;
  }

  /** Memory that an unfinished payload takes, bytes: at most twice what has come of it, or 4 KiB. */
  get heldBytes(): number {
    return this.#gathered === 0 ? 0 : this.#carry.length;
  }

  /** The frame that the stream is inside of; none between frames. At the end of a stream it is what was lost. */
  get unfinished(): UnfinishedFrame | undefined {
    if (!this.inFrame) return undefined;
    const length = join(this.#lengthHigh, this.#lengthLow);
    if (this.#skipping) {
      const missing = join(this.#skipHigh, this.#skipLow);
      return {
        headerBytes: FRAME_HEADER_BYTES,
        payloadBytes: length - missing,
        expectedBytes: length,
      };
    }
    return {
      headerBytes: this.#headerBytes,
      payloadBytes: BigInt(this.#gathered),
      expectedBytes: this.#headerBytes === FRAME_HEADER_BYTES ? length : undefined,
    };
  }

  /**
   * What has been read of a frame that is not whole: another reader that is given it first goes on where this one is.
   * Of a payload that is skipped it is a header with the length that is left.
   */
  get unread(): Uint8Array {
    if (!this.inFrame) return NO_BYTES;
    const header = new Uint8Array(FRAME_HEADER_BYTES);
    const view = new DataView(header.buffer);
    view.setUint32(0, this.#skipping ? this.#skipHigh : this.#lengthHigh);
    view.setUint32(4, this.#skipping ? this.#skipLow : this.#lengthLow);
    if (this.#skipping) return header;
    if (this.#headerBytes < FRAME_HEADER_BYTES) return unfinishedHeader(header, this.#headerBytes);
    const unread = new Uint8Array(FRAME_HEADER_BYTES + this.#gathered);
    unread.set(header);
    unread.set(this.#carry.subarray(0, this.#gathered), FRAME_HEADER_BYTES);
    return unread;
  }

  /**
   * Takes the next bytes of the stream, all of them: the sink has every payload that ends in them when this returns.
   */
  push(chunk: Uint8Array): void {
    const end = chunk.length;
    let at = 0;
    while (at < end) {
      if (this.#skipping) {
        at = this.#skip(at, end);
        continue;
      }
      if (this.#headerBytes < FRAME_HEADER_BYTES) {
        at = this.#readHeader(chunk, at, end);
        if (this.#headerBytes < FRAME_HEADER_BYTES) return;
        if (this.#lengthHigh !== 0 || this.#lengthLow > this.#maxFrameBytes) {
          this.#beginSkipping();
          continue;
        }
      }
      at = this.#readPayload(chunk, at, end);
    }
  }

  get #skipping(): boolean {
    return this.#skipLow !== 0 || this.#skipHigh !== 0;
  }

  /** Reads as much of the header as there is; returns where the rest of the chunk begins. */
  #readHeader(chunk: Uint8Array, at: number, end: number): number {
    if (this.#headerBytes === 0) {
      this.#framesBegun++;
      this.#lengthHigh = this.#lengthLow = 0;
    }
    while (at < end && this.#headerBytes < FRAME_HEADER_BYTES) {
      const byte = chunk[at++] as number;
      if (this.#headerBytes < 4) this.#lengthHigh = ((this.#lengthHigh << 8) | byte) >>> 0;
      else this.#lengthLow = ((this.#lengthLow << 8) | byte) >>> 0;
      this.#headerBytes++;
    }
    return at;
  }

  #beginSkipping(): void {
    this.#headerBytes = 0;
    this.#skipHigh = this.#lengthHigh;
    this.#skipLow = this.#lengthLow;
    this.#sink.oversized(join(this.#lengthHigh, this.#lengthLow));
  }

  #skip(at: number, end: number): number {
    const available = end - at;
    if (this.#skipHigh === 0 && this.#skipLow <= available) {
      at += this.#skipLow;
      this.#skipLow = 0;
      return at;
    }
    if (this.#skipLow < available) {
      this.#skipHigh--;
      this.#skipLow += 0x1_0000_0000;
    }
    this.#skipLow -= available;
    return end;
  }

  #readPayload(chunk: Uint8Array, at: number, end: number): number {
    const length = this.#lengthLow;
    const missing = length - this.#gathered;
    if (end - at < missing) {
      this.#gather(chunk, at, end);
      return end;
    }
    const payloadEnd = at + missing;
    if (this.#gathered === 0) {
      this.#headerBytes = 0;
      this.#sink.payload(chunk, at, payloadEnd);
      return payloadEnd;
    }
    this.#gather(chunk, at, payloadEnd);
    this.#headerBytes = 0;
    this.#gathered = 0;
    const carry = this.#carry;
    if (carry.length > RETAINED_BYTES) this.#carry = NO_BYTES;
    this.#sink.payload(carry, 0, length);
    return payloadEnd;
  }

  /** Copies `chunk[start … end)`, which belongs to the begun payload, to the end of what is there of it. */
  #gather(chunk: Uint8Array, start: number, end: number): void {
    if (start === end) return;
    const gathered = this.#gathered + end - start;
    if (gathered > this.#carry.length) {
      const capacity = Math.max(gathered, this.#carry.length * 2, SMALLEST_CARRY_BYTES);
      const grown = new Uint8Array(
        Math.min(capacity, Math.max(this.#lengthLow, SMALLEST_CARRY_BYTES)),
      );
      grown.set(this.#carry.subarray(0, this.#gathered));
      this.#carry = grown;
    }
    this.#carry.set(chunk.subarray(start, end), this.#gathered);
    this.#gathered = gathered;
  }
}

/**
 * The first `length` bytes of a header: each half has been read from its low end so far, as it is shifted in.
 *
 * @param halves both halves as numbers.
 */
function unfinishedHeader(halves: Uint8Array, length: number): Uint8Array {
  return length <= 4
    ? halves.slice(4 - length, 4)
    : Uint8Array.of(...halves.subarray(0, 4), ...halves.subarray(8 - (length - 4)));
}

function join(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}
