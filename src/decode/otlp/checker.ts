import { checkId, isNonFinite, MAX_MESSAGE_DEPTH } from "../canonical.ts";
import { invalidUtf8At } from "../utf8.ts";
import { type InvalidReason, WireError } from "../wire-error.ts";
import * as form from "./messages.ts";
import type { Field, Message } from "./messages.ts";

/**
 * How many `ResourceSpans` and `ScopeSpans` one payload may have. An SDK's batch has one resource, that of a node's
 * collector one for each of a few hundred pods. Each costs about as much as many spans in the same bytes.
 */
const MAX_RESOURCE_SPANS = 1024;
const MAX_SCOPE_SPANS = 4096;

/**
 * How many fields one payload may have that OTLP does not have: a few, and one for so many bytes, so that there may be
 * new ones in each span and each attribute. To leave one out costs as much as thirty bytes of spans.
 */
const FEW_UNKNOWN_FIELDS = 32;
const BYTES_PER_UNKNOWN_FIELD = 32;

/**
 * `ResourceSpans.instrumentation_library_spans`, where OTLP 0.15 to 0.18 had `scope_spans`. A receiver may still take
 * spans from it, and they would be spans that nobody here has seen.
 */
const INSTRUMENTATION_LIBRARY_SPANS = 1000;

/**
 * How many lengths of one payload may have more bytes than they need: a few, and one for so many bytes. OpenTelemetry's
 * exporter for .NET leaves four bytes for the length of each message, of which an attribute with its key and its value
 * has one.
 */
const FEW_PADDED_LENGTHS = 32;
const BYTES_PER_PADDED_LENGTH = 8;
/** The longest length that every decoder reads, bytes: upb refuses one of more. */
const MOST_LENGTH_BYTES = 5;

const NO_BYTES = new Uint8Array(0);

/** Room for more places than this is given back after the payload that needed it. */
const RETAINED_PLACES = 4096;

/** The largest number of 32 bits, because JavaScript engines are faster with such than with an infinite one. */
const NOWHERE = 0x7fff_ffff;

/** The places in a payload where something has to be written in another way, in ascending order. */
export class OddPlaces {
  count = 0;
  private places = new Int32Array(16);

  clear(): void {
    if (this.places.length > RETAINED_PLACES) this.places = new Int32Array(16);
    this.count = 0;
  }

  add(place: number): void {
    if (this.count === this.places.length) {
      const grown = new Int32Array(this.count * 2);
      grown.set(this.places);
      this.places = grown;
    }
    this.places[this.count++] = place;
  }

  /** The place with that number; behind every other one if there are not so many. */
  at(number: number): number {
    return number < this.count ? this.places[number] as number : NOWHERE;
  }
}

/**
 * Checks that bytes are an `ExportTraceServiceRequest` in which everything that decoders know is as they expect it, and
 * notices whether anything is not yet as {@link writeCanonical} writes it. One does for all payloads.
 *
 * Its members are `private`, not `#private`, because JavaScriptCore checks for the latter at each use.
 */
export class RequestChecker {
  private bytes: Uint8Array = NO_BYTES;
  private start = 0;
  private end = 0;
  /** The next byte. */
  private at = 0;
  private readonly odd: OddPlaces;
  private resourceSpans = 0;
  private scopeSpans = 0;
  private unknownFields = 0;
  private paddedLengths = 0;

  /** @param odd where to note what has to be written in another way. */
  constructor(odd: OddPlaces) {
    this.odd = odd;
  }

  /** Checks `bytes[start … end)`; throws a {@link WireError}. */
  check(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.start = this.at = start;
    this.end = end;
    this.odd.clear();
    this.resourceSpans =
      this.scopeSpans =
      this.unknownFields =
      this.paddedLengths =
        0;
    this.message(form.REQUEST, end, 1);
  }

  private error(reason: InvalidReason, detail: string, at = this.at): WireError {
    return new WireError(reason, at - this.start, detail);
  }

