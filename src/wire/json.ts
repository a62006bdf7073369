import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import * as tag from "../otlp/trace-fields.ts";
import { AttributeMap } from "./attribute-map.ts";
import { JsonInput, Literal } from "./json-input.ts";
import { readDouble, readInt64, readUint, readUint128, readUint64 } from "./json-number.ts";
import { readString } from "./json-string.ts";
import { Names, Struct, StructReader } from "./json-struct.ts";

const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const MAX_U8 = 0xff;
const MAX_U32 = 0xffff_ffff;
const TWO_16 = 0x1_0000;
const TWO_32 = 0x1_0000_0000;
const NANOS_PER_SECOND = 1e9;

/**
 * Output for each byte of input, at most, outside of arrays of numbers. The shortest attribute, `"":{"F64":0},`, takes
 * 14 bytes and becomes 15; the shortest link, `[[0,0,0,false,null],[],0],`, 26 bytes and becomes 35.
 */
const EXPANSION = 2;
/** What a payload becomes besides: the frames of messages that are open, and words written past a string's end. */
const OVERHEAD_BYTES = 1024;

const SPAN = new Struct([
  "span_context",
  "parent_span_id",
  "span_kind",
  "name",
  "start_time",
  "end_time",
  "attributes",
  "events",
  "links",
  "status_code",
  "status_message",
  "resource",
]);
const CONTEXT = new Struct(["trace_id", "span_id", "trace_flags", "is_remote", "trace_state"]);
const TIME = new Struct(["secs_since_epoch", "nanos_since_epoch"], true);
const MAP = new Struct(["map", "evict_list", "max_len", "dropped_count"]);
const QUEUE = new Struct(["queue", "max_len", "dropped_count"]);
const EVENT = new Struct(["name", "timestamp", "attributes", "dropped_attributes_count"]);
const LINK = new Struct(["span_context", "attributes", "dropped_attributes_count"]);
const KEY_VALUE = new Struct(["key", "value"]);
const RESOURCE = new Struct(["attrs"]);

const KINDS = new Names(["Client", "Server", "Producer", "Consumer", "Internal"]);
/** `Span.SpanKind` of each of {@link KINDS}. */
const SPAN_KINDS = [
  tag.KIND_CLIENT,
  tag.KIND_SERVER,
  tag.KIND_PRODUCER,
  tag.KIND_CONSUMER,
  tag.KIND_INTERNAL,
] as const;

/** In the order of `Status.StatusCode`. */
const STATUS_CODES = new Names(["Unset", "Ok", "Error"]);

/** An attribute's value. All but the last may also be what an array consists of. */
const VALUES = new Names(["Bool", "I64", "F64", "String", "Array"]);
const BOOL = 0;
const I64 = 1;
const F64 = 2;
const ARRAY = 4;
/** Each as agents write it, with what comes before and after. */
const VALUE_HEADS = VALUES.list.map((name) => new Literal(`{"${name}":`));
/** Which of them the letter after `{"` promises. */
const VALUE_LETTERS = new Uint8Array(256);
VALUES.list.forEach((name, value) => VALUE_LETTERS[name.charCodeAt(0)] = value);

/**
 * Turns the JSON form of opentelemetry 0.14's `SpanData` into OTLP.
 *
 * It accepts what serde_json accepts for that type and reads it the same way, but for this:
 * - a `null` for a double, which serde_json writes for what is not finite and then refuses, is NaN;
 * - times that do not fit OTLP's 64 bits of nanoseconds are refused (`time-out-of-range`);
 * - a member that nobody reads may nest 128 deep and no deeper (`too-deep`).
 */
class JsonDecoder {
  readonly #input = new JsonInput();
  readonly #structs = new StructReader(this.#input);
  readonly #map = new AttributeMap();
  #output = new ProtobufWriter(0);

  decode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output = spans.writer;
    input.load(buffer, start, end);
    structs.begin(output);
    output.reserve((end - start) * EXPANSION + OVERHEAD_BYTES);

