import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { varintSize } from "../../otlp/protobuf-writer.ts";
import * as tag from "../../otlp/trace-fields.ts";
import { checkGrowth, checkId } from "../canonical.ts";
import { MOST_SHORT_BYTES } from "../large-payloads.ts";
import { AttributeField } from "./attributes.ts";
import { BincodePayload } from "./payload.ts";

/** `SpanKind` of opentelemetry 0.14, in the order of its variants: Client, Server, Producer, Consumer, Internal. */
const KINDS = new Uint8Array([
  tag.KIND_CLIENT,
  tag.KIND_SERVER,
  tag.KIND_PRODUCER,
  tag.KIND_CONSUMER,
  tag.KIND_INTERNAL,
]);
/** `StatusCode`: Unset, Ok and Error have the numbers in OTLP that they have as variants. */
const STATUS_CODES = 3;
/** The low bits of a span's or a link's `flags`: the W3C trace flags. */
const TRACE_FLAGS = 0xff;

const EQUALS = 0x3d;
const COMMA = 0x2c;

/** One for all guests: a payload is decoded whole, and what it needs in memory is reused. */
const payload = new BincodePayload();
const spanAttributes = new AttributeField(payload, tag.SPAN_ATTRIBUTES);
const resourceAttributes = new AttributeField(payload, tag.RESOURCE_ATTRIBUTES);
const eventAttributes = new AttributeField(payload, tag.EVENT_ATTRIBUTES);
const linkAttributes = new AttributeField(payload, tag.LINK_ATTRIBUTES);

/**
 * Turns `buffer[start … end)`, a `SpanData` of the Rust crate opentelemetry 0.14 in bincode 1.3 with its defaults, into
 * one span of `spans`, in one pass and in time linear in its length.
 *
 * It takes what the crates take, with these limits: no byte may follow the span, times must fit 64 bits of nanoseconds,
 * and what comes of it is as `canonical.ts` says, so the span's IDs must not be 0. Of what it reads, OTLP has no place
 * for three things: the eviction list, the maximum numbers of attributes, events and links, and the span's own
 * `is_remote` (of a span's `flags`, bits 8 and 9 say whether its parent is remote, which an agent does not tell; so
 * they stay 0). All are checked all the same.
 *
 * Throws a {@link WireError}. The contents of `spans` are not valid then, until it is cleared.
 */
export function decodeBincode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
  decode(buffer, start, end, spans, Infinity);
}

/** The same for a large payload, which may have no more than `MOST_SHORT_BYTES` beside its long texts. */
export function decodeLargeBincode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
  decode(buffer, start, end, spans, MOST_SHORT_BYTES);
}

function decode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans, mostShort: number): void {
  const { writer } = spans;
  payload.begin(buffer, start, end, writer, mostShort);
  const content = writer.openField();
  writer.position = span(start, content);
  const spanStart = writer.closeField(tag.SCOPE_SPANS_SPANS, content);
  const spanEnd = writer.position;
  const resourceStart = resource(payload.at);
  const { at } = payload;
  if (at !== end) payload.fail("trailing-bytes", at, `${end - at} bytes after the span`);
  // A write beyond a typed array's end is lost without a word: this must be seen if it ever happens.
  if (writer.buffer !== payload.output || writer.position > writer.buffer.length) {
    throw new Error("a span grew more than MOST_GROWTH allows");
  }
  checkGrowth(writer.position - spanStart, end - start);
  spans.setResource(resourceStart, writer.position);
  spans.add(spanStart, spanEnd);
}

// What follows returns the place after what was written to the output; where it is not said how many bytes were read,
// `payload.at` is the place after them.

