import { ANY_VALUE_STRING } from "../../otlp/trace-fields.ts";
import { copyBytes } from "../../otlp/put-bytes.ts";
import { type ProtobufWriter, varintSize } from "../../otlp/protobuf-writer.ts";
import { isNonFinite, nonFiniteText } from "../canonical.ts";
import type { OddPlaces } from "./checker.ts";
import * as form from "./messages.ts";
import type { Field, Message } from "./messages.ts";

/**
 * Appends `writer.buffer[start … end)`, an `ExportTraceServiceRequest` that a `RequestChecker` has let pass, to what
 * has been written, in the form in which it may leave. `odd` is where it is not in that form yet.
 *
 * - lengths are as short as they can be, as everything else is that is a varint;
 * - fields that OTLP does not have are left out, because a decoder that knows more of them than this one might refuse
 *   what is in them;
 * - a double that is NaN or infinite is a string;
 * - a span kind or status code that OTLP does not have is left out, which is how decoders with closed enums read it.
 *
 * Fields stay in their order, and what has nothing odd in it is copied. The time it takes is linear in the length: a
 * message's content is moved only where its length takes a byte more or less than it took before.
 */
export function writeCanonical(writer: ProtobufWriter, start: number, end: number, odd: OddPlaces): void {
  new CanonicalWriter(writer, start, odd).message(form.REQUEST, end);
}

/** Reads what has been checked, so without checks of its own. Members are not `#private`, which engines are slow at. */
class CanonicalWriter {
  private readonly writer: ProtobufWriter;
  /** The writer's buffer as it was: it may be replaced by a larger one, in which the same bytes are. */
  private readonly source: Uint8Array;
  /** The next byte. */
  private at: number;
  /** The halves of the varint last read, unsigned. */
  private low = 0;
  private high = 0;

  private readonly odd: OddPlaces;
  /** The number of the next odd place, and the place. */
  private oddNumber = 0;
  private oddPlace: number;

  constructor(writer: ProtobufWriter, start: number, odd: OddPlaces) {
    this.writer = writer;
    this.source = writer.buffer;
    this.at = start;
    this.odd = odd;
    this.oddPlace = odd.at(0);
  }

  message(message: Message, end: number): void {
    const { source } = this;
    const { byTag } = message;
    // What has been read and can be copied as it is begins here.
    let copyFrom = this.at;
    while (this.at < end) {
      const start = this.at;
      while (this.oddPlace < start) this.oddPlace = this.odd.at(++this.oddNumber);
      if (this.oddPlace >= end) {
        this.at = end;
        break;
      }
      const tag = this.varint();
      const value = this.at;
      this.skip(tag & 7);
      if (this.oddPlace >= this.at) continue;
      this.copy(copyFrom, start);
      const field = value === start + 1 ? byTag[source[start] as number] : message.fields[tag >>> 3];
      if (field !== undefined) {
        this.at = value;
        if (field.wireType === form.LENGTH_DELIMITED) this.content(field, tag);
        else this.number(field, tag);
      }
      copyFrom = this.at;
    }
    this.copy(copyFrom, end);
  }

  /** Appends `source[start … end)`. */
  private copy(start: number, end: number): void {
    if (start === end) return;
    const { writer } = this;
    writer.reserve(end - start);
    copyBytes(this.source, start, end, writer.buffer, writer.position);
    writer.position += end - start;
  }

  private content(field: Field, tag: number): void {
    const { writer } = this;
    const length = this.varint();
    const end = this.at + length;
    if (length === 0) {
      writer.byte(tag);
      writer.byte(0);
      return;
    }
    // Mostly the length that is written takes as many bytes as it should now.
    const lengthBytes = varintSize(length);
    const content = writer.openMessage(tag, lengthBytes);
    if (field.message === undefined) {
      this.copy(this.at, end);
      this.at = end;
    } else {
      this.message(field.message, end);
    }
    writer.closeMessage(content, lengthBytes);
  }

  private number(field: Field, tag: number): void {
    const { writer, source } = this;
    switch (field.kind) {
      case form.DOUBLE: {
        const high = littleEndian(source, this.at + 4);
        if (isNonFinite(high)) {
          const text = nonFiniteText(littleEndian(source, this.at), high);
          this.at += 8;
          writer.byte(ANY_VALUE_STRING);
          writer.byte(text.length);
          writer.reserve(text.length);
          copyBytes(text, 0, text.length, writer.buffer, writer.position);
          writer.position += text.length;
          return;
        }
        this.fixed(tag, 8);
        return;
      }
      case form.TIME:
        this.fixed(tag, 8);
        return;
      case form.FLAGS:
        this.fixed(tag, 4);
        return;
    }
    this.varint();
    const { low, high } = this;
    if (field.kind === form.ENUM && (high !== 0 || low >= field.size)) return;
    writer.varint(tag);
    writer.varint64(low, high);
  }

  /** Copies a number of fixed size. */
  private fixed(tag: number, bytes: number): void {
    this.writer.varint(tag);
    this.copy(this.at, this.at + bytes);
    this.at += bytes;
  }

  private skip(wireType: number): void {
    if (wireType === form.FIXED64) this.at += 8;
    else if (wireType === form.FIXED32) this.at += 4;
    else {
      const value = this.varint();
      if (wireType === form.LENGTH_DELIMITED) this.at += value;
    }
  }

  /** Reads a varint: returns its lower half, and leaves both halves in `low` and `high`. */
  private varint(): number {
    const byte = this.source[this.at] as number;
    if (byte >= 0x80) return this.longVarint();
    this.at++;
    this.high = 0;
    return this.low = byte;
  }

  private longVarint(): number {
    const { source } = this;
    let byte = source[this.at++] as number;
    let low = byte & 0x7f;
    let high = 0;
    for (let shift = 7; byte >= 0x80; shift += 7) {
      byte = source[this.at++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
    }
    this.high = high >>> 0;
    return this.low = low >>> 0;
  }
}

function littleEndian(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24);
}
