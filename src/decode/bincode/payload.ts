import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { copyBytes } from "../../otlp/put-bytes.ts";
import { ANY_VALUE_DOUBLE, ANY_VALUE_STRING } from "../../otlp/trace-fields.ts";
import { AttributeMap } from "../attribute-map.ts";
import { isNonFinite, nonFiniteText } from "../canonical.ts";
import { LONG_TEXT_BYTES } from "../large-payloads.ts";
import { invalidUtf8At } from "../utf8.ts";
import { type InvalidReason, WireError } from "../wire-error.ts";

const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);

/** The top bits of four bytes at once: none is set in ASCII. */
const NOT_ASCII = 0x80808080;

/**
 * The most bytes that a byte of a payload can become: an array's bool takes one byte there, and four as a value of an
 * `ArrayValue`. Every other piece grows less: an array's i64 or f64 from 8 bytes to 13, its string by 4 bytes at most,
 * an attribute with a string likewise, a count from 4 to 6, a link from 39 to 45.
 */
const MOST_GROWTH = 4;
/** Room for the tags and lengths around the span and its resource. */
const AROUND = 64;

/** The latest time of 64 bits, 2^64 - 1 ns, as seconds and nanoseconds. */
const LAST_SECOND = 18_446_744_073;
const LAST_NANOSECOND = 709_551_615;
/** The upper half of `LAST_SECOND`. */
const LAST_SECOND_HIGH = 4;
const TWO_TO_32 = 0x1_0000_0000;
/** In a second. */
const NANOSECONDS = 1_000_000_000;
/** The same in halves of 16 bits, whose products fit 32. */
const NANOSECONDS_LOW = NANOSECONDS & 0xffff;
const NANOSECONDS_HIGH = NANOSECONDS >>> 16;

/**
 * One bincode payload on its way to OTLP: where its bytes are, where they go, and the pieces both are made of.
 *
 * Methods that read take `at`, the place in `input`; methods that write take `out`, the place in `output`, and return
 * the place after what they wrote. So both places stay in the callers' local variables, which takes a third less time
 * than fields; for the same reason the members are not `#private`. Room for all output is made before: `reserve` in
 * {@link begin} is the only one.
 *
 * Every reading method throws a `truncated` {@link WireError} where the payload ends too early.
 */
export class BincodePayload {
  input: Uint8Array = NO_BYTES;
  /** The same bytes as `input`. */
  source: DataView = NO_VIEW;
  /** The first byte of the payload in `input`. */
  start = 0;
  /** Where the payload ends. */
  end = 0;
  /** Where messages are opened and closed; its position is kept up only for that. */
  writer = new ProtobufWriter(0);
  /** The writer's buffer, as it is until the next {@link begin}. */
  output: Uint8Array = NO_BYTES;
  /** The same bytes as `output`. */
  target: DataView = NO_VIEW;
  /** Where the piece last read ended in `input`, if its length is not fixed. */
  at = 0;
  /** Where the key of the attribute last written lies in `output`, and its length; for a map, which has to know. */
  keyStart = 0;
  keyLength = 0;
  /** What is to become of the flags of the span context last read. */
  contextFlags = 0;
  readonly map = new AttributeMap();
  /** How many bytes long texts have had so far. */
  longBytes = 0;
  #mostShort = Infinity;

  /**
   * Begins `buffer[start … end)`, whose output goes to `writer`.
   *
   * @param mostShort how many bytes it may have beside its long texts.
   */
  begin(buffer: Uint8Array, start: number, end: number, writer: ProtobufWriter, mostShort: number): void {
    // Many payloads lie in one chunk.
    if (this.input !== buffer) {
      this.input = buffer;
      this.source = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    }
    this.start = start;
    this.end = end;
    this.longBytes = 0;
    // Long texts do not grow.
    this.#mostShort = mostShort;
    const short = Math.min(end - start, mostShort + LONG_TEXT_BYTES);
    writer.reserve(end - start + (MOST_GROWTH - 1) * short + AROUND);
    this.writer = writer;
    this.output = writer.buffer;
    this.target = writer.view;
  }

