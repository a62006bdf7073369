/** Bytes are not a protobuf message. `offset` counts from the start of the buffer that was read. */
export class ProtobufError extends Error {
  override readonly name = "ProtobufError";
  readonly offset: number;

  constructor(detail: string, offset: number) {
    super(`${detail} at byte ${offset}`);
    this.offset = offset;
  }
}

/** Wire types, the low three bits of a tag. The two of groups are not in use any more, and refused. */
const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const UTF8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/**
 * Walks over the fields of one message, in place and without allocating:
 * `while (reader.next()) switch (reader.tag) { … }`.
 *
 * After `next()` the field's value has been read: a number as the two halves `low` and `high`, and anything
 * length-delimited as the range `start … end` of the buffer. Nothing is read outside the range given.
 *
 * Its members are `private`, not `#private`, because JavaScriptCore checks for the latter at each use.
 *
 * Specification: https://protobuf.dev/programming-guides/encoding/
 */
export class ProtobufReader {
  buffer: Uint8Array;
  /** The field's number and wire type, as on the wire: `field number << 3 | wire type`. */
  tag = 0;
  /** Where the field's tag begins. The field ends at `position`. */
  fieldStart: number;
  /** A number's low and high 32 bits, unsigned; `high` is 0 for a fixed32. */
  low = 0;
  high = 0;
  /** A length-delimited value's first byte, and the byte after its last. */
  start = 0;
  end = 0;
  /** The next field begins here. */
  position: number;
  private limit: number;

  constructor(buffer: Uint8Array, start = 0, end: number = buffer.length) {
    this.buffer = buffer;
    this.position = this.fieldStart = start;
    this.limit = end;
  }

  /** Begins anew with another message in the same buffer: saves a reader where there are many small messages. */
  reset(start: number, end: number): void {
    this.position = this.fieldStart = start;
    this.limit = end;
  }

  /** Begins anew with a message in another buffer. */
  load(buffer: Uint8Array, start: number, end: number): void {
    this.buffer = buffer;
    this.reset(start, end);
  }

  /** Reads the next field; false at the message's end. Throws {@link ProtobufError}. */
  next(): boolean {
    if (this.position >= this.limit) return false;
    this.fieldStart = this.position;
    this.varint();
    // A tag is a uint32, its field number at least 1.
    if (this.high !== 0 || this.low < 8) throw new ProtobufError("invalid tag", this.fieldStart);
    this.tag = this.low;
    switch (this.tag & 7) {
      case VARINT:
        this.varint();
        break;
      case FIXED64:
        this.low = this.fixed32();
        this.high = this.fixed32();
        break;
      case LENGTH_DELIMITED: {
        this.varint();
        if (this.high !== 0 || this.low > this.limit - this.position) {
          throw new ProtobufError("field longer than its message", this.fieldStart);
        }
        this.start = this.position;
        // If `low` is a double, JavaScriptCore would otherwise store each offset derived from this one as a double.
        this.end = this.position += this.low | 0;
        break;
      }
      case FIXED32:
        this.low = this.fixed32();
        this.high = 0;
        break;
      default:
        throw new ProtobufError("invalid wire type", this.fieldStart);
    }
    return true;
  }

  /** The length-delimited value as a message of its own. */
  message(): ProtobufReader {
    return new ProtobufReader(this.buffer, this.start, this.end);
  }

  /** The length-delimited value as bytes; not a copy. */
  bytes(): Uint8Array {
    return this.buffer.subarray(this.start, this.end);
  }

  /** The length-delimited value as text; what is not UTF-8 becomes U+FFFD. */
  text(): string {
    return UTF8.decode(this.bytes());
  }

  /** The number as an unsigned integer of 64 bits. */
  uint64(): bigint {
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  /** The number as a signed integer of 64 bits (`int64`, not zigzag). */
  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  /**
   * Reads a varint of up to 64 bits into `low` and `high`; bits beyond them are dropped, as every protobuf decoder
   * does.
   */
  private varint(): void {
    const first = this.buffer[this.position] as number;
    if (first < 0x80 && this.position < this.limit) {
      this.position++;
      this.low = first;
      this.high = 0;
      return;
    }
    let low = 0;
    let high = 0;
    const start = this.position;
    // Ten groups of seven bits hold 64.
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.position >= this.limit) throw new ProtobufError("truncated number", start);
      const byte = this.buffer[this.position++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= shift < 63 ? bits << (shift - 32) : (bits & 1) << 31;
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw new ProtobufError("number of more than ten bytes", start);
  }

  private fixed32(): number {
    const at = this.position;
    if (this.limit - at < 4) throw new ProtobufError("truncated number", at);
    const buffer = this.buffer;
    this.position += 4;
    return (
      ((buffer[at] as number) |
        ((buffer[at + 1] as number) << 8) |
        ((buffer[at + 2] as number) << 16) |
        ((buffer[at + 3] as number) << 24)) >>> 0
    );
  }
}
