import { CLOSE_BRACKET, OPEN_BRACKET } from "./characters.ts";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import * as tag from "../../otlp/trace-fields.ts";
import { checkGrowth, checkId } from "../canonical.ts";
import { WireError } from "../wire-error.ts";
import { AttributeReader } from "./attributes.ts";
import { JsonInput, Literal, type TakenOut } from "./input.ts";
import type { LongTexts } from "./long-texts.ts";
import { readUint, readUint128, readUint64, setBillions } from "./number.ts";
import * as data from "./span-data.ts";
import { readString } from "./string.ts";
import { StructReader } from "./struct.ts";

const MAX_U8 = 0xff;
const MAX_U32 = 0xffff_ffff;
/** Nanoseconds in a second. */
const BILLION = 1e9;

// What is the same in nearly all spans of agents, and is skipped at once: a span is internal and has no status,
// contexts are not remote and have no state, the SDK's limit of 128 is not changed and nothing is dropped.
const USUAL_KIND = new Literal(',"span_kind":"Internal"');
const USUAL_CONTEXT = new Literal(',"is_remote":false,"trace_state":null}');
const USUAL_LIMIT = new Literal(',"max_len":128,"dropped_count":0}');
const USUAL_STATUS = new Literal(',"status_code":"Unset","status_message":""');

/** `Span.SpanKind` of each of the kinds in JSON. */
const SPAN_KINDS = [
  tag.KIND_CLIENT,
  tag.KIND_SERVER,
  tag.KIND_PRODUCER,
  tag.KIND_CONSUMER,
  tag.KIND_INTERNAL,
] as const;

/**
 * Turns the JSON form of opentelemetry 0.14's `SpanData` into OTLP.
 *
 * It accepts what serde_json accepts for that type and reads it the same way, but for this:
 * - a `null` for a double, which serde_json writes for what is not finite and then refuses, is the string "NaN";
 * - a trace ID or span ID of 0 is refused, but for a link's;
 * - times that do not fit OTLP's 64 bits of nanoseconds are refused (`time-out-of-range`);
 * - a member that nobody reads may nest 128 deep and no deeper (`too-deep`);
 * - there may not be many doubles of more than 19 digits (`too-large`).
 */
class JsonDecoder {
  readonly #input = new JsonInput();
  readonly #structs = new StructReader(this.#input);
  readonly #attributes = new AttributeReader(this.#input, this.#structs);
  #output = new ProtobufWriter(0);