    const span = output.openField();
    structs.enter();
    structs.member(SPAN, 0);
    const flags = this.#spanContext() & MAX_U8;
    structs.member(SPAN, 1);
    this.#parent();
    structs.member(SPAN, 2);
    const kind = structs.unitVariant(KINDS);
    structs.member(SPAN, 3);
    this.#text(tag.SPAN_NAME);
    output.byte(tag.SPAN_KIND);
    output.byte(SPAN_KINDS[kind] as number);
    structs.member(SPAN, 4);
    this.#time(tag.SPAN_START_TIME);
    structs.member(SPAN, 5);
    this.#time(tag.SPAN_END_TIME);
    structs.member(SPAN, 6);
    this.#attributeMap();
    structs.member(SPAN, 7);
    this.#queue(true);
    structs.member(SPAN, 8);
    this.#queue(false);
    structs.member(SPAN, 9);
    const code = structs.unitVariant(STATUS_CODES);
    structs.member(SPAN, 10);
    this.#status(code);
    if (flags !== 0) {
      output.varint(tag.SPAN_FLAGS);
      output.fixed32(flags);
    }
    const spanStart = output.closeField(tag.SCOPE_SPANS_SPANS, span);
    const spanEnd = output.position;
    const resourceStart = structs.optionalMember(SPAN, 11) ? this.#resource() : spanEnd;
    structs.leave(SPAN);
    input.peek();
    if (input.at !== input.end) {
      throw input.error("trailing-bytes", `${input.end - input.at} bytes after the span`);
    }
    spans.add(spanStart, spanEnd, spanEnd, spanEnd, resourceStart, output.position);
  }

  /** Writes the ids and the trace state, whose tags a span and a link share; returns a link's flags. */
  #spanContext(): number {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output;
    structs.enter();
    structs.member(CONTEXT, 0);
    output.reserve(18);
    output.buffer[output.position] = tag.SPAN_TRACE_ID;
    output.buffer[output.position + 1] = 16;
    readUint128(input, output.view, output.position + 2);
    output.position += 18;
    structs.member(CONTEXT, 1);
    readUint64(input);
    this.#spanId(tag.SPAN_SPAN_ID);
    structs.member(CONTEXT, 2);
    let flags = readUint(input, MAX_U8) | tag.FLAGS_HAS_IS_REMOTE;
    structs.member(CONTEXT, 3);
    if (input.boolean()) flags |= tag.FLAGS_IS_REMOTE;
    structs.member(CONTEXT, 4);
    this.#traceState();
    structs.leave(CONTEXT);
    return flags;
  }

  /** Writes the input's 64-bit number as a span's id. */
  #spanId(field: number): void {
    const { high, low } = this.#input;
    const output = this.#output;
    output.reserve(10);
    output.buffer[output.position] = field;
    output.buffer[output.position + 1] = 8;
    output.view.setUint32(output.position + 2, high);
    output.view.setUint32(output.position + 6, low);
    output.position += 10;
  }

  #traceState(): void {
    const input = this.#input;
    if (input.skipNull()) return;
    const output = this.#output;
    input.expect(OPEN_BRACKET);
    const content = output.openMessage(tag.SPAN_TRACE_STATE);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      if (!first) output.byte(0x2c);
      input.expect(OPEN_BRACKET);
      readString(input, output);
      output.byte(0x3d);
      if (!input.more(CLOSE_BRACKET, false)) {
        throw input.error("missing-field", "a trace state entry without its value");
      }
      readString(input, output);
      input.expect(CLOSE_BRACKET);
    }
    if (output.position === content) output.position = content - 2;
    else output.closeMessage(content);
  }

  #parent(): void {
    const input = this.#input;
    readUint64(input);
    if (input.high !== 0 || input.low !== 0) this.#spanId(tag.SPAN_PARENT_SPAN_ID);
  }

  /** A string field, left out where the string is empty. */
  #text(field: number): void {
    const output = this.#output;
    const content = output.openMessage(field);
    readString(this.#input, output);
    if (output.position === content) output.position = content - 2;
    else output.closeMessage(content);
  }

  /** A fixed64 field of nanoseconds since 1970, left out where it is 0. */
  #time(field: number): void {
    const input = this.#input;
    const structs = this.#structs;
    structs.enter();
    structs.member(TIME, 0);
    const start = input.at;
    readUint64(input);
    const seconds = input.high * TWO_32 + input.low;
    structs.member(TIME, 1);
    const nanos = readUint(input, MAX_U32);
    structs.leave(TIME);
    // seconds * 10^9 + nanos in 64 bits, by the upper and the lower 16 bits of the seconds: each product is exact.
    const upper = Math.floor(seconds / TWO_16);
    const upperNanos = upper * NANOS_PER_SECOND;
    const carry = Math.floor(upperNanos / TWO_16);
    const low = (upperNanos - carry * TWO_16) * TWO_16 +
      (seconds - upper * TWO_16) * NANOS_PER_SECOND + nanos;
    const high = carry + Math.floor(low / TWO_32);
    if (high >= TWO_32) {
      throw input.error("time-out-of-range", "a time beyond 64 bits of nanoseconds", start);
    }
    if (high === 0 && low === 0) return;
    const output = this.#output;
    output.byte(field);
    output.fixed64(low, high);
  }

  /** A span's attributes and how many were dropped; which were set when is left out. */
  #attributeMap(): void {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output;
    structs.enter();
    structs.member(MAP, 0);
    this.#entries(tag.SPAN_ATTRIBUTES);
    structs.member(MAP, 1);
    input.expect(OPEN_BRACKET);
    const position = output.position;
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      readString(input, output);
      output.position = position;
    }
    structs.member(MAP, 2);
    readUint(input, MAX_U32);
    structs.member(MAP, 3);
    this.#count(tag.SPAN_DROPPED_ATTRIBUTES);
    structs.leave(MAP);
  }

  /** A span's events, or links, and how many were dropped. */
  #queue(events: boolean): void {
    const input = this.#input;
    const structs = this.#structs;
    structs.enter();
    if (structs.optionalMember(QUEUE, 0) && !input.skipNull()) {
      input.expect(OPEN_BRACKET);
      for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
        if (events) this.#event();
        else this.#link();
      }
    }
    structs.member(QUEUE, 1);
    readUint(input, MAX_U32);
    structs.member(QUEUE, 2);
    this.#count(events ? tag.SPAN_DROPPED_EVENTS : tag.SPAN_DROPPED_LINKS);
    structs.leave(QUEUE);
  }

  #event(): void {
    const structs = this.#structs;
    const output = this.#output;
    const content = output.openMessage(tag.SPAN_EVENTS);
    structs.enter();
    // The name comes first in JSON and second in OTLP, where the time takes nine bytes, or none if it is 0.
    structs.member(EVENT, 0);
    output.reserve(9);
    output.position = content + 9;
    this.#text(tag.EVENT_NAME);
    const nameEnd = output.position;
    structs.member(EVENT, 1);
    output.position = content;
    this.#time(tag.EVENT_TIME);
    if (output.position === content) {
      output.buffer.copyWithin(content, content + 9, nameEnd);
      output.position = nameEnd - 9;
    } else output.position = nameEnd;
    structs.member(EVENT, 2);
    this.#attributes(tag.EVENT_ATTRIBUTES);
    structs.member(EVENT, 3);
    this.#count(tag.EVENT_DROPPED_ATTRIBUTES);
    structs.leave(EVENT);
    output.closeMessage(content);
  }

  #link(): void {
    const structs = this.#structs;
    const output = this.#output;
    const content = output.openMessage(tag.SPAN_LINKS);
    structs.enter();
    structs.member(LINK, 0);
    const flags = this.#spanContext();
    structs.member(LINK, 1);
    this.#attributes(tag.LINK_ATTRIBUTES);
    structs.member(LINK, 2);
    this.#count(tag.LINK_DROPPED_ATTRIBUTES);
    structs.leave(LINK);
    output.byte(tag.LINK_FLAGS);
    output.fixed32(flags);
    output.closeMessage(content);
  }

  /** Left out where it says nothing. */
  #status(code: number): void {
    const output = this.#output;
    const content = output.openMessage(tag.SPAN_STATUS);
    this.#text(tag.STATUS_MESSAGE);
    if (code !== 0) {
      output.byte(tag.STATUS_CODE);
      output.byte(code);
    }
    if (output.position === content) output.position = content - 2;
    else output.closeMessage(content);
  }

  /** Writes the resource behind the span, unless it has no attributes; returns where it begins. */
  #resource(): number {
    const output = this.#output;
    const start = output.position;
    if (this.#input.skipNull()) return start;
    const structs = this.#structs;
    const content = output.openField();
    structs.enter();
    structs.member(RESOURCE, 0);
    this.#entries(tag.RESOURCE_ATTRIBUTES);
    structs.leave(RESOURCE);
    if (output.position > content) return output.closeField(tag.RESOURCE_SPANS_RESOURCE, content);
    output.position = start;
    return start;
  }

  /** A count, left out where it is 0. */
  #count(field: number): void {
    const count = readUint(this.#input, MAX_U32);
    if (count === 0) return;
    this.#output.byte(field);
    this.#output.varint(count);
  }

  /** A map of attributes, `{"key":value,…}`. */
  #entries(field: number): void {
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
  #attributes(field: number): void {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output;
    input.expect(OPEN_BRACKET);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      const content = output.openMessage(field);
      structs.enter();
      structs.member(KEY_VALUE, 0);
      this.#key();
      structs.member(KEY_VALUE, 1);
      this.#value();
      structs.leave(KEY_VALUE);
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
    if (variant === ARRAY) this.#array();
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
    if (variant === ARRAY) throw input.error("invalid-tag", "an array of arrays", start);
    const content = output.openMessage(tag.ANY_VALUE_ARRAY);
    input.expect(OPEN_BRACKET);
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      output.reserve((input.end - input.at) * EXPANSION + OVERHEAD_BYTES);
      const element = output.openMessage(tag.ARRAY_VALUE_VALUES);
      this.#scalar(variant);
      output.closeMessage(element);
    }
    input.expect(CLOSE_BRACE);
    output.closeMessage(content);
  }

  /** Reads the beginning of an enum's variant that has a value, up to the value. */
  #variant(): number {
    const input = this.#input;
    const likely = VALUE_LETTERS[input.bytes[input.at + 2] as number] as number;
    if (input.matches(VALUE_HEADS[likely] as Literal)) return likely;
    input.expect(OPEN_BRACE);
    const variant = this.#structs.variant(VALUES);
    input.expect(COLON);
    return variant;
  }

  /** The content of an `AnyValue` that is no array. */
  #scalar(variant: number): void {
    const input = this.#input;
    const output = this.#output;
    switch (variant) {
      case BOOL:
        output.byte(tag.ANY_VALUE_BOOL);
        output.byte(input.boolean() ? 1 : 0);
        break;
      case I64:
        readInt64(input);
        output.byte(tag.ANY_VALUE_INT);
        output.varint64(input.low, input.high);
        break;
      case F64:
        output.byte(tag.ANY_VALUE_DOUBLE);
        output.reserve(8);
        output.view.setFloat64(output.position, input.skipNull() ? NaN : readDouble(input), true);
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

const decoder = new JsonDecoder();

/**
 * Turns `buffer[start … end)`, a span in JSON as opentelemetry 0.14 and serde_json write it, into OTLP: adds one span to
 * `spans`. Throws a {@link WireError}; what it has written to `spans.writer` by then is of no use.
 */
export function decodeJson(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
): void {
  decoder.decode(buffer, start, end, spans);
}
