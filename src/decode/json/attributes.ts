import { CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, MINUS, OPEN_BRACE, OPEN_BRACKET, ZERO } from "./characters.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import * as tag from "../../otlp/trace-fields.ts";
import { AttributeMap } from "../attribute-map.ts";
import { NAN_TEXT } from "../canonical.ts";
import { type JsonInput, Literal, SPACE } from "./input.ts";
import { readDouble, readInt64 } from "./number.ts";
import * as data from "./span-data.ts";
import { readString } from "./string.ts";
import type { StructReader } from "./struct.ts";

/** What `null` begins with. */
const LETTER_N = 0x6e;
/** Digits of a number below 2^31, whatever they are. */
const SHORT_DIGITS = 9;
/** An `AnyValue` with a double: a tag and 64 bits. */
const DOUBLE_BYTES = 9;
/** The length of a shorter text, and that of an `AnyValue` with it, take one byte. */
const MOST_SHORT_TEXT = 0x7e;

/** The values' variants as agents write them, with what comes before and after. */
const VALUE_HEADS = data.VALUES.list.map((name) => new Literal(`{"${name}":`));
/** Which of them the letter after `{"` promises. */
const VALUE_LETTERS = new Uint8Array(256);
data.VALUES.list.forEach((name, value) => VALUE_LETTERS[name.charCodeAt(0)] = value);

/** Reads attributes and writes them as `KeyValue` fields. */
export class AttributeReader {
  readonly #input: JsonInput;
  readonly #structs: StructReader;
  readonly #map = new AttributeMap();
  #output = new ProtobufWriter(0);

  constructor(input: JsonInput, structs: StructReader) {
    this.#input = input;
    this.#structs = structs;
  }

  /** Begins with another payload. */
  begin(output: ProtobufWriter): void {
    this.#output = output;
  }

  /** A map of attributes, `{"key":value,…}`. */
  map(field: number): void {
    const input = this.#input;
    const output = this.#output;
    const map = this.#map;
    input.expect(OPEN_BRACE);
    map.begin(output);
    for (let first = true; input.more(CLOSE_BRACE, first); first = false) {
      const content = output.openMessage(field);
      const keyLength = this.#key();
      const keyEnd = output.position;
      input.expect(COLON);
      this.#value();
      const moved = output.closeMessage(content);
      map.add(content - 2, keyEnd - keyLength + moved, keyLength);
    }
    map.end();
  }

