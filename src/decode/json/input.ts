import {
  BACKSLASH,
  CLOSE_BRACE,
  COLON,
  COMMA,
  MINUS,
  OPEN_BRACE,
  OPEN_BRACKET,
  PLUS,
  POINT,
  QUOTE,
  ZERO,
} from "./characters.ts";
import { Buffer } from "node:buffer";
import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { type InvalidReason, WireError } from "../wire-error.ts";

/** Bytes behind the payload that reads of whole words may touch: more than the longest {@link Literal}. */
const SLACK_BYTES = 64;
const INITIAL_BYTES = 16 * 1024;
/** A buffer larger than this is given back when a payload comes that does not need it. */
const RETAINED_BYTES = 1024 * 1024;

/**
 * Output for each byte of input, at most, outside of arrays of numbers. The shortest attribute, `"":{"F64":0},`, takes
 * 13 bytes and becomes 13; the shortest link, `[[0,0,0,false,null],[],0],`, 26 bytes and becomes 35.
 */
const EXPANSION = 2;
/** Output besides: one number of an array, messages that are open, and words that are written past a string's end. */
const OVERHEAD_BYTES = 1024;

/** From an opening bracket or brace to the closing one. */
const TO_CLOSING = CLOSE_BRACE - OPEN_BRACE;

/** How deep a value may nest that is skipped. As serde_json's own limit for the values that it does not skip. */
const MAX_SKIPPED_DEPTH = 128;

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** The last of the bytes that are white space or control characters. */
export const SPACE = 0x20;

/** What stands for a long text: this byte, which is in no JSON text, and its number, 32 bits little endian. */
export const LONG_TEXT = 0x01;
export const LONG_TEXT_MARK_BYTES = 5;

/** Long texts that were taken out of a JSON text, in which marks stand for them. */
export interface TakenOut {
  /** How many bytes they have, decoded. */
  readonly decodedBytes: number;
  /** Appends the one for which the mark at `at` stands. */
  append(at: number, output: ProtobufWriter): void;
}

/** ASCII text of at least four bytes that the input is compared with, a word at a time. */
export class Literal {
  readonly length: number;
  /** The text as little endian words; the last one overlaps the one before unless the length is a multiple of four. */
  readonly words: Int32Array;

  constructor(text: string) {
    const bytes = new TextEncoder().encode(text);
    if (bytes.length < 4 || bytes.length > SLACK_BYTES) throw new RangeError(`literal ${text}`);
    const view = new DataView(bytes.buffer);
    this.length = bytes.length;
    this.words = new Int32Array(Math.ceil(bytes.length / 4));
    for (let word = 0; word < this.words.length; word++) {
      this.words[word] = view.getInt32(Math.min(word * 4, bytes.length - 4), true);
    }
  }
}

const NULL = new Literal("null");
const TRUE = new Literal("true");
const FALSE = new Literal("false");

/**
 * A JSON text (RFC 8259) being read, and where in it the reader is.
 *
 * The payload is copied here, so that it lies in an array of one kind whatever it came in, followed by a zero byte:
 * nowhere in a JSON text may a zero byte stand, so every loop ends there, and none has to look for the end as well.
 */
export class JsonInput {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(INITIAL_BYTES);
  /** The same bytes. */
  view: DataView<ArrayBuffer> = new DataView(this.bytes.buffer);
  /** The same bytes. */
  #text = Buffer.from(this.bytes.buffer);
  /** The next byte to read; at most `end`. */
  at = 0;
  end = 0;
  /** The long texts that marks stand for; absent where there are none, and a mark is an error. */
  longTexts: TakenOut | undefined;
  /** The halves of the last integer of 64 bits that was read, as signed numbers. */
  high = 0;
  low = 0;
  /** How many doubles have been read that have more digits than a runtime is fast with. */
  longDoubles = 0;
  /** Where the arrays and objects begin around a value that is being skipped. */
  readonly #enclosing = new Int32Array(MAX_SKIPPED_DEPTH);
  /**
   * Where arrays and objects end that have been skipped, at the places where they begin: what is in several structs
   * whose members are out of order is not looked through again for each.
   */
  #ends = new Int32Array(0);
  /** Whether they are this payload's. */
  #hasEnds = false;