  /** A message from here to `end`; it is the `depth`th of those that are in each other. */
  private message(message: Message, end: number, depth: number): void {
    if (depth > MAX_MESSAGE_DEPTH) {
      throw this.error("too-deep", `messages nest more than ${MAX_MESSAGE_DEPTH} deep`);
    }
    const start = this.at;
    const { bytes } = this;
    const { byTag } = message;
    let seen = 0;
    while (this.at < end) {
      const fieldStart = this.at;
      // Nearly always.
      let field = byTag[bytes[fieldStart] as number];
      if (field !== undefined) this.at++;
      else {
        field = this.otherField(message, end);
        if (field === undefined) continue;
      }
      // Decoders differ in what they make of a second one: the last, or both as one.
      if ((seen & field.once) !== 0) {
        throw this.error("duplicate-field", `a second ${message.name}.${field.number}`, fieldStart);
      }
      seen |= field.bit;
      if (field.message !== undefined) {
        const length = this.length(end);
        this.countSpans(field.message, fieldStart);
        this.message(field.message, this.at + length, depth + 1);
      } else if (field.wireType === form.LENGTH_DELIMITED) this.content(message, field, end);
      else this.number(message, field, end);
    }
    if (seen === 0 && !message.mayBeEmpty) throw this.error("missing-field", `an empty ${message.name}`, start);
    const missing = message.required & ~seen;
    if (missing !== 0) {
      const number = 31 - Math.clz32(missing & -missing);
      throw this.error("missing-field", `${message.name}.${number} is missing`, start);
    }
  }

  /**
   * Reads a tag that is not a known one of one byte. Returns the field if it is known nevertheless; else skips it, and
   * notes that it has to be left out.
   */
  private otherField(message: Message, end: number): Field | undefined {
    const start = this.at;
    const tag = this.varint(end);
    // A tag has 32 bits, and no field has number 0.
    if (tag < 8 || tag > 0xffff_ffff) throw this.error("invalid-tag", "not a field", start);
    const number = tag >>> 3;
    const field = number < message.fields.length ? message.fields[number] : undefined;
    if (field === undefined) {
      this.checkUnknown(message, number, start);
      this.skip(tag & 7, end, start);
      return undefined;
    }
    // prost refuses the message, Go and C++ take it for an unknown field.
    if (field.wireType !== (tag & 7)) {
      throw this.error("invalid-tag", `${message.name}.${number} has another type`, start);
    }
    return field;
  }

  /** The bytes of a field that is not a message, from its length on. */
  private content(message: Message, field: Field, end: number): void {
    const length = this.length(end);
    const start = this.at;
    this.at = start + length;
    switch (field.kind) {
      case form.TEXT: {
        // All decoders but Go's refuse the message, Go's refuses to write it again.
        const invalid = invalidUtf8At(this.bytes, start, this.at);
        if (invalid >= 0) throw this.error("invalid-utf8", `${message.name}.${field.number} is not UTF-8`, invalid);
        break;
      }
      case form.ID:
        // An ID that may be left out may as well be empty. The Collector refuses a request with an ID of another size.
        if (length !== field.size && (length !== 0 || (message.required & field.once) !== 0)) {
          throw this.error("invalid-value", `${message.name}.${field.number} has ${length} bytes`, start);
        }
        if (field.nonZero) {
          let bits = 0;
          for (let at = start; at < this.at && bits === 0; at++) bits |= this.bytes[at] as number;
          checkId(bits, field.number === 1 ? "trace ID" : "span ID", start - this.start);
        }
    }
  }

  /** A number, from behind its tag. */
  private number(message: Message, field: Field, end: number): void {
    const start = this.at;
    switch (field.kind) {
      case form.TIME:
        this.need(8, end);
        break;
      case form.DOUBLE: {
        this.need(8, end);
        const high = ((this.bytes[this.at - 1] as number) << 24) | ((this.bytes[this.at - 2] as number) << 16);
        if (isNonFinite(high)) this.odd.add(start);
        break;
      }
      case form.FLAGS:
        this.need(4, end);
        break;
      case form.BOOL:
        if (this.varint(end) > 1) {
          throw this.error("invalid-value", `${message.name}.${field.number} is not a bool`, start);
        }
        break;
      case form.ENUM:
        if (this.varint(end) >= field.size) this.odd.add(start);
        break;
      case form.UINT32:
        // Decoders keep the lower half alone.
        if (this.varint(end) > 0xffff_ffff) {
          throw this.error("invalid-value", `${message.name}.${field.number} is over 32 bits`, start);
        }
        break;
      default:
        this.varint(end);
    }
  }