  /** A list of attributes, `[{"key":…,"value":…},…]`. */
  list(field: number): void {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output;
    input.expect(OPEN_BRACKET);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      const content = output.openMessage(field);
      structs.enter();
      structs.member(data.KEY_VALUE_KEY);
      this.#key();
      structs.member(data.KEY_VALUE_VALUE);
      this.#value();
      structs.leave(data.KEY_VALUE_STRUCT);
      output.closeMessage(content);
    }
  }

  /** Writes an attribute's key; returns its length, which is 0 where it is left out. */
  #key(): number {
    const output = this.#output;
    const content = output.openMessage(tag.KEY_VALUE_KEY);
    readString(this.#input, output);
    const length = output.position - content;
    if (length === 0) output.position = content - 2;
    else output.closeMessage(content);
    return length;
  }

  /** An attribute's value, `{"I64":5}`. */
  #value(): void {
    const input = this.#input;
    const output = this.#output;
    const content = output.openMessage(tag.KEY_VALUE_VALUE);
    const variant = this.#variant();
    if (variant === data.ARRAY) this.#array();
    else this.#scalar(variant);
    input.expect(CLOSE_BRACE);
    output.closeMessage(content);
  }

  /** An array of values of one kind, `{"I64":[5,6]}`. */
  #array(): void {
    const input = this.#input;
    const output = this.#output;
    const start = (input.peek(), input.at);
    const variant = this.#variant();
    if (variant === data.ARRAY) throw input.error("invalid-tag", "an array of arrays", start);
    const content = output.openMessage(tag.ANY_VALUE_ARRAY);
    input.expect(OPEN_BRACKET);
    const room = input.outputBytes;
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      output.reserve(room);
      if (variant === data.I64 && this.#shortInteger()) continue;
      if (variant === data.F64 && input.bytes[input.at] !== LETTER_N) {
        this.#double();
        continue;
      }
      if (variant === data.STRING) {
        this.#string();
        continue;
      }
      const element = output.openMessage(tag.ARRAY_VALUE_VALUES);
      this.#scalar(variant);
      output.closeMessage(element);
    }
    input.expect(CLOSE_BRACE);
    output.closeMessage(content);
  }

  // Numbers of arrays cost the most a byte, so what is known of an element's length is written at once. There is room.

  /** An array's integer of few digits. False if the next one is another. */
  #shortInteger(): boolean {
    const input = this.#input;
    const { bytes } = input;
    const isNegative = bytes[input.at] === MINUS;
    const first = isNegative ? input.at + 1 : input.at;
    let at = first;
    let value = 0;
    let digit = (bytes[at] as number) - ZERO;
    while (digit >= 0 && digit <= 9 && at < first + SHORT_DIGITS) {
      value = value * 10 + digit;
      digit = (bytes[++at] as number) - ZERO;
    }
    const next = bytes[at] as number;
    if (at === first || (next !== COMMA && next !== CLOSE_BRACKET && next > SPACE)) return false;
    // Neither 01 nor -0 is an integer.
    if (bytes[first] === ZERO && (isNegative || at > first + 1)) return false;
    input.at = at;
    const output = this.#output;
    const { buffer, position } = output;
    buffer[position] = tag.ARRAY_VALUE_VALUES;
    buffer[position + 2] = tag.ANY_VALUE_INT;
    let to = position + 3;
    if (isNegative) {
      // Ten bytes, the last five of which are of the upper bits, which are all set.
      value = -value;
      for (let shift = 0; shift < 35; shift += 7) buffer[to++] = (value >> Math.min(shift, 31)) | 0x80;
      output.view.setInt32(to, -1);
      buffer[to + 4] = 1;
      to += 5;
    } else {
      for (; value > 0x7f; value >>>= 7) buffer[to++] = value | 0x80;
      buffer[to++] = value;
    }
    buffer[position + 1] = to - position - 2;
    output.position = to;
    return true;
  }

  /** An array's double. */
  #double(): void {
    const output = this.#output;
    const { buffer, view, position } = output;
    buffer[position] = tag.ARRAY_VALUE_VALUES;
    buffer[position + 1] = DOUBLE_BYTES;
    buffer[position + 2] = tag.ANY_VALUE_DOUBLE;
    view.setFloat64(position + 3, readDouble(this.#input), true);
    output.position = position + 2 + DOUBLE_BYTES;
  }

  /** An array's string. */
  #string(): void {
    const output = this.#output;
    const { position } = output;
    const content = position + 4;
    output.position = content;
    readString(this.#input, output);
    const length = output.position - content;
    const { buffer } = output;
    buffer[position] = tag.ARRAY_VALUE_VALUES;
    buffer[position + 2] = tag.ANY_VALUE_STRING;
    if (length < MOST_SHORT_TEXT) {
      buffer[position + 1] = length + 2;
      buffer[position + 3] = length;
    } else {
      output.closeMessage(content);
      output.closeMessage(position + 2);
    }
  }

  /** Reads the beginning of an enum's variant that has a value, up to the value. */
  #variant(): number {
    const input = this.#input;
    const likely = VALUE_LETTERS[input.bytes[input.at + 2] as number] as number;
    if (input.matches(VALUE_HEADS[likely] as Literal)) return likely;
    input.expect(OPEN_BRACE);
    const variant = this.#structs.variant(data.VALUES);
    input.expect(COLON);
    return variant;
  }

  /** The content of an `AnyValue` that is not an array. */
  #scalar(variant: number): void {
    const input = this.#input;
    const output = this.#output;
    switch (variant) {
      case data.BOOL:
        output.byte(tag.ANY_VALUE_BOOL);
        output.byte(input.boolean() ? 1 : 0);
        break;
      case data.I64:
        readInt64(input);
        output.byte(tag.ANY_VALUE_INT);
        output.varint64(input.low, input.high);
        break;
      case data.F64:
        if (input.skipNull()) {
          const content = output.openMessage(tag.ANY_VALUE_STRING);
          output.bytes(NAN_TEXT);
          output.closeMessage(content);
          break;
        }
        output.byte(tag.ANY_VALUE_DOUBLE);
        output.reserve(8);
        output.view.setFloat64(output.position, readDouble(input), true);
        output.position += 8;
        break;
      default: {
        const content = output.openMessage(tag.ANY_VALUE_STRING);
        readString(input, output);
        output.closeMessage(content);
      }
    }
  }
}