  /** Begins with another payload, `buffer[start … end)`. */
  load(buffer: Uint8Array, start: number, end: number, longTexts?: TakenOut): void {
    this.longTexts = longTexts;
    this.longDoubles = 0;
    this.#hasEnds = false;
    const length = end - start;
    const needed = length + SLACK_BYTES;
    const capacity = this.bytes.length;
    if (needed > capacity || (capacity > RETAINED_BYTES && needed <= RETAINED_BYTES)) {
      this.bytes = new Uint8Array(Math.max(needed, INITIAL_BYTES));
      this.#ends = new Int32Array(0);
      this.view = new DataView(this.bytes.buffer);
      this.#text = Buffer.from(this.bytes.buffer);
    }
    Buffer.prototype.copy.call(buffer as Buffer, this.bytes, 0, start, end);
    this.bytes[length] = 0;
    this.at = 0;
    this.end = length;
  }

  /**
   * How many bytes the payload becomes at most, but for numbers of arrays: `-1,` becomes 13 bytes. Whoever writes those
   * makes this room again before each, for all of the payload: what is read last may stand first.
   */
  get outputBytes(): number {
    return this.end * EXPANSION + OVERHEAD_BYTES + (this.longTexts?.decodedBytes ?? 0);
  }

  /** What was read since `start`, which is ASCII, as a string. */
  textSince(start: number): string {
    return this.#text.toString("latin1", start, this.at);
  }

  /** The error of a payload that is wrong at `at`; where the payload ends there, it is one that was cut. */
  error(reason: InvalidReason, detail: string, at = this.at): WireError {
    return at >= this.end
      ? new WireError("truncated", this.end, "JSON ends in the middle of a span")
      : new WireError(reason, at, detail);
  }

  /** Skips white space; returns the byte after it, which is the next one to read. */
  peek(): number {
    const byte = this.bytes[this.at] as number;
    return byte > SPACE ? byte : this.#skipWhiteSpace();
  }

