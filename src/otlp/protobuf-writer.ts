/**
 * Room that {@link ProtobufWriter.openField} leaves: a tag of one byte and a length of five, which 2^32 bytes need.
 */
const FIELD_PREFIX_BYTES = 6;

/** A buffer larger than this is given back after a message that took only a small part of it. */
const RETAINED_BYTES = 1024 * 1024;
const SMALL_PART = 1 / 16;

/** How many bytes a length below 2^32 takes as a varint. */
export function varintSize(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
}

/** How many bytes a varint of 64 bits takes, given as two halves, signed or unsigned: seven bits a byte. */
export function varint64Size(low: number, high: number): number {
  high >>>= 0;
  if (high === 0) return varintSize(low >>> 0);
  // Above the low half 3 bits go into the fifth byte, then seven into each.
  return high < 1 << 3 ? 5 : high < 1 << 10 ? 6 : high < 1 << 17 ? 7 : high < 1 << 24 ? 8 : high < 0x8000_0000 ? 9 : 10;
}

/**
 * Writes protobuf wire format into one growing, reusable buffer.
 *
 * Varints come out as short as they can be, so that one message has one encoding. Every method makes its own room;
 * code that must be fast calls {@link reserve} once and then writes to `buffer`, `view` and `position` itself.
 * A `tag` is `field number << 3 | wire type`, here always below 0x80, so one byte.
 *
 * Specification: https://protobuf.dev/programming-guides/encoding/
 */
export class ProtobufWriter {
  /** The bytes written so far are `buffer[0 … position)`. Replaced when it grows: do not keep it. */
  buffer: Uint8Array<ArrayBuffer>;
  /** The same bytes. Replaced together with `buffer`. */
  view: DataView<ArrayBuffer>;
  position = 0;
  readonly #initialBytes: number;
  /** What `buffer` is unless that is borrowed. */
  #ownBuffer: Uint8Array<ArrayBuffer>;
  #ownView: DataView<ArrayBuffer>;

  constructor(initialBytes = 4096) {
    this.#ownBuffer = this.buffer = new Uint8Array(initialBytes);
    this.#ownView = this.view = new DataView(this.buffer.buffer);
    this.#initialBytes = initialBytes;
  }

  /** Forgets what was written and keeps the buffer, unless it is a large one that was hardly needed this time. */
  clear(): void {
    const { length } = this.#ownBuffer;
    const needed = this.buffer === this.#ownBuffer ? this.position : 0;
    if (length > RETAINED_BYTES && needed < length * SMALL_PART) this.#replace(new Uint8Array(this.#initialBytes));
    this.buffer = this.#ownBuffer;
    this.view = this.#ownView;
    this.position = 0;
  }

  /**
   * Goes on at `position` of a buffer that someone else has written to, until it is cleared or grows. The other one
   * calls {@link keep} before writing there again.
   *
   * @param view the same bytes.
   */
  borrow(buffer: Uint8Array<ArrayBuffer>, view: DataView<ArrayBuffer>, position: number): void {
    this.buffer = buffer;
    this.view = view;
    this.position = position;
  }

