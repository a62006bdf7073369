import { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import { type JsonInput, Literal } from "./json-input.ts";
import { readString } from "./json-string.ts";

const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Names of members or variants, found by their bytes. */
export class Names {
  readonly list: readonly string[];
  readonly #bytes: readonly Uint8Array[];

  constructor(list: readonly string[]) {
    const encoder = new TextEncoder();
    this.list = list;
    this.#bytes = list.map((name) => encoder.encode(name));
  }

  /** Which name `buffer[start … end)` is; -1 for none. */
  find(buffer: Uint8Array, start: number, end: number): number {
    const names = this.#bytes;
    for (let index = 0; index < names.length; index++) {
      const name = names[index] as Uint8Array;
      if (name.length !== end - start) continue;
      let at = 0;
      while (at < name.length && name[at] === buffer[start + at]) at++;
      if (at === name.length) return index;
    }
    return -1;
  }
}

/** A Rust struct: its members in the order of their declaration, which is the order in which agents write them. */
export class Struct {
  readonly names: Names;
  /** Each member's name as agents write it, with what comes before and after: `{"first":`, `,"second":`. */
  readonly heads: readonly Literal[];
  /** Whether members that it does not have are refused (serde's `deny_unknown_fields`) and not skipped. */
  readonly closed: boolean;

  constructor(names: readonly string[], closed = false) {
    this.names = new Names(names);
    this.heads = names.map((name, index) => new Literal(`${index === 0 ? "{" : ","}"${name}":`));
    this.closed = closed;
  }
}

/** How the members of a struct that is being read are found. */
const IN_ORDER = 0;
/** Their values' positions are known. */
const INDEXED = 1;
/** As the elements of an array, which serde takes for a struct too. */
const ARRAY = 2;

/** Structs within structs in a span: span, events, event, attribute. */
const MAX_DEPTH = 4;
/** Numbers for a struct that is being read: up to twelve members' positions, and where it ends. */
const STRIDE = 13;
const END = 12;

/**
 * Reads structs member by member, in the order of declaration, whatever order they come in.
 *
 * `enter(struct)`, then for each member `member(struct, index)` and the reading of its value, then `leave(struct)`.
 * While members come in that order the input is read once. From the first that does not, the rest of the struct is
 * skipped over to find where each member is, and read afterwards: so each byte is skipped at most once for each struct
 * it is in, and read once.
 *
 * As serde has it, a struct may be an array of its members, unknown members are skipped (but in a closed struct), and
 * a member that comes twice is `duplicate-field`.
 */
export class StructReader {
  readonly #input: JsonInput;
  /** Names that are not as agents write them are decoded behind what is written here. */
  #output = new ProtobufWriter(0);
  #depth = -1;
  readonly #modes = new Uint8Array(MAX_DEPTH);
  readonly #index = new Int32Array(MAX_DEPTH * STRIDE);

  constructor(input: JsonInput) {
    this.#input = input;
  }

  /** Begins with another payload; forgets structs that were left half read. */
  begin(output: ProtobufWriter): void {
    this.#output = output;
    this.#depth = -1;
  }

  /** Begins a struct. */
  enter(): void {
    const input = this.#input;
    const depth = ++this.#depth;
    this.#modes[depth] = IN_ORDER;
    if (input.bytes[input.at] === OPEN_BRACE) return;
    const byte = input.peek();
    if (byte === OPEN_BRACE) return;
    if (byte !== OPEN_BRACKET) throw input.error("invalid-value", "an object expected");
    this.#modes[depth] = ARRAY;
    input.at++;
  }

  /** Goes to the value of a member that must be there, else `missing-field`. */
  member(struct: Struct, index: number): void {
    const heads = struct.heads[index] as Literal;
    if (this.#modes[this.#depth] === IN_ORDER && this.#input.matches(heads)) return;
    if (!this.#find(struct, index)) {
      throw this.#input.error("missing-field", `no member "${struct.names.list[index]}"`);
    }
  }

  /** Goes to the value of a member that may be left out, as serde has it for an `Option`; false where it is. */
  optionalMember(struct: Struct, index: number): boolean {
    const heads = struct.heads[index] as Literal;
    return this.#modes[this.#depth] === IN_ORDER && this.#input.matches(heads) ||
      this.#find(struct, index);
  }

  /** Ends a struct whose members have all been read, and goes behind it. */
  leave(struct: Struct): void {
    const input = this.#input;
    const depth = this.#depth--;
    const mode = this.#modes[depth];
    if (mode === INDEXED) {
      input.at = this.#index[depth * STRIDE + END] as number;
    } else if (mode === ARRAY) {
      input.expect(CLOSE_BRACKET);
    } else if (input.bytes[input.at] === CLOSE_BRACE) {
      input.at++;
    } else {
      // White space, or members that the struct does not have.
      while (input.more(CLOSE_BRACE, false)) {
        const start = input.at;
        const found = this.#name(struct);
        if (found >= 0) throw this.#duplicate(struct, found, start);
        input.skipValue();
      }
    }
  }

  /**
   * Reads the name of a variant of an enum. Throws `invalid-tag` for one that is none of `names`; returns which it is.
   */
  variant(names: Names): number {
    const start = (this.#input.peek(), this.#input.at);
    const variant = this.#string(names);
    if (variant < 0) throw this.#input.error("invalid-tag", "an unknown variant", start);
    return variant;
  }

  /** Reads a variant that has no value: its name, or as serde also takes it, `{"name":null}`. */
  unitVariant(names: Names): number {
    const input = this.#input;
    if (input.peek() !== OPEN_BRACE) return this.variant(names);
    input.at++;
    const variant = this.variant(names);
    input.expect(COLON);
    if (!input.skipNull()) throw input.error("invalid-value", "null expected");
    input.expect(CLOSE_BRACE);
    return variant;
  }

  /** The way to a member whose name is not simply next. */
  #find(struct: Struct, index: number): boolean {
    const input = this.#input;
    const mode = this.#modes[this.#depth];
    if (mode === ARRAY) {
      if (input.more(CLOSE_BRACKET, index === 0)) return true;
      // One element too few is too few for an `Option` too.
      input.at--;
      throw input.error("missing-field", `no element "${struct.names.list[index]}"`);
    }
    if (mode === IN_ORDER && this.#search(struct, index)) return true;
    const at = this.#index[this.#depth * STRIDE + index] as number;
    if (at === 0) return false;
    input.at = at;
    return true;
  }

  /**
   * Reads on to the member `expected`, past white space and members that the struct does not have: true. Where another
   * one comes first, or the end, it notes where each of the members that follow is: false.
   */
  #search(struct: Struct, expected: number): boolean {
    const input = this.#input;
    const index = this.#index;
    const base = this.#depth * STRIDE;
    let first = expected === 0;
    if (first) input.at++;
    index.fill(0, base, base + STRIDE);
    let ordered = true;
    while (input.more(CLOSE_BRACE, first)) {
      first = false;
      const start = input.at;
      const found = this.#name(struct);
      if (found === expected && ordered) return true;
      if (found >= 0) {
        // The members before the expected one have been read.
        if (found < expected || index[base + found] !== 0) {
          throw this.#duplicate(struct, found, start);
        }
        ordered = false;
        index[base + found] = input.at;
      }
      input.skipValue();
    }
    index[base + END] = input.at;
    this.#modes[this.#depth] = INDEXED;
    return false;
  }

  /** Reads a member's name and goes to its value; returns which it is, -1 for none that the struct has. */
  #name(struct: Struct): number {
    const input = this.#input;
    const start = input.at;
    const name = this.#string(struct.names);
    if (name < 0 && struct.closed) throw input.error("invalid-value", "an unknown member", start);
    input.expect(COLON);
    input.peek();
    return name;
  }

  #duplicate(struct: Struct, index: number, at: number): Error {
    return this.#input.error(
      "duplicate-field",
      `a second member "${struct.names.list[index]}"`,
      at,
    );
  }

  /** Reads a string and returns which of the names it is. */
  #string(names: Names): number {
    const output = this.#output;
    const start = output.position;
    readString(this.#input, output);
    const name = names.find(output.buffer, start, output.position);
    output.position = start;
    return name;
  }
}