  #skipWhiteSpace(): number {
    let byte = this.bytes[this.at] as number;
    while (
      byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === TAB
    ) byte = this.bytes[++this.at] as number;
    return byte;
  }

  /** Skips white space and the byte that has to follow. */
  expect(byte: number): void {
    if (this.peek() !== byte) {
      throw this.error("invalid-value", `'${String.fromCharCode(byte)}' expected`);
    }
    this.at++;
  }

  /** Skips the literal if the input goes on with it, exactly. */
  matches(literal: Literal): boolean {
    const view = this.view;
    const words = literal.words;
    const last = words.length - 1;
    let at = this.at;
    for (let word = 0; word < last; word++, at += 4) {
      if (view.getInt32(at, true) !== words[word]) return false;
    }
    if (view.getInt32(this.at + literal.length - 4, true) !== words[last]) return false;
    this.at += literal.length;
    return true;
  }

  /** Reads `true` or `false`. */
  boolean(): boolean {
    this.peek();
    if (this.matches(TRUE)) return true;
    if (this.matches(FALSE)) return false;
    throw this.error("invalid-value", "true or false expected");
  }

  /** Skips `null`, if it is next. */
  skipNull(): boolean {
    this.peek();
    return this.matches(NULL);
  }

  /**
   * After an opening bracket (`first`) or an element: true when another element follows, and goes to it; false when
   * the array or object ends, and goes behind its `closing` bracket.
   */
  more(closing: number, first: boolean): boolean {
    const byte = this.peek();
    if (byte === closing) {
      this.at++;
      return false;
    }
    if (first) return true;
    if (byte !== COMMA) throw this.error("invalid-value", "',' or the end of a list expected");
    this.at++;
    if (this.peek() === closing) throw this.error("invalid-value", "a value expected after ','");
    return true;
  }

  /**
   * Skips a value of any kind. It must be well-formed; as serde_json has it for a value that nobody reads, numbers may
   * be of any size and strings need be neither UTF-8 nor pair their surrogates.
   *
   * Throws `too-deep` where arrays and objects nest more than {@link MAX_SKIPPED_DEPTH} deep.
   */
  skipValue(): void {
    const { bytes } = this;
    const enclosing = this.#enclosing;
    let depth = 0;
    for (;;) {
      const byte = this.peek();
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        const end = this.#knownEnd();
        if (end > 0) this.at = end;
        else {
          if (depth === MAX_SKIPPED_DEPTH) {
            throw this.error("too-deep", `a value nests more than ${MAX_SKIPPED_DEPTH} deep`);
          }
          const start = this.at++;
          if (this.more(byte + TO_CLOSING, true)) {
            enclosing[depth++] = start;
            if (byte === OPEN_BRACE) this.#skipKey();
            continue;
          }
        }
      } else this.#skipScalar(byte);
      // A value has ended, and with it perhaps those around it.
      for (;;) {
        if (depth === 0) return;
        const start = enclosing[depth - 1] as number;
        const closing = (bytes[start] as number) + TO_CLOSING;
        if (this.more(closing, false)) {
          if (closing === CLOSE_BRACE) this.#skipKey();
          break;
        }
        this.#ends[start] = this.at;
        depth--;
      }
    }
  }

  /** Where the array or object that is next ends if it has been skipped before, as part of another one; else 0. */
  #knownEnd(): number {
    if (!this.#hasEnds) {
      if (this.#ends.length < this.end) this.#ends = new Int32Array(this.bytes.length);
      else this.#ends.fill(0, 0, this.end);
      this.#hasEnds = true;
    }
    return this.#ends[this.at] as number;
  }

  /** Whether a mark of a long text is next; its byte is never part of JSON. */
  get isLongText(): boolean {
    return this.longTexts !== undefined && this.bytes[this.at] === LONG_TEXT;
  }

  #skipKey(): void {
    const isText = this.peek() === QUOTE;
    if (!isText && !this.isLongText) throw this.error("invalid-value", "a member's name expected");
    if (isText) this.#skipString();
    else this.at += LONG_TEXT_MARK_BYTES;
    this.expect(COLON);
  }

  #skipScalar(byte: number): void {
    if (byte === QUOTE) this.#skipString();
    else if (this.isLongText) this.at += LONG_TEXT_MARK_BYTES;
    else if (byte === MINUS || isDigit(byte)) this.skipNumber();
    else if (!this.matches(NULL) && !this.matches(TRUE) && !this.matches(FALSE)) {
      throw this.error("invalid-value", "a value expected");
    }
  }

  #skipString(): void {
    const { bytes, view } = this;
    let at = this.at + 1;
    for (;;) {
      // Four bytes at a time, as `readString` does, but what is not ASCII needs no look.
      let special: number;
      for (;; at += 4) {
        const word = view.getInt32(at, true);
        special = ((word - 0x20202020) | ((word ^ 0x22222222) - 0x01010101) | ((word ^ 0x5c5c5c5c) - 0x01010101)) &
          ~word & 0x80808080;
        if (special !== 0) break;
      }
      at += (31 - Math.clz32(special & -special)) >>> 3;
      const byte = bytes[at] as number;
      if (byte === QUOTE) break;
      if (byte < SPACE) throw this.error("invalid-value", "a control character in a string", at);
      if (byte === BACKSLASH) {
        at++;
        if (!isEscape(bytes, at)) throw this.error("invalid-value", "an unknown escape", at);
      }
      at++;
    }
    this.at = at + 1;
  }

  /** Skips a number, whatever its size. */
  skipNumber(): void {
    const bytes = this.bytes;
    const start = this.at;
    let at = start;
    if (bytes[at] === MINUS) at++;
    const integer = at;
    at = this.#skipDigits(at);
    if (bytes[integer] === ZERO && at - integer > 1) {
      throw this.error("invalid-value", "a number begins with 0", integer);
    }
    if (bytes[at] === POINT) at = this.#skipDigits(at + 1);
    // 'e' or 'E'.
    if (((bytes[at] as number) | 0x20) === 0x65) {
      at++;
      if (bytes[at] === PLUS || bytes[at] === MINUS) at++;
      at = this.#skipDigits(at);
    }
    this.at = at;
  }

  /** At least one digit. */
  #skipDigits(start: number): number {
    let at = start;
    while (isDigit(this.bytes[at] as number)) at++;
    if (at === start) throw this.error("invalid-value", "a digit expected", at);
    return at;
  }
}

export function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= 0x39;
}

/** Whether an escape is well-formed whose backslash is before `at`, as far as one can tell without the next escape. */
function isEscape(bytes: Uint8Array, at: number): boolean {
  switch (bytes[at]) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f: // /
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return true;
    case 0x75: // u: its four digits are skipped as ordinary characters
      for (let digit = 1; digit <= 4; digit++) {
        if (hexDigit(bytes[at + digit] as number) < 0) return false;
      }
      return true;
    default:
      return false;
  }
}

/** A hexadecimal digit's value, -1 for any other byte. */
export function hexDigit(byte: number): number {
  if (isDigit(byte)) return byte - ZERO;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