  decode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans, longTexts?: TakenOut): void {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output = spans.writer;
    input.load(buffer, start, end, longTexts);
    structs.begin(output);
    this.#attributes.begin(output);
    output.reserve(input.outputBytes);

    const span = output.openField();
    structs.enter();
    structs.member(data.SPAN_CONTEXT);
    const flags = this.#spanContext() & MAX_U8;
    this.#checkIds(span);
    structs.member(data.SPAN_PARENT_SPAN_ID);
    this.#parent();
    const kind = structs.matches(USUAL_KIND) ? tag.KIND_INTERNAL : this.#kind();
    structs.member(data.SPAN_NAME);
    this.#text(tag.SPAN_NAME);
    output.byte(tag.SPAN_KIND);
    output.byte(kind);
    structs.member(data.SPAN_START_TIME);
    this.#time(tag.SPAN_START_TIME);
    structs.member(data.SPAN_END_TIME);
    this.#time(tag.SPAN_END_TIME);
    structs.member(data.SPAN_ATTRIBUTES);
    this.#attributeMap();
    structs.member(data.SPAN_EVENTS);
    this.#queue(true);
    structs.member(data.SPAN_LINKS);
    this.#queue(false);
    if (!structs.matches(USUAL_STATUS)) this.#status();
    if (flags !== 0) {
      output.varint(tag.SPAN_FLAGS);
      output.fixed32(flags);
    }
    const spanStart = output.closeField(tag.SCOPE_SPANS_SPANS, span);
    const spanEnd = output.position;
    const resourceStart = structs.optionalMember(data.SPAN_RESOURCE) ? this.#resource() : spanEnd;
    structs.leave(data.SPAN_STRUCT);
    input.peek();
    if (input.at !== input.end) {
      throw input.error("trailing-bytes", `${input.end - input.at} bytes after the span`);
    }
    checkGrowth(output.position - spanStart, end - start + (longTexts?.decodedBytes ?? 0));
    spans.setResource(resourceStart, output.position);
    spans.add(spanStart, spanEnd);
  }

  /** Writes the ids and the trace state, whose tags a span and a link share; returns a link's flags. */
  #spanContext(): number {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output;
    structs.enter();
    structs.member(data.CONTEXT_TRACE_ID);
    output.reserve(18);
    output.buffer[output.position] = tag.SPAN_TRACE_ID;
    output.buffer[output.position + 1] = 16;
    readUint128(input, output.view, output.position + 2);
    output.position += 18;
    structs.member(data.CONTEXT_SPAN_ID);
    readUint64(input);
    this.#spanId(tag.SPAN_SPAN_ID);
    structs.member(data.CONTEXT_TRACE_FLAGS);
    let flags = readUint(input, MAX_U8) | tag.FLAGS_HAS_IS_REMOTE;
    if (structs.leaveWith(USUAL_CONTEXT)) return flags;
    structs.member(data.CONTEXT_IS_REMOTE);
    if (input.boolean()) flags |= tag.FLAGS_IS_REMOTE;
    structs.member(data.CONTEXT_TRACE_STATE);
    this.#traceState();
    structs.leave(data.CONTEXT_STRUCT);
    return flags;
  }

  /** Refuses a span whose trace ID or span ID is 0; a link may have such. `at` is where they have been written. */
  #checkIds(at: number): void {
    const { view } = this.#output;
    const bits = (from: number) => view.getInt32(from) | view.getInt32(from + 4);
    const offset = this.#input.at;
    checkId(bits(at + 2) | bits(at + 10), "trace ID", offset);
    checkId(bits(at + 20), "span ID", offset);
  }

  /** Writes the input's 64-bit number as a span's id. */
  #spanId(field: number): void {
    const { high, low } = this.#input;
    const output = this.#output;
    output.reserve(10);
    output.buffer[output.position] = field;
    output.buffer[output.position + 1] = 8;
    output.view.setInt32(output.position + 2, high);
    output.view.setInt32(output.position + 6, low);
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

  /** A span's kind, as OTLP numbers it. */
  #kind(): number {
    this.#structs.member(data.SPAN_KIND);
    return SPAN_KINDS[this.#structs.unitVariant(data.KINDS)] as number;
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
    this.#readTime();
    const { high, low } = this.#input;
    if (high === 0 && low === 0) return;
    this.#output.byte(field);
    this.#output.fixed64(low, high);
  }

  /** Reads a time into the input's 64-bit number, as nanoseconds since 1970. */
  #readTime(): void {
    const input = this.#input;
    const structs = this.#structs;
    structs.enter();
    structs.member(data.TIME_SECONDS);
    const start = input.at;
    readUint64(input);
    let { high, low } = input;
    structs.member(data.TIME_NANOS);
    let nanos = readUint(input, MAX_U32);
    structs.leave(data.TIME_STRUCT);
    // Where `high` is over 2^31 the time is out of range in any case.
    if (nanos >= BILLION && high >= 0) {
      const carry = Math.floor(nanos / BILLION);
      nanos -= carry * BILLION;
      low = (low + carry) | 0;
      if ((low >>> 0) < carry) high++;
    }
    if (!setBillions(input, high, low, nanos)) {
      throw input.error("time-out-of-range", "a time beyond 64 bits of nanoseconds", start);
    }
  }

  /** A span's attributes and how many were dropped; which were set when is left out. */
  #attributeMap(): void {
    const input = this.#input;
    const structs = this.#structs;
    const output = this.#output;
    structs.enter();
    structs.member(data.MAP_MAP);
    this.#attributes.map(tag.SPAN_ATTRIBUTES);
    structs.member(data.MAP_EVICT_LIST);
    input.expect(OPEN_BRACKET);
    const position = output.position;
    for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
      readString(input, output);
      output.position = position;
    }
    if (structs.leaveWith(USUAL_LIMIT)) return;
    structs.member(data.MAP_MAX_LEN);
    readUint(input, MAX_U32);
    structs.member(data.MAP_DROPPED_COUNT);
    this.#count(tag.SPAN_DROPPED_ATTRIBUTES);
    structs.leave(data.MAP_STRUCT);
  }

  /** A span's events, or links, and how many were dropped. */
  #queue(events: boolean): void {
    const input = this.#input;
    const structs = this.#structs;
    structs.enter();
    if (structs.optionalMember(data.QUEUE_QUEUE) && !input.skipNull()) {
      input.expect(OPEN_BRACKET);
      for (let first = true; input.more(CLOSE_BRACKET, first); first = false) {
        if (events) this.#event();
        else this.#link();
      }
    }
    if (structs.leaveWith(USUAL_LIMIT)) return;
    structs.member(data.QUEUE_MAX_LEN);
    readUint(input, MAX_U32);
    structs.member(data.QUEUE_DROPPED_COUNT);
    this.#count(events ? tag.SPAN_DROPPED_EVENTS : tag.SPAN_DROPPED_LINKS);
    structs.leave(data.QUEUE_STRUCT);
  }

  #event(): void {
    const structs = this.#structs;
    const output = this.#output;
    const content = output.openMessage(tag.SPAN_EVENTS);
    structs.enter();
    // The name comes first in JSON and second in OTLP, where the time takes nine bytes, or none if it is 0.
    structs.member(data.EVENT_NAME);
    output.reserve(9);
    output.position = content + 9;
    this.#text(tag.EVENT_NAME);
    structs.member(data.EVENT_TIMESTAMP);
    this.#readTime();
    const { high, low } = this.#input;
    if (high === 0 && low === 0) {
      output.buffer.copyWithin(content, content + 9, output.position);
      output.position -= 9;
    } else {
      output.buffer[content] = tag.EVENT_TIME;
      output.view.setInt32(content + 1, low, true);
      output.view.setInt32(content + 5, high, true);
    }
    structs.member(data.EVENT_ATTRIBUTES);
    this.#attributes.list(tag.EVENT_ATTRIBUTES);
    structs.member(data.EVENT_DROPPED_ATTRIBUTES_COUNT);
    this.#count(tag.EVENT_DROPPED_ATTRIBUTES);
    structs.leave(data.EVENT_STRUCT);
    output.closeMessage(content);
  }

  #link(): void {
    const structs = this.#structs;
    const output = this.#output;
    const content = output.openMessage(tag.SPAN_LINKS);
    structs.enter();
    structs.member(data.LINK_SPAN_CONTEXT);
    const flags = this.#spanContext();
    structs.member(data.LINK_ATTRIBUTES);
    this.#attributes.list(tag.LINK_ATTRIBUTES);
    structs.member(data.LINK_DROPPED_ATTRIBUTES_COUNT);
    this.#count(tag.LINK_DROPPED_ATTRIBUTES);
    structs.leave(data.LINK_STRUCT);
    output.byte(tag.LINK_FLAGS);
    output.fixed32(flags);
    output.closeMessage(content);
  }

  /** Left out where it says nothing. */
  #status(): void {
    const structs = this.#structs;
    const output = this.#output;
    structs.member(data.SPAN_STATUS_CODE);
    const code = structs.unitVariant(data.STATUS_CODES);
    structs.member(data.SPAN_STATUS_MESSAGE);
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
    structs.member(data.RESOURCE_ATTRS);
    this.#attributes.map(tag.RESOURCE_ATTRIBUTES);
    structs.leave(data.RESOURCE_STRUCT);
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
}

const decoder = new JsonDecoder();

/**
 * Turns `buffer[start … end)`, a span in JSON as opentelemetry 0.14 and serde_json write it, into OTLP: adds one span
 * to `spans`. Throws a {@link WireError}; what it has written to `spans.writer` by then is not valid.
 */
export function decodeJson(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
): void {
  decoder.decode(buffer, start, end, spans);
}

/** The same for a payload whose long texts have been taken out. */
export function decodeShortJson(longTexts: LongTexts, spans: EncodedSpans): void {
  try {
    decoder.decode(longTexts.text, 0, longTexts.textBytes, spans, longTexts);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    const { reason, offset, detail } = error;
    throw new WireError(reason, longTexts.payloadOffset(offset), detail, { cause: error });
  }
}