/** All but the resource. */
function span(at: number, out: number): number {
  const { output } = payload;
  out = spanContext(at, out);
  checkIds(at, payload.at);
  const flags = payload.contextFlags & TRACE_FLAGS;
  at = payload.at;
  out = parentSpanId(at, out);
  at += 8;
  const kind = payload.variant(at, KINDS.length, "span kind");
  at += 4;
  const nameLength = payload.length(at, "name");
  at += 8;
  out = payload.text(at, nameLength, out, tag.SPAN_NAME);
  at += nameLength;
  output[out] = tag.SPAN_KIND;
  output[out + 1] = KINDS[kind] as number;
  out = payload.time(at, out + 2, tag.SPAN_START_TIME);
  out = payload.time(at + 12, out, tag.SPAN_END_TIME);
  at += 24;
  out = spanAttributes.map(at, out);
  at = evictionList(payload.at);
  out = limits(at, out, tag.SPAN_DROPPED_ATTRIBUTES);
  out = events(at + 8, out);
  at = payload.at;
  out = limits(at, out, tag.SPAN_DROPPED_EVENTS);
  out = links(at + 8, out);
  at = payload.at;
  out = limits(at, out, tag.SPAN_DROPPED_LINKS);
  out = status(at + 8, out);
  if (flags !== 0) {
    out = payload.varint(out, tag.SPAN_FLAGS);
    payload.target.setInt32(out, flags, true);
    out += 4;
  }
  return out;
}

/** Returns where in the output the resource begins; it ends at the writer's position. */
function resource(at: number): number {
  const { writer } = payload;
  const before = writer.position;
  payload.at = at + 1;
  if (payload.flag(at, "resource") === 0) return before;
  const content = writer.openField();
  if (resourceAttributes.map(at + 1, content) === content) {
    return writer.position = before;
  }
  return writer.closeField(tag.RESOURCE_SPANS_RESOURCE, content);
}

/** A span's or a link's: the same fields in both messages. Leaves what is to become of its flags in `contextFlags`. */
function spanContext(at: number, out: number): number {
  payload.need(at, 16 + 8 + 1, "span context");
  const { source, target, output } = payload;
  // Numbers, lowest byte first there; bytes of an id, highest first, here.
  output[out] = tag.SPAN_TRACE_ID;
  output[out + 1] = 16;
  target.setInt32(out + 2, source.getInt32(at + 12, true));
  target.setInt32(out + 6, source.getInt32(at + 8, true));
  target.setInt32(out + 10, source.getInt32(at + 4, true));
  target.setInt32(out + 14, source.getInt32(at, true));
  output[out + 18] = tag.SPAN_SPAN_ID;
  output[out + 19] = 8;
  target.setInt32(out + 20, source.getInt32(at + 20, true));
  target.setInt32(out + 24, source.getInt32(at + 16, true));
  out += 28;
  payload.contextFlags = source.getUint8(at + 24) | tag.FLAGS_HAS_IS_REMOTE;
  if (payload.flag(at + 25, "is_remote") !== 0) payload.contextFlags |= tag.FLAGS_IS_REMOTE;
  payload.at = at + 27;
  return payload.flag(at + 26, "trace state") === 0 ? out : traceState(at + 27, out);
}

/**
 * Refuses a span whose trace ID or span ID is 0; a link may have such. The IDs are at `at`, their context ends at
 * `end`.
 */
function checkIds(at: number, end: number): void {
  const { source } = payload;
  const bits = (from: number) => source.getInt32(from, true) | source.getInt32(from + 4, true);
  // Only behind the context is it clear that this is bincode at all.
  const offset = end - payload.start;
  checkId(bits(at) | bits(at + 8), "trace ID", offset);
  checkId(bits(at + 16), "span ID", offset);
}

/** `k=v,k=v`, as the header that W3C Trace Context calls `tracestate`. */
function traceState(at: number, out: number): number {
  const pairs = payload.length(at, "trace state");
  at += 8;
  payload.at = at;
  if (pairs === 0) return out;
  const { output, writer } = payload;
  writer.position = out;
  const content = writer.openMessage(tag.SPAN_TRACE_STATE);
  out = content;
  for (let pair = 0; pair < pairs; pair++) {
    if (pair > 0) output[out++] = COMMA;
    const keyLength = payload.length(at, "trace state key");
    at += 8;
    payload.copyText(at, keyLength, out);
    at += keyLength;
    out += keyLength;
    output[out++] = EQUALS;
    const valueLength = payload.length(at, "trace state value");
    at += 8;
    payload.copyText(at, valueLength, out);
    at += valueLength;
    out += valueLength;
  }
  payload.at = at;
  writer.position = out;
  writer.closeMessage(content);
  return writer.position;
}