  /** A field that has no place in its message is left out, unless what it says should not be lost without a word. */
  private checkUnknown(message: Message, number: number, at: number): void {
    if (message === form.REQUEST) throw this.error("invalid-tag", "not a trace export request", at);
    if (message === form.RESOURCE_SPANS && number === INSTRUMENTATION_LIBRARY_SPANS) {
      throw this.error("invalid-tag", "spans in a deprecated field", at);
    }
    if (++this.unknownFields > FEW_UNKNOWN_FIELDS + (this.end - this.start) / BYTES_PER_UNKNOWN_FIELD) {
      throw this.error("too-large", `more than ${this.unknownFields - 1} fields that OTLP does not have`, at);
    }
    this.odd.add(at);
  }

  /** A length with more bytes than it needs is written again with as many as it needs. */
  private checkPadded(at: number): void {
    if (++this.paddedLengths > FEW_PADDED_LENGTHS + (this.end - this.start) / BYTES_PER_PADDED_LENGTH) {
      throw this.error("too-large", `more than ${this.paddedLengths - 1} lengths with bytes that they do not need`, at);
    }
    this.odd.add(at);
  }

  /** Bounds what costs much for few bytes. */
  private countSpans(message: Message, at: number): void {
    if (message === form.RESOURCE_SPANS) {
      if (++this.resourceSpans > MAX_RESOURCE_SPANS) {
        throw this.error("too-large", `more than ${MAX_RESOURCE_SPANS} resources`, at);
      }
    } else if (message === form.SCOPE_SPANS && ++this.scopeSpans > MAX_SCOPE_SPANS) {
      throw this.error("too-large", `more than ${MAX_SCOPE_SPANS} scopes`, at);
    }
  }

  private length(end: number): number {
    const start = this.at;
    const first = this.bytes[start] as number;
    if (first < 0x80 && start < end) this.at++;
    const length = first < 0x80 && start < end ? first : this.longLength(end);
    if (length > end - this.at) throw this.cut(end, "a field is longer than its message", start);
    return length;
  }

  /**
   * A length of more than one byte. It may have more than it needs, up to five, because a writer that does not know the
   * length yet may leave room for it.
   */
  private longLength(end: number): number {
    const start = this.at;
    let length = 0;
    let unit = 1;
    for (let bytes = 1; bytes <= MOST_LENGTH_BYTES; bytes++, unit *= 0x80) {
      if (this.at === end) throw this.cut(end, "a length is cut", start);
      const byte = this.bytes[this.at++] as number;
      length += (byte & 0x7f) * unit;
      if (byte >= 0x80) continue;
      if (byte === 0) this.checkPadded(start);
      return length;
    }
    // upb refuses it.
    throw this.error("invalid-value", `a length of more than ${MOST_LENGTH_BYTES} bytes`, start);
  }

  /** Skips a value. `start` is where its field begins. */
  private skip(wireType: number, end: number, start: number): void {
    switch (wireType) {
      case form.VARINT:
        this.varint(end);
        return;
      case form.FIXED64:
        this.need(8, end);
        return;
      case form.FIXED32:
        this.need(4, end);
        return;
      case form.LENGTH_DELIMITED: {
        const length = this.length(end);
        this.at += length;
        return;
      }
      default:
        throw this.error("invalid-tag", `wire type ${wireType}`, start);
    }
  }

  private need(bytes: number, end: number): void {
    if (end - this.at < bytes) throw this.cut(end, "a number is cut", this.at);
    this.at += bytes;
  }

  /**
   * Reads a varint of up to 64 bits; one above 2^53 comes out rounded, which is above every bound.
   *
   * One with more bytes than it needs is refused. Protobuf allows it, but no encoder writes it, and upb refuses a tag
   * of more than five bytes.
   */
  private varint(end: number): number {
    const start = this.at;
    const first = this.bytes[start] as number;
    if (first < 0x80 && start < end) {
      this.at++;
      return first;
    }
    let value = 0;
    let unit = 1;
    // Nine groups of seven bits, and one bit.
    for (let bytes = 1; bytes <= 10; bytes++, unit *= 0x80) {
      if (this.at === end) throw this.cut(end, "a varint is cut", start);
      const byte = this.bytes[this.at++] as number;
      if (bytes === 10 && byte > 1) break;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) {
        if (byte === 0) throw this.error("invalid-value", "a varint with more bytes than it needs", start);
        return value;
      }
    }
    // Go refuses it, the others drop the bits beyond 64.
    throw this.error("invalid-value", "a varint of more than 64 bits", start);
  }

  /** The error of something that goes on behind `end`: of the payload, or only of the message it is in. */
  private cut(end: number, detail: string, at: number): WireError {
    return this.error(end === this.end ? "truncated" : "invalid-value", detail, at);
  }
}