  /** Throws what is wrong with the byte at `at`. */
  fail(reason: InvalidReason, at: number, detail: string): never {
    throw new WireError(reason, at - this.start, detail);
  }

  /** Refuses a payload that ends before `bytes` more bytes. */
  need(at: number, bytes: number, what: string): void {
    if (this.end - at < bytes) this.fail("truncated", at, `payload ends inside ${what}`);
  }

  /** The tag of an Option, or a bool: 0 or 1. */
  flag(at: number, what: string): number {
    this.need(at, 1, what);
    const value = this.input[at] as number;
    if (value > 1) this.fail("invalid-tag", at, `${what} is tagged ${value}`);
    return value;
  }

  /** The variant of an enum, u32, below `variants`. */
  variant(at: number, variants: number, what: string): number {
    this.need(at, 4, what);
    const variant = this.source.getInt32(at, true);
    if (variant < 0 || variant >= variants) {
      this.fail("invalid-tag", at, `${what} has no variant ${variant >>> 0}`);
    }
    return variant;
  }

  /**
   * How long a string, a sequence or a map is, u64. What it counts takes a byte at least, so a greater number than
   * bytes are left is refused at once.
   */
  length(at: number, what: string): number {
    this.need(at, 8, what);
    const low = this.source.getInt32(at, true);
    if (this.source.getInt32(at + 4, true) !== 0 || low < 0 || low > this.end - at - 8) {
      this.fail("truncated", at, `${what} is longer than the payload`);
    }
    this.checkShort(at);
    return low;
  }

  /** Refuses a payload that has too much before `at` beside its long texts. */
  checkShort(at: number): void {
    if (at - this.start - this.longBytes > this.#mostShort) {
      this.fail("too-large", at, `a span with more than ${this.#mostShort} bytes beside its long texts`);
    }
  }

  /** Writes the 32 bits of `value`, taken as unsigned, as a varint. */
  varint(out: number, value: number): number {
    const output = this.output;
    while ((value & ~0x7f) !== 0) {
      output[out++] = value | 0x80;
      value >>>= 7;
    }
    output[out] = value;
    return out + 1;
  }

  /** Writes 64 bits as a varint. */
  varint64(out: number, low: number, high: number): number {
    const output = this.output;
    while (high !== 0) {
      output[out++] = low | 0x80;
      low = (low >>> 7) | (high << 25);
      high >>>= 7;
    }
    return this.varint(out, low);
  }

  /** Writes 64 bits. */
  fixed64(out: number, low: number, high: number): number {
    this.target.setInt32(out, low, true);
    this.target.setInt32(out + 4, high, true);
    return out + 8;
  }

  /** How many bytes {@link double} writes. */
  doubleSize(low: number, high: number): number {
    return isNonFinite(high) ? 2 + nonFiniteText(low, high).length : 9;
  }

  /** Writes the content of an `AnyValue` that is the double of these 64 bits. */
  double(out: number, low: number, high: number): number {
    const { output } = this;
    if (!isNonFinite(high)) {
      output[out] = ANY_VALUE_DOUBLE;
      return this.fixed64(out + 1, low, high);
    }
    const text = nonFiniteText(low, high);
    output[out] = ANY_VALUE_STRING;
    output[out + 1] = text.length;
    output.set(text, out + 2);
    return out + 2 + text.length;
  }

  /** Turns a count, u32, into a varint field; 0 into none. */
  count(at: number, out: number, field: number, what: string): number {
    this.need(at, 4, what);
    const value = this.source.getInt32(at, true);
    if (value === 0) return out;
    this.output[out] = field;
    return this.varint(out + 1, value);
  }

