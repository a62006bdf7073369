import { Buffer } from "node:buffer";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { ANY_VALUE_DOUBLE } from "../../otlp/trace-fields.ts";
import { MAX_MESSAGE_DEPTH } from "../canonical.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COLON, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "../json/characters.ts";
import { hexDigit, JsonInput } from "../json/input.ts";
import { STEP_BYTES } from "../large-payloads.ts";
import { readDouble, readInt64, readUint64 } from "../json/number.ts";
import { readString } from "../json/string.ts";
import type { RejectedSpans } from "../otlp/lenient.ts";
import * as form from "../otlp/messages.ts";
import { WireError } from "../wire-error.ts";
import { type JsonField, type JsonShape, REQUEST_SHAPE } from "./names.ts";

/** The messages that spans lie in, below the request. */
const AROUND_SPANS: ReadonlySet<unknown> = new Set([form.RESOURCE_SPANS, form.SCOPE_SPANS]);

/** What a string may become more than it has, while it is copied a word at a time; see `readString`. */
const STRING_SLACK = 16;

/** Doubles that JSON has no number for. */
const NON_FINITE: Readonly<Record<string, number>> = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };
/** A number as JSON has it. */
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
/** Base64 in either alphabet, padded or not. */
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/**
 * Writes a request in JSON as one in protobuf, field by field in their order. What the fields hold is left to the
 * decoder of protobuf to check, but for what has no form there, such as an ID that is not hexadecimal.
 */
export class RequestWriter {
  readonly #input = new JsonInput();
  /** A name, or a string that becomes something else. */
  readonly #text = new ProtobufWriter(256);
  #output: ProtobufWriter = this.#text;
  #rejected: RejectedSpans = new Map();
  /** Where in the input the step began. */
  #stepStart = 0;

  /** Appends the request in protobuf, in steps. Returns how many spans were left out because they cannot be read. */
  *write(buffer: Uint8Array, start: number, end: number, output: ProtobufWriter): Generator<void, RejectedSpans> {
    const input = this.#input;
    this.#output = output;
    this.#rejected = new Map();
    this.#stepStart = 0;
    input.load(buffer, start, end);
    yield;
    yield* this.#outerMessage(REQUEST_SHAPE, 1);
    input.peek();
    if (input.at !== input.end) {
      throw input.error("trailing-bytes", `${input.end - input.at} bytes after the request`);
    }
    return this.#rejected;
  }