  /** Takes what has been written out of a borrowed buffer into one of its own, at the same place. */
  keep(): void {
    if (this.buffer !== this.#ownBuffer) this.#replace(this.buffer.slice(0, this.position));
  }

  /** Makes room for `bytes` more bytes, so that the writes that follow need no check of their own. */
  reserve(bytes: number): void {
    if (this.position + bytes > this.buffer.length) this.#grow(bytes);
  }

  /** Appends one byte; with a number below 0x80 also a tag or a short varint. */
  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.position++] = value;
  }

  /** Appends raw bytes. */
  bytes(source: Uint8Array): void {
    this.reserve(source.length);
    this.buffer.set(source, this.position);
    this.position += source.length;
  }

  /** Appends an unsigned varint of up to 2^53 - 1. */
  varint(value: number): void {
    this.reserve(8);
    while (value > 0x7f) {
      this.buffer[this.position++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.buffer[this.position++] = value;
  }

  /**
   * Appends the varint of 64 bits given as two halves, each signed or unsigned.
   *
   * An `int64` is written so as it is: two's complement, a negative one in ten bytes.
   */
  varint64(low: number, high: number): void {
    this.reserve(10);
    const buffer = this.buffer;
    let at = this.position;
    low >>>= 0;
    high >>>= 0;
    while (high !== 0) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    while (low > 0x7f) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    buffer[at++] = low;
    this.position = at;
  }

  /** Appends 32 bits, signed or unsigned, little endian. */
  fixed32(value: number): void {
    this.reserve(4);
    this.view.setInt32(this.position, value, true);
    this.position += 4;
  }

  /** Appends 64 bits given as two halves, each signed or unsigned, little endian. */
  fixed64(low: number, high: number): void {
    this.reserve(8);
    this.view.setInt32(this.position, low, true);
    this.view.setInt32(this.position + 4, high, true);
    this.position += 8;
  }

  /** Appends a field of wire type 2 (length-delimited): tag, length, bytes. */
  lengthDelimited(field: number, source: Uint8Array): void {
    this.varint((field << 3) | 2);
    this.varint(source.length);
    this.bytes(source);
  }

  /**
   * Begins a field of wire type 2 inside another message: writes the tag and leaves room for the length, one byte
   * unless the caller expects a long one. Returns where its content begins, for {@link closeMessage}.
   */
  openMessage(tag: number, lengthBytes = 1): number {
    this.reserve(1 + lengthBytes);
    this.buffer[this.position] = tag;
    this.position += 1 + lengthBytes;
    return this.position;
  }

  /**
   * Ends the field that {@link openMessage} began with the same `lengthBytes`: writes its length, and moves its content
   * where that takes more or fewer bytes. Returns by how many bytes the content moved up.
   */
  closeMessage(contentStart: number, lengthBytes = 1): number {
    const length = this.position - contentStart;
    if (length < 0x80 && lengthBytes === 1) {
      this.buffer[contentStart - 1] = length;
      return 0;
    }
    const moved = varintSize(length) - lengthBytes;
    if (moved !== 0) {
      this.reserve(moved);
      this.buffer.copyWithin(contentStart + moved, contentStart, this.position);
      this.position += moved;
    }
    this.#putVarint(contentStart - lengthBytes, length);
    return moved;
  }

  /**
   * Begins a field of wire type 2 that stands by itself: what lies before it in the buffer is not part of the same
   * message, so there may be a gap, and its length is put right before its content when that is known.
   * Returns where its content begins, for {@link closeField}.
   */
  openField(): number {
    this.reserve(FIELD_PREFIX_BYTES);
    this.position += FIELD_PREFIX_BYTES;
    return this.position;
  }

  /**
   * Ends the field that {@link openField} began. Returns where the whole field, tag first, begins; it ends at
   * `position`.
   */
  closeField(tag: number, contentStart: number): number {
    const length = this.position - contentStart;
    const start = contentStart - varintSize(length) - 1;
    this.buffer[start] = tag;
    this.#putVarint(start + 1, length);
    return start;
  }

  /** Writes a varint below 2^32 into room that is there. */
  #putVarint(at: number, value: number): void {
    const buffer = this.buffer;
    while (value > 0x7f) {
      buffer[at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    buffer[at] = value;
  }

  #grow(bytes: number): void {
    const grown = new Uint8Array(Math.max(this.position + bytes, this.buffer.length * 2));
    grown.set(this.buffer.subarray(0, this.position));
    this.#replace(grown);
  }

  #replace(buffer: Uint8Array<ArrayBuffer>): void {
    this.#ownBuffer = this.buffer = buffer;
    this.#ownView = this.view = new DataView(buffer.buffer);
  }
}
