import { CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, OPEN_BRACE, OPEN_BRACKET } from "./characters.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { type JsonInput, Literal, SPACE } from "./input.ts";
import { readString } from "./string.ts";

/** Names of members or variants, found by their bytes. */
export class Names {
  readonly list: readonly string[];
  readonly #bytes: readonly Uint8Array[];
  /** The names as agents write them. */
  readonly #quoted: readonly Literal[];
  /** What these begin with, which tells nearly all of them apart. */
  readonly #firstWords: Int32Array;

  constructor(list: readonly string[]) {
    const encoder = new TextEncoder();
    this.list = list;
    this.#bytes = list.map((name) => encoder.encode(name));
    this.#quoted = list.map((name) => new Literal(`"${name}"`));
    this.#firstWords = Int32Array.from(this.#quoted, ({ words }) => words[0] as number);
  }

  /** Skips a name if it is next and has no escapes, and returns which it is; else -1. */
  skip(input: JsonInput): number {
    const words = this.#firstWords;
    const word = input.view.getInt32(input.at, true);
    for (let index = 0; index < words.length; index++) {
      if (words[index] === word && input.matches(this.#quoted[index] as Literal)) return index;
    }
    return -1;
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

/** A member of a {@link Struct}. */
export interface Member {
  readonly struct: Struct;
  /** Its place in the order of declaration. */
  readonly index: number;
  readonly name: string;
  /** Its name as agents write it, with what comes before and after: `{"first":`, `,"second":`. */
  readonly head: Literal;
}

/** A Rust struct: its members in the order of their declaration, which is the order in which agents write them. */
export class Struct {
  names = new Names([]);
  /** Whether members that it does not have are refused (serde's `deny_unknown_fields`) and not skipped. */
  readonly closed: boolean;

  constructor(options: { readonly closed?: boolean } = {}) {
    this.closed = options.closed ?? false;
  }

  /** Declares the next member. */
  member(name: string): Member {
    const index = this.names.list.length;
    this.names = new Names([...this.names.list, name]);
    return {
      struct: this,
      index,
      name,
      head: new Literal(`${index === 0 ? "{" : ","}"${name}":`),
    };
  }
}

/** Structs within structs in a span: span, events, event, attribute. */
const MAX_DEPTH = 4;
/** Numbers for a struct that is being read: where its members' values are, up to twelve, and where it ends. */
const STRIDE = 13;
const END = 12;
/** In the place of where a struct ends: it is an object that is read in order, or an array, which always is. */
const IN_ORDER = 0;
const ARRAY = -1;

/**
 * Reads structs member by member, in the order of declaration, whatever order they come in.
 *
 * `enter(struct)`, then for each member `member(…)` and the reading of its value, then `leave(struct)`.
 * While members come in that order the input is read once. From the first that does not, the rest of the struct is
 * skipped over to index where each member is, and read afterwards: so each byte is skipped at most once for each struct
 * it is in, and read once.
 *
 * As serde has it, a struct may be an array of all its members, unknown members are skipped (but in a closed struct),
 * and a member that comes twice is `duplicate-field`.
 */
export class StructReader {
  readonly #input: JsonInput;
  /** Names that are not as agents write them are decoded behind what is written here. */
  #output = new ProtobufWriter(0);
  #depth = -1;
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
    const end = ++this.#depth * STRIDE + END;
    this.#index[end] = IN_ORDER;
    const byte = input.peek();
    if (byte === OPEN_BRACE) return;
    if (byte !== OPEN_BRACKET) throw input.error("invalid-value", "an object expected");
    input.at++;
    this.#index[end] = ARRAY;
  }

  /** Goes to the value of a member that must be there, else `missing-field`. */
  member(member: Member): void {
    if (!this.optionalMember(member)) {
      throw this.#input.error("missing-field", `no member "${member.name}"`);
    }
  }

  /** Goes to the value of a member that may be left out, as serde has it for an `Option`; false where it is. */
  optionalMember(member: Member): boolean {
    if (this.#index[this.#depth * STRIDE + END] === ARRAY) return this.#element(member);
    // What follows the member before it is the right one even where the struct has an index.
    return this.#input.matches(member.head) || this.#find(member);
  }

  /** Skips text that begins with a member's name, if the struct goes on with it exactly. */
  matches(text: Literal): boolean {
    // In an array it would not be JSON.
    return this.#index[this.#depth * STRIDE + END] !== ARRAY && this.#input.matches(text);
  }

  /** Ends a struct whose members have all been read, and goes behind it. */
  leave(struct: Struct): void {
    const input = this.#input;
    const end = this.#index[this.#depth-- * STRIDE + END] as number;
    if (end === ARRAY) {
      if (input.more(CLOSE_BRACKET, false)) {
        throw input.error("invalid-value", `more than ${struct.names.list.length} elements`);
      }
    } else if (end !== IN_ORDER) input.at = end;
    else if (input.bytes[input.at] === CLOSE_BRACE) input.at++;
    else {
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
   * Skips the rest of a struct and leaves it, if it goes on exactly as `rest`: what is so in nearly all spans need not
   * be read member by member.
   */
  leaveWith(rest: Literal): boolean {
    if (!this.matches(rest)) return false;
    this.#depth--;
    return true;
  }

  /**
   * Reads the name of a variant of an enum and returns which it is. Throws `invalid-tag` if it is not among `names`.
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

  /** Goes to the value of a member in an array, which has those, too, that may be left out of an object. */
  #element(member: Member): boolean {
    const input = this.#input;
    const { bytes, at } = input;
    // As most arrays are: a comma, and a value without space before it.
    const next = bytes[at + 1] as number;
    if (bytes[at] === COMMA && member.index > 0 && next > SPACE && next !== CLOSE_BRACKET) {
      input.at = at + 1;
      return true;
    }
    if (input.more(CLOSE_BRACKET, member.index === 0)) return true;
    throw input.error("missing-field", `no element "${member.name}"`, input.at - 1);
  }

  /** The way to a member whose name is not simply next. */
  #find(member: Member): boolean {
    const input = this.#input;
    const base = this.#depth * STRIDE;
    if (this.#index[base + END] === IN_ORDER && this.#search(member)) return true;
    const at = this.#index[base + member.index] as number;
    // Where it is absent, what follows next is the struct's end, and not what may follow the struct.
    input.at = at !== 0 ? at : this.#index[base + END] as number - 1;
    return at !== 0;
  }

  /**
   * Reads on to a member, past white space and members that the struct does not have: true. Where another one comes
   * first, or the end, it indexes the members that follow: false.
   */
  #search(member: Member): boolean {
    const input = this.#input;
    const index = this.#index;
    const base = this.#depth * STRIDE;
    const struct = member.struct;
    let first = member.index === 0;
    if (first) input.at++;
    index.fill(0, base, base + STRIDE);
    let inOrder = true;
    while (input.more(CLOSE_BRACE, first)) {
      first = false;
      const start = input.at;
      const found = this.#name(struct);
      if (found === member.index && inOrder) return true;
      if (found >= 0) {
        // The members before this one have been read.
        if (found < member.index || index[base + found] !== 0) {
          throw this.#duplicate(struct, found, start);
        }
        inOrder = false;
        index[base + found] = input.at;
      }
      input.skipValue();
    }
    index[base + END] = input.at;
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

  /** Reads a string and returns which of the names it is, -1 for none. */
  #string(names: Names): number {
    const usual = names.skip(this.#input);
    if (usual >= 0) return usual;
    const output = this.#output;
    const start = output.position;
    readString(this.#input, output);
    const name = names.find(output.buffer, start, output.position);
    output.position = start;
    return name;
  }
}