  /** A message that is around spans, in steps. */
  *#outerMessage(shape: JsonShape, depth: number): Generator<void> {
    const input = this.#input;
    input.expect(OPEN_BRACE);
    let seen = 0;
    for (let first = true; input.more(CLOSE_BRACE, first); first = false) {
      const known = this.#name(shape, seen);
      if (known === undefined) continue;
      seen |= known.field.bit;
      if (AROUND_SPANS.has(known.field.message)) yield* this.#outerList(known, depth);
      else if (known.field.message === form.SPAN) yield* this.#spans(known, depth);
      else this.#field(known, depth);
    }
  }

  *#outerList({ number, field, shape }: JsonField, depth: number): Generator<void> {
    const input = this.#input;
    const output = this.#output;
    input.expect(OPEN_BRACKET);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      const content = output.openMessage(number << 3 | field.wireType);
      yield* this.#outerMessage(shape as JsonShape, depth + 1);
      output.closeMessage(content);
    }
  }

  *#spans(known: JsonField, depth: number): Generator<void> {
    const input = this.#input;
    input.expect(OPEN_BRACKET);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      this.#span(known, depth);
      if (input.at - this.#stepStart < STEP_BYTES) continue;
      this.#stepStart = input.at;
      yield;
    }
  }

  /** An object as the content of a message, the `depth`th of those that are in each other. */
  #message(shape: JsonShape, depth: number): void {
    const input = this.#input;
    if (depth > MAX_MESSAGE_DEPTH) {
      throw input.error("too-deep", `messages nest more than ${MAX_MESSAGE_DEPTH} deep`);
    }
    input.expect(OPEN_BRACE);
    let seen = 0;
    for (let first = true; input.more(CLOSE_BRACE, first); first = false) {
      const known = this.#name(shape, seen);
      if (known === undefined) continue;
      seen |= known.field.bit;
      this.#field(known, depth);
    }
  }

  /**
   * The field of the name that is next, before its value; undefined if there is nothing to be written for it, and its
   * value is skipped then.
   *
   * @param seen the bits of the message's fields so far.
   */
  #name(shape: JsonShape, seen: number): JsonField | undefined {
    const input = this.#input;
    const at = input.at;
    const known = shape.fields.get(this.#string());
    input.expect(COLON);
    if (known === undefined) {
      input.skipValue();
      return undefined;
    }
    if (input.skipNull()) return undefined;
    // The members of a oneof may not come together either.
    if ((seen & known.field.bit) !== 0) throw input.error("duplicate-field", "a field comes twice", at);
    return known;
  }

  #field(known: JsonField, depth: number): void {
    if (known.field.once !== 0) return this.#value(known, depth);
    const input = this.#input;
    input.expect(OPEN_BRACKET);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) this.#value(known, depth);
  }

  /** A span: what is wrong in it costs it alone, as long as it is JSON. */
  #span(known: JsonField, depth: number): void {
    const input = this.#input;
    const output = this.#output;
    const start = (input.peek(), input.at);
    const before = output.position;
    try {
      this.#value(known, depth);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      input.at = start;
      output.position = before;
      input.skipValue();
      this.#rejected.set(error.reason, (this.#rejected.get(error.reason) ?? 0) + 1);
    }
  }

  /** One value as one field. */
  #value({ number, field, shape, enumNames }: JsonField, depth: number): void {
    const input = this.#input;
    const output = this.#output;
    const tag = number << 3 | field.wireType;
    switch (field.kind) {
      case form.MESSAGE: {
        const content = output.openMessage(tag);
        this.#message(shape as JsonShape, depth + 1);
        output.closeMessage(content);
        return;
      }
      case form.TEXT: {
        const content = output.openMessage(tag);
        output.reserve(input.end - input.at + STRING_SLACK);
        readString(input, output);
        output.closeMessage(content);
        return;
      }
      case form.BYTES:
        output.lengthDelimited(number, this.#base64());
        return;
      case form.ID:
        output.lengthDelimited(number, this.#hex());
        return;
      case form.BOOL:
        output.varint(tag);
        output.byte(input.boolean() ? 1 : 0);
        return;
      case form.ENUM:
        output.varint(tag);
        this.#enum(enumNames ?? []);
        return;
      case form.DOUBLE:
        this.#double(tag);
        return;
      case form.INT64:
        this.#int64(tag);
        return;
      default:
        this.#integer(tag, field.kind);
    }
  }

  /**
   * `AnyValue.int_value`. OpenTelemetry for JavaScript also writes a number so that is beyond 64 bits, because it has
   * no fraction: `1e+21`. It is a double.
   */
  #int64(tag: number): void {
    const input = this.#input;
    const start = (input.peek(), input.at);
    try {
      this.#integer(tag, form.INT64);
    } catch (error) {
      if (!(error instanceof WireError) || input.bytes[start] === QUOTE) throw error;
      input.at = start;
      this.#double(ANY_VALUE_DOUBLE);
    }
  }

  /** An integer: a number, or a string with one. */
  #integer(tag: number, kind: form.Kind): void {
    const input = this.#input;
    const output = this.#output;
    const isQuoted = input.peek() === QUOTE;
    const start = input.at;
    if (isQuoted) {
      input.at++;
      // Within quotation marks there is no white space.
      if ((input.bytes[input.at] as number) <= 0x20) throw input.error("invalid-value", "a number expected");
    }
    if (kind === form.INT64) readInt64(input);
    else readUint64(input);
    const { low, high } = input;
    if (isQuoted && input.bytes[input.at++] !== QUOTE) throw input.error("invalid-value", "a number expected", start);
    if (kind !== form.INT64 && kind !== form.TIME && high !== 0) {
      throw input.error("invalid-value", "a number over 32 bits", start);
    }
    output.varint(tag);
    if (kind === form.TIME) output.fixed64(low, high);
    else if (kind === form.FLAGS) output.fixed32(low);
    else output.varint64(low, high);
  }

  #enum(names: readonly string[]): void {
    const input = this.#input;
    if (input.peek() !== QUOTE) {
      readInt64(input);
      this.#output.varint64(input.low, input.high);
      return;
    }
    const start = input.at;
    const value = names.indexOf(this.#string());
    if (value < 0) throw input.error("invalid-value", "no name of a value", start);
    this.#output.byte(value);
  }

  #double(tag: number): void {
    const input = this.#input;
    const output = this.#output;
    let value: number;
    if (input.peek() !== QUOTE) value = readDouble(input);
    else {
      const start = input.at;
      const text = this.#string();
      const named = NON_FINITE[text];
      if (named === undefined && !NUMBER.test(text)) throw input.error("invalid-value", "no number", start);
      value = named ?? Number(text);
    }
    output.varint(tag);
    output.reserve(8);
    output.view.setFloat64(output.position, value, true);
    output.position += 8;
  }

  /** An ID, in digits of either case. */
  #hex(): Uint8Array {
    const input = this.#input;
    const start = (input.peek(), input.at);
    const text = this.#bytes();
    const id = new Uint8Array(text.length >> 1);
    let isHex = text.length % 2 === 0;
    for (let i = 0; i < id.length; i++) {
      const high = hexDigit(text[2 * i] as number);
      const low = hexDigit(text[2 * i + 1] as number);
      if (high < 0 || low < 0) isHex = false;
      id[i] = high << 4 | low;
    }
    if (!isHex) throw input.error("invalid-value", "an ID is not hexadecimal", start);
    return id;
  }

  #base64(): Uint8Array {
    const input = this.#input;
    const start = (input.peek(), input.at);
    const text = this.#string();
    if (!BASE64.test(text)) throw input.error("invalid-value", "bytes are not base64", start);
    return Buffer.from(text, "base64");
  }

  /** A string, of which mostly only few are expected. */
  #string(): string {
    const input = this.#input;
    if (input.peek() !== QUOTE) throw input.error("invalid-value", "a string expected");
    // Names have neither escapes nor anything but ASCII, so that their bytes are their text.
    const start = input.at + 1;
    let at = start;
    for (let byte; (byte = input.bytes[at] as number) !== QUOTE; at++) {
      if (byte === BACKSLASH || byte < 0x20 || byte > 0x7e) return new TextDecoder().decode(this.#bytes());
    }
    input.at = at;
    const text = input.textSince(start);
    input.at++;
    return text;
  }

  /** A string's bytes in UTF-8, valid until the next one. */
  #bytes(): Uint8Array {
    const text = this.#text;
    text.clear();
    // Not for all that is left: so large a buffer is given back when it is cleared, and made anew for the next string.
    text.reserve(this.#stringBytes() + STRING_SLACK);
    readString(this.#input, text);
    return text.buffer.subarray(0, text.position);
  }

  /** How many bytes the string that is next has at most. */
  #stringBytes(): number {
    const { bytes, at, end } = this.#input;
    let close = at + 1;
    while (close < end && bytes[close] !== QUOTE) close += bytes[close] === BACKSLASH ? 2 : 1;
    return Math.min(close, end) - at;
  }
}