  /**
   * Turns a SystemTime, seconds u64 and nanoseconds u32 since 1970, into a fixed64 field of nanoseconds; 0 into none.
   * As in serde, nanoseconds may be more than a second. What does not fit 64 bits is refused, and with it all that
   * serde refuses as an overflow.
   */
  time(at: number, out: number, field: number): number {
    this.need(at, 12, "time");
    const source = this.source;
    const low = source.getInt32(at, true);
    const high = source.getInt32(at + 4, true);
    const nanoseconds = source.getInt32(at + 8, true);
    if (high < 0 || high >= LAST_SECOND_HIGH) {
      this.#checkTime(at, low >>> 0, high >>> 0, nanoseconds >>> 0);
    }
    // Long multiplication in base 2^16: a double does not hold the product, and a BigInt would cost an allocation.
    const lowest = Math.imul(low & 0xffff, NANOSECONDS_LOW);
    const middle = Math.imul(low >>> 16, NANOSECONDS_LOW);
    const otherMiddle = Math.imul(low & 0xffff, NANOSECONDS_HIGH);
    const carried = (lowest >>> 16) + (middle & 0xffff) + (otherMiddle & 0xffff);
    const sum = ((lowest & 0xffff) | (carried << 16)) + nanoseconds | 0;
    const carry = (sum >>> 0) < (nanoseconds >>> 0) ? 1 : 0;
    const sumHigh = Math.imul(low >>> 16, NANOSECONDS_HIGH) + (middle >>> 16) +
        (otherMiddle >>> 16) + (carried >>> 16) + Math.imul(high, NANOSECONDS) + carry | 0;
    if ((sum | sumHigh) === 0) return out;
    this.output[out] = field;
    return this.fixed64(out + 1, sum, sumHigh);
  }

  /** All numbers unsigned; a double holds every number of seconds that is near the limit. */
  #checkTime(at: number, low: number, high: number, nanoseconds: number): void {
    const seconds = high * TWO_TO_32 + low + Math.floor(nanoseconds / NANOSECONDS);
    const late = seconds === LAST_SECOND && nanoseconds % NANOSECONDS > LAST_NANOSECOND;
    if (seconds > LAST_SECOND || late) {
      this.fail("time-out-of-range", at, "time is beyond 64 bits of nanoseconds");
    }
  }

  /** Writes a string field of the `length` bytes at `at`; without bytes, no field. */
  text(at: number, length: number, out: number, field: number): number {
    if (length === 0) return out;
    this.output[out] = field;
    out = this.varint(out + 1, length);
    this.copyText(at, length, out);
    return out + length;
  }

  /** Writes the `length` bytes at `at`, which must be UTF-8. */
  copyText(at: number, length: number, out: number): void {
    if (length >= LONG_TEXT_BYTES) {
      copyBytes(this.input, at, at + length, this.output, out);
      this.#checkLongText(at, length);
      return;
    }
    let seen = 0;
    if (length >= 4) {
      const { source, target } = this;
      const last = at + length - 4;
      const lastOut = out + length - 4;
      for (let from = at; from < last; from += 4, out += 4) {
        const four = source.getInt32(from, true);
        seen |= four;
        target.setInt32(out, four, true);
      }
      // The last four overlap what was copied before them, which is faster than one to three by themselves.
      const four = source.getInt32(last, true);
      seen |= four;
      target.setInt32(lastOut, four, true);
    } else {
      const { input, output } = this;
      for (let from = at; from < at + length; from++, out++) {
        const byte = input[from] as number;
        seen |= byte;
        output[out] = byte;
      }
    }
    if ((seen & NOT_ASCII) !== 0) this.#checkUtf8(at, at + length);
  }

  /** Reads a string that goes nowhere; returns where it ends. */
  skipText(at: number, what: string): number {
    const length = this.length(at, what);
    at += 8;
    const { source, input } = this;
    const end = at + length;
    if (length >= LONG_TEXT_BYTES) {
      this.#checkLongText(at, length);
      return end;
    }
    let seen = 0;
    let from = at;
    for (; from + 4 <= end; from += 4) seen |= source.getInt32(from, true);
    for (; from < end; from++) seen |= input[from] as number;
    if ((seen & NOT_ASCII) !== 0) this.#checkUtf8(at, end);
    return end;
  }

  #checkLongText(at: number, length: number): void {
    this.longBytes += length;
    this.#checkUtf8(at, at + length);
  }

  #checkUtf8(start: number, end: number): void {
    const invalid = invalidUtf8At(this.input, start, end);
    if (invalid >= 0) this.fail("invalid-utf8", invalid, "string is not UTF-8");
  }
}
