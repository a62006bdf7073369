import { type InvalidReason, WireError } from "../wire-error.ts";

/** Types of TBinaryProtocol, as they stand in front of a field or an element. */
export const STOP = 0;
export const BOOL = 2;
export const BYTE = 3;
export const DOUBLE = 4;
export const I16 = 6;
export const I32 = 8;
export const I64 = 10;
export const STRING = 11;
export const STRUCT = 12;
export const MAP = 13;
export const SET = 14;
export const LIST = 15;

/**
 * How many bytes a value of each type takes at least; 0 if there is no such type. Void (1) is left out on purpose: its
 * values take no bytes, so a list of two billion of them would fit in nine.
 */
const LEAST_BYTES = new Uint8Array(256);
/** The same for types whose values all take the same number of bytes; 0 for the others. */
const FIXED_BYTES = new Uint8Array(256);
for (const [type, bytes] of [[BOOL, 1], [BYTE, 1], [DOUBLE, 8], [I16, 2], [I32, 4], [I64, 8]] as const) {
  LEAST_BYTES[type] = FIXED_BYTES[type] = bytes;
}
/** A length. */
LEAST_BYTES[STRING] = 4;
/** The stop byte. */
LEAST_BYTES[STRUCT] = 1;
/** Two types and a size. */
LEAST_BYTES[MAP] = 6;
/** A type and a size. */
LEAST_BYTES[SET] = LEAST_BYTES[LIST] = 5;

/** How deep a skipped value may nest: the limit of Apache Thrift's own `skip` (`DEFAULT_RECURSION_DEPTH`). */
const MAX_DEPTH = 64;

/** The first bytes of messages that people send in place of a bare struct. */
const STRICT_MESSAGE = 0x80;
const COMPACT_MESSAGE = 0x82;
const OPEN_BRACE = 0x7b;

const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);

/** Field numbers of a {@link Struct} are below this. */
const MAX_FIELDS = 16;
/** What `ThriftInput.next` returns at the end of a struct. */
export const END = -1;

/** A struct type: which fields it has, by number, and of which types. */
export class Struct {
  readonly name: string;
  /** By field number; 0 if there is no such field. */
  readonly types: Uint8Array = new Uint8Array(MAX_FIELDS);
  /** A bit for each field that has to be there. */
  readonly required: number;

  constructor(
    name: string,
    required: Readonly<Record<number, number>>,
    optional: Readonly<Record<number, number>> = {},
  ) {
    this.name = name;
    for (const [id, type] of Object.entries({ ...required, ...optional })) this.types[Number(id)] = type;
    this.required = Object.keys(required).reduce((bits, id) => bits | 1 << Number(id), 0);
  }
}

/**
 * A body in Thrift's binary protocol, and where in it the reader is.
 *
 * No length is believed before that many bytes are there, and nothing is allocated by one. Every method that reads
 * throws a {@link WireError}: `truncated` if the body ends too early, `invalid-value` for a negative length,
 * `invalid-tag` for a type that does not exist.
 *
 * Specification: https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md
 */
export class ThriftInput {
  bytes: Uint8Array = NO_BYTES;
  view: DataView = NO_VIEW;
  /** The next byte to read. */
  at = 0;
  end = 0;
  /** What `field` has read: the field's type and number. */
  type: number = STOP;
  id = 0;
  /** The halves of the last integer of 64 bits, or of a double's bits, as signed numbers. */
  high = 0;
  low = 0;
  #start = 0;
  /** For each value around the one that is being skipped: what is left of it, and the types of what it holds. */
  readonly #enclosing = new Int32Array(3 * MAX_DEPTH);

  /** Begins with another body, `buffer[start … end)`. */
  begin(buffer: Uint8Array, start: number, end: number): void {
    this.bytes = buffer;
    this.view = new DataView(buffer.buffer, buffer.byteOffset, end);
    this.#start = this.at = start;
    this.end = end;
  }

  /** Lets go of the body. */
  release(): void {
    this.bytes = NO_BYTES;
    this.view = NO_VIEW;
    this.at = this.end = 0;
  }

