import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { type ProtobufWriter, varintSize } from "../../otlp/protobuf-writer.ts";
import { RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "../../otlp/trace-fields.ts";
import {
  ANY_VALUE,
  type Field,
  FIXED32,
  FIXED64,
  LENGTH_DELIMITED,
  type Message,
  REQUEST,
  RESOURCE_SPANS,
  VARINT,
} from "./messages.ts";
import { invalidUtf8At } from "../utf8.ts";
import { type InvalidReason, WireError } from "../wire-error.ts";

/** How deep values may nest in each other. */
const MAX_VALUE_DEPTH = 32;

/**
 * How large what many spans share may be, their resource or their scope: bytes. Real ones have some hundred. Delivery
 * repeats it in each batch, so without a bound one payload could become a hundred times as much.
 */
const MAX_SHARED_BYTES = 64 * 1024;

/**
 * How much that would be if each span had its own copy, bytes: four times what a whole request of the largest size
 * (4 MiB) has. That is what `--dump-only` prints of it; without a bound one payload could become gigabytes.
 */
const MAX_REPEATED_BYTES = 16 * 1024 * 1024;

/**
 * `ResourceSpans.instrumentation_library_spans`, where OTLP 0.15 to 0.18 had `scope_spans`. A receiver may still take
 * spans from it, and they would be spans that nobody here has seen.
 */
const INSTRUMENTATION_LIBRARY_SPANS = 1000;

/** Checks that bytes are an `ExportTraceServiceRequest`, without recursing deeper than the bound on values. */
class RequestChecker {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #end: number;
  /** The next byte. Not private: engines are slow to write private fields. */
  at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#start = this.at = start;
    this.#end = end;
  }

  check(): void {
    this.#message(REQUEST, this.#end, 0);
  }

  #error(reason: InvalidReason, detail: string, at = this.at): WireError {
    return new WireError(reason, at - this.#start, detail);
  }

  /** A message from here to `end`; `depth` values are around it. */
  #message(message: Message, end: number, depth: number): void {
    if (message === ANY_VALUE && depth++ === MAX_VALUE_DEPTH) {
      throw this.#error("too-deep", `values nest more than ${MAX_VALUE_DEPTH} deep`);
    }
    const start = this.at;
    let seen = 0;
    while (this.at < end) {
      const fieldStart = this.at;
      const tag = this.#tag(end);
      const number = tag >>> 3;
      const field = number < message.fields.length ? message.fields[number] : undefined;
      if (field === undefined) {
        this.#refuseUnknown(message, number, fieldStart);
        this.#skip(tag & 7, end, fieldStart);
        continue;
      }
      if (field.wireType !== (tag & 7)) {
        throw this.#error("invalid-tag", `${message.name}.${number} has another type`, fieldStart);
      }
      if ((seen & field.once) !== 0) {
        throw this.#error("duplicate-field", `a second ${message.name}.${number}`, fieldStart);
      }
      seen |= field.once;
      if (field.wireType === LENGTH_DELIMITED) this.#content(message, number, field, end, depth);
      else this.#skip(field.wireType, end, fieldStart);
    }
    if ((seen & message.required) !== message.required) {
      throw this.#error("missing-field", `a ${message.name} without its id`, start);
    }
  }

  /** The bytes of a field, from its length on. */
  #content(message: Message, number: number, field: Field, end: number, depth: number): void {
    const length = this.#length(end);
    const start = this.at;
    const contentEnd = start + length;
    if (field.message !== undefined) {
      this.#message(field.message, contentEnd, depth);
    } else if (field.isText) {
      const invalid = invalidUtf8At(this.#bytes, start, contentEnd);
      if (invalid >= 0) {
        throw this.#error("invalid-utf8", `${message.name}.${number} is not UTF-8`, invalid);
      }
    } else if (field.size !== 0 && length !== field.size) {
      // An id that may be left out may as well be empty.
      if (length !== 0 || (message.required & field.once) !== 0) {
        throw this.#error("invalid-value", `${message.name}.${number} has ${length} bytes`);
      }
    }
    this.at = contentEnd;
  }

  #refuseUnknown(message: Message, number: number, at: number): void {
    if (message === REQUEST) throw this.#error("invalid-tag", "no trace export request", at);
    if (message === RESOURCE_SPANS && number === INSTRUMENTATION_LIBRARY_SPANS) {
      throw this.#error("invalid-tag", "spans in a deprecated field", at);
    }
  }

  /** A field's number and wire type. */
  #tag(end: number): number {
    const start = this.at;
    const tag = this.#varint(end);
    // A tag has 32 bits, and no field has number 0.
    if (tag < 8 || tag > 0xffff_ffff) throw this.#error("invalid-tag", "no field", start);
    return tag;
  }

  #length(end: number): number {
    const start = this.at;
    const length = this.#varint(end);
    if (length > end - this.at) throw this.#cut(end, "a field is longer than its message", start);
    return length;
  }

  /** Skips a value. `start` is where its field begins. */
  #skip(wireType: number, end: number, start: number): void {
    switch (wireType) {
      case VARINT:
        this.#varint(end);
        return;
      case FIXED64:
        this.#need(8, end);
        return;
      case FIXED32:
        this.#need(4, end);
        return;
      case LENGTH_DELIMITED: {
        const length = this.#length(end);
        this.at += length;
        return;
      }
      default:
        throw this.#error("invalid-tag", `wire type ${wireType}`, start);
    }
  }

  #need(bytes: number, end: number): void {
    if (end - this.at < bytes) throw this.#cut(end, "a number is cut", this.at);
    this.at += bytes;
  }

  /** Reads a varint of up to 64 bits; one above 2^53 comes out rounded, which is above every bound. */
  #varint(end: number): number {
    const start = this.at;
    const first = this.#bytes[start] as number;
    if (first < 0x80 && start < end) {
      this.at++;
      return first;
    }
    let value = 0;
    let unit = 1;
    // Nine groups of seven bits, and one bit.
    for (let bytes = 1; bytes <= 10; bytes++, unit *= 0x80) {
      if (this.at === end) throw this.#cut(end, "a varint is cut", start);
      const byte = this.#bytes[this.at++] as number;
      if (bytes === 10 && byte > 1) break;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value;
    }
    throw this.#error("invalid-value", "a varint of more than 64 bits", start);
  }

  /** The error of something that goes on behind `end`: of the payload, or only of the message it is in. */
  #cut(end: number, detail: string, at: number): WireError {
    return this.#error(end === this.#end ? "truncated" : "invalid-value", detail, at);
  }
}