/** Eight bytes; 0 is not a parent. */
function parentSpanId(at: number, out: number): number {
  payload.need(at, 8, "parent span id");
  const { source, target, output } = payload;
  const low = source.getInt32(at, true);
  const high = source.getInt32(at + 4, true);
  if ((low | high) === 0) return out;
  output[out] = tag.SPAN_PARENT_SPAN_ID;
  output[out + 1] = 8;
  target.setInt32(out + 2, high);
  target.setInt32(out + 6, low);
  return out + 10;
}

/** Skips the order in which attributes would give way to new ones, which does not matter any more. Returns its end. */
function evictionList(at: number): number {
  let left = payload.length(at, "eviction list");
  for (at += 8; left > 0; left--) at = payload.skipText(at, "evicted key");
  return at;
}

/** The most there may be of something, and how many of them were dropped: eight bytes. */
function limits(at: number, out: number, field: number): number {
  payload.need(at, 4, "maximum");
  return payload.count(at + 4, out, field, "dropped count");
}

function events(at: number, out: number): number {
  payload.at = at + 1;
  if (payload.flag(at, "events") === 0) return out;
  let left = payload.length(at + 1, "events");
  payload.at = at + 9;
  for (; left > 0; left--) out = event(payload.at, out);
  return out;
}

function event(at: number, out: number): number {
  const { writer } = payload;
  writer.position = out;
  const content = writer.openMessage(tag.SPAN_EVENTS);
  const nameLength = payload.length(at, "event name");
  const name = at + 8;
  at = name + nameLength;
  out = payload.time(at, content, tag.EVENT_TIME);
  out = payload.text(name, nameLength, out, tag.EVENT_NAME);
  out = eventAttributes.sequence(at + 12, out);
  at = payload.at;
  out = payload.count(at, out, tag.EVENT_DROPPED_ATTRIBUTES, "dropped count");
  payload.at = at + 4;
  writer.position = out;
  writer.closeMessage(content);
  return writer.position;
}

function links(at: number, out: number): number {
  payload.at = at + 1;
  if (payload.flag(at, "links") === 0) return out;
  let left = payload.length(at + 1, "links");
  payload.at = at + 9;
  for (; left > 0; left--) out = link(payload.at, out);
  return out;
}

function link(at: number, out: number): number {
  const { writer } = payload;
  writer.position = out;
  const content = writer.openMessage(tag.SPAN_LINKS);
  out = spanContext(at, content);
  const flags = payload.contextFlags;
  out = linkAttributes.sequence(payload.at, out);
  at = payload.at;
  out = payload.count(at, out, tag.LINK_DROPPED_ATTRIBUTES, "dropped count");
  payload.at = at + 4;
  payload.output[out] = tag.LINK_FLAGS;
  payload.target.setInt32(out + 1, flags, true);
  writer.position = out + 5;
  writer.closeMessage(content);
  return writer.position;
}

function status(at: number, out: number): number {
  const code = payload.variant(at, STATUS_CODES, "status code");
  const length = payload.length(at + 4, "status message");
  at += 12;
  payload.at = at + length;
  if (code === 0 && length === 0) return out;
  const { output } = payload;
  const messageSize = length === 0 ? 0 : 1 + varintSize(length) + length;
  output[out] = tag.SPAN_STATUS;
  out = payload.varint(out + 1, messageSize + (code === 0 ? 0 : 2));
  out = payload.text(at, length, out, tag.STATUS_MESSAGE);
  if (code !== 0) {
    output[out] = tag.STATUS_CODE;
    output[out + 1] = code;
    out += 2;
  }
  return out;
}