  error(reason: InvalidReason, detail: string, at = this.at): WireError {
    return new WireError(reason, at - this.#start, detail);
  }

  /** Reads a field's type and number; false at the end of its struct. */
  field(): boolean {
    const at = this.at;
    const type = this.byte();
    this.type = type;
    if (type === STOP) return false;
    if (LEAST_BYTES[type] === 0) throw this.error("invalid-tag", `${this.#whatStarts(at)}, no field`, at);
    this.#need(2);
    this.id = this.view.getInt16(this.at);
    this.at += 2;
    return true;
  }

  /**
   * Goes to the next field that a struct is known to have: its number is `id`, its value is next. Returns `seen` and
   * that field's bit, or {@link END} at the end of the struct: `while ((seen = input.next(TAG, seen)) !== END) …`.
   *
   * Unknown fields are skipped, and so is an optional field of another type, as Thrift's libraries do. A required field
   * that is absent or has another type is an error, and so is a field that comes twice.
   */
  next(struct: Struct, seen: number): number {
    while (this.field()) {
      const { id, type } = this;
      const expected = id >= 0 && id < MAX_FIELDS ? struct.types[id] as number : 0;
      if (expected === 0) {
        this.skip(type);
        continue;
      }
      const bit = 1 << id;
      if ((seen & bit) !== 0) throw this.error("duplicate-field", `a second ${struct.name}.${id}`);
      if (type === expected) return seen | bit;
      if ((struct.required & bit) !== 0) {
        throw this.error("invalid-tag", `${struct.name}.${id} has type ${type}, not ${expected}`);
      }
      this.skip(type);
    }
    if ((seen & struct.required) !== struct.required) {
      throw this.error("missing-field", `a ${struct.name} without what it has to have`);
    }
    return END;
  }

  byte(): number {
    this.#need(1);
    return this.bytes[this.at++] as number;
  }

  i32(): number {
    this.#need(4);
    const value = this.view.getInt32(this.at);
    this.at += 4;
    return value;
  }

  /** Reads an integer of 64 bits, or a double's bits, into `high` and `low`. */
  i64(): void {
    this.#need(8);
    this.high = this.view.getInt32(this.at);
    this.low = this.view.getInt32(this.at + 4);
    this.at += 8;
  }

  /** Reads the length of a string and goes behind the string. Returns its length: it ends at `at`. */
  string(): number {
    const at = this.at;
    const length = this.i32();
    if (length < 0) throw this.error("invalid-value", `a string of ${length} bytes`, at);
    if (length > this.end - this.at) throw this.error("truncated", `a string of ${length} bytes is cut`, at);
    this.at += length;
    return length;
  }

  /** Reads what is in front of a list of structs, and returns how many follow. */
  structs(what: string): number {
    const at = this.at;
    const type = this.byte();
    const size = this.#size(type);
    if (size > 0 && type !== STRUCT) throw this.error("invalid-tag", `${what} are not structs`, at);
    return size;
  }

  /** Skips a value of a type, without recursion. */
  skip(type: number): void {
    const enclosing = this.#enclosing;
    let depth = 0;
    for (;;) {
      if (depth === MAX_DEPTH) throw this.error("too-deep", `a value nests more than ${MAX_DEPTH} deep`);
      const level = 3 * depth;
      switch (type) {
        case STRING:
          this.string();
          break;
        case STRUCT:
          // A struct has no number of fields: it goes on until its stop byte.
          enclosing[level] = -1;
          depth++;
          break;
        case LIST:
        case SET:
          enclosing[level + 1] = enclosing[level + 2] = type = this.byte();
          enclosing[level] = this.#size(type);
          if (FIXED_BYTES[type] === 0) depth++;
          else this.at += (enclosing[level] as number) * (FIXED_BYTES[type] as number);
          break;
        case MAP: {
          const key = enclosing[level + 1] = this.byte();
          const value = enclosing[level + 2] = this.byte();
          const size = this.#size(key);
          if (size > 0) this.#checkElement(value);
          // Keys and values in turn.
          enclosing[level] = 2 * size;
          depth++;
          break;
        }
        default:
          this.#checkElement(type);
          this.#need(FIXED_BYTES[type] as number);
          this.at += FIXED_BYTES[type] as number;
      }
      // The next value to skip; what has come to its end is left.
      for (;;) {
        if (depth === 0) return;
        const around = 3 * (depth - 1);
        const left = enclosing[around] as number;
        if (left < 0) {
          if (this.field()) {
            type = this.type;
            break;
          }
        } else if (left > 0) {
          enclosing[around] = left - 1;
          type = enclosing[around + 1 + (left & 1)] as number;
          break;
        }
        depth--;
      }
    }
  }

  /** Reads how many elements of a type follow. The bytes that they take at least are there. */
  #size(type: number): number {
    const at = this.at;
    const size = this.i32();
    if (size < 0) throw this.error("invalid-value", `a list of ${size} elements`, at);
    if (size === 0) return 0;
    this.#checkElement(type);
    if (size * (LEAST_BYTES[type] as number) > this.end - this.at) {
      throw this.error("truncated", `a list of ${size} elements is cut`, at);
    }
    return size;
  }

  #checkElement(type: number): void {
    if (LEAST_BYTES[type] === 0) throw this.error("invalid-tag", `values of type ${type}`);
  }

  #need(bytes: number): void {
    if (this.end - this.at < bytes) throw this.error("truncated", "the body ends in the middle", this.end);
  }

  /** What a byte that begins no field may begin, for the error. */
  #whatStarts(at: number): string {
    if (at === this.#start) {
      switch (this.bytes[at]) {
        case STRICT_MESSAGE:
          return "a Thrift message instead of a bare struct";
        case COMPACT_MESSAGE:
          return "Thrift's compact protocol instead of the binary one";
        case OPEN_BRACE:
          return "JSON instead of Thrift";
      }
    }
    return `type ${this.bytes[at]}`;
  }
}