/**
 * Takes `buffer[start … end)`, an `ExportTraceServiceRequest` in protobuf, apart into its spans, whose bytes pass through
 * untouched.
 *
 * Before that it is checked, all of it: it is well-formed; known fields have their type, ids their size, text is UTF-8;
 * values nest no more than {@link MAX_VALUE_DEPTH} deep; there is at least one span. A field that is not repeated may
 * come only once, though protobuf allows it: decoders differ in what they make of it, and what is checked here must be
 * what the collector sees. What spans share is no larger than {@link MAX_SHARED_BYTES},
 * and {@link MAX_REPEATED_BYTES} for all of them. Unknown fields pass through,
 * but in the request itself and for groups.
 *
 * Throws a {@link WireError}; what `spans` holds by then is of no use.
 * Specification: opentelemetry-proto 1.x, and https://protobuf.dev/programming-guides/encoding/
 */
export function decodeOtlp(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
): void {
  const writer = spans.writer;
  const begin = writer.position;
  // Spans and all stay where they are in this copy; only what has to be in one piece and is not is copied again.
  writer.bytes(buffer.subarray(start, end));
  new RequestChecker(writer.buffer, begin, writer.position).check();
  const request = new ProtobufReader(writer.buffer, begin, writer.position);
  let repeatedBytes = 0;
  while (request.next()) {
    const resourceStart = writer.position;
    appendFieldsBut(RESOURCE_SPANS_SCOPE_SPANS, request.message(), writer);
    checkShared(writer.position - resourceStart, request.fieldStart - begin);
    const resourceEnd = writer.position;
    const scopes = request.message();
    while (scopes.next()) {
      if (scopes.tag !== RESOURCE_SPANS_SCOPE_SPANS) continue;
      const scopeStart = writer.position;
      appendFieldsBut(SCOPE_SPANS_SPANS, scopes.message(), writer);
      checkShared(writer.position - scopeStart, scopes.fieldStart - begin);
      const scopeEnd = writer.position;
      const sharedBytes = resourceEnd - resourceStart + scopeEnd - scopeStart;
      const fields = scopes.message();
      while (fields.next()) {
        if (fields.tag !== SCOPE_SPANS_SPANS) continue;
        let spanStart = fields.fieldStart;
        let spanEnd = fields.position;
        if (fields.start - spanStart !== 1 + varintSize(fields.end - fields.start)) {
          // A tag or a length that is longer than it needs to be: the span's field gets the usual ones.
          spanStart = writer.position;
          writer.lengthDelimited(SCOPE_SPANS_SPANS >>> 3, fields.bytes());
          spanEnd = writer.position;
        }
        repeatedBytes += sharedBytes;
        if (repeatedBytes > MAX_REPEATED_BYTES) {
          throw new WireError(
            "too-large",
            fields.fieldStart - begin,
            "too many spans share too much",
          );
        }
        spans.add(spanStart, spanEnd, scopeStart, scopeEnd, resourceStart, resourceEnd);
      }
    }
  }
  if (spans.count === 0) throw new WireError("missing-field", 0, "a request without spans");
}

function checkShared(bytes: number, offset: number): void {
  if (bytes > MAX_SHARED_BYTES) {
    throw new WireError("too-large", offset, `a resource or scope of ${bytes} bytes`);
  }
}

/** Appends the fields of a message but those with one tag to what has been written. */
function appendFieldsBut(tag: number, message: ProtobufReader, writer: ProtobufWriter): void {
  while (message.next()) {
    if (message.tag === tag) continue;
    writer.bytes(message.buffer.subarray(message.fieldStart, message.position));
  }
}
