import { Buffer } from "node:buffer";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import {
  ANY_VALUE_STRING,
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  LINK_TRACE_ID,
  SPAN_ATTRIBUTES,
  SPAN_LINKS,
  SPAN_PARENT_SPAN_ID,
  SPAN_TRACE_ID,
} from "../../otlp/trace-fields.ts";
import type { SpanHead } from "./span-head.ts";
import type { SandboxTrace } from "./sandbox-trace.ts";
import { hexOf, idOf } from "./span-id.ts";

/** The attribute of a span that has its trace ID as its source wrote it, in hexadecimal. */
export const ORIGINAL_TRACE_ID = "kata.original_trace_id";

const KEY = new TextEncoder().encode(ORIGINAL_TRACE_ID);
/** What a span gets at its end. */
const ADDED = new ProtobufWriter(256);

/** The trace that a link's trace ID has to be replaced by; undefined if it stays. The ID has a character a byte. */
export type FollowLink = (traceId: string) => Uint8Array | undefined;

/**
 * Gives a span its sandbox's trace ID. It keeps its own one as its last attribute, and gets the sandbox's root as its
 * parent if it has none. It is changed in place where that is possible.
 *
 * @param head what has been read of this span.
 */
export function joinSpan(
  spans: EncodedSpans,
  span: number,
  head: SpanHead,
  trace: SandboxTrace,
  follow: FollowLink,
): void {
  const { buffer } = spans.writer;
  const outer = new ProtobufReader(buffer, spans.spanStart(span), spans.spanEnd(span));
  outer.next();
  const fields = outer.message();
  const cut = new FieldCut(fields);
  ADDED.clear();
  let needsTraceId = true;
  let needsParent = head.parentSpanId === "";
  while (fields.next()) {
    switch (fields.tag) {
      case SPAN_TRACE_ID:
        if (needsTraceId && replace(fields, trace.traceId)) needsTraceId = false;
        else cut.field();
        break;
      case SPAN_PARENT_SPAN_ID:
        if (head.parentSpanId !== "") break;
        if (needsParent && replace(fields, trace.rootSpanId)) needsParent = false;
        else cut.field();
        break;
      case SPAN_ATTRIBUTES:
        if (hasOurKey(fields)) cut.field();
        break;
      case SPAN_LINKS:
        followLink(buffer, fields.message(), follow);
        break;
    }
  }
  if (cut.isNeeded) spans.shortenSpan(span, cut.end() - outer.start);
  if (needsTraceId) writeId(ADDED, SPAN_TRACE_ID, trace.traceId);
  if (needsParent) writeId(ADDED, SPAN_PARENT_SPAN_ID, trace.rootSpanId);
  writeOriginalTraceId(ADDED, head.traceId);
  spans.appendToSpan(span, ADDED.buffer.subarray(0, ADDED.position));
}

/** Makes the links of a span follow, in place, and leaves everything else as it is. */
export function followLinks(spans: EncodedSpans, span: number, follow: FollowLink): void {
  const { buffer } = spans.writer;
  const outer = new ProtobufReader(buffer, spans.spanStart(span), spans.spanEnd(span));
  outer.next();
  const fields = outer.message();
  while (fields.next()) if (fields.tag === SPAN_LINKS) followLink(buffer, fields.message(), follow);
}

/** Cuts fields out of a message in place. What follows each of them is moved once. */
class FieldCut {
  readonly #fields: ProtobufReader;
  /** What stays ends here so far; what follows the field that was cut last begins there. */
  #end = -1;
  #next = -1;

  /** @param fields reads the message. */
  constructor(fields: ProtobufReader) {
    this.#fields = fields;
  }

  get isNeeded(): boolean {
    return this.#end >= 0;
  }

  /** Cuts the field at hand. */
  field(): void {
    const { fieldStart, position } = this.#fields;
    this.#end = this.isNeeded ? this.#move(fieldStart) : fieldStart;
    this.#next = position;
  }

  /** Where the message ends, once all of it has been read. */
  end(): number {
    return this.#move(this.#fields.position);
  }

  #move(end: number): number {
    this.#fields.buffer.copyWithin(this.#end, this.#next, end);
    return this.#end + end - this.#next;
  }
}

/** Replaces a field's content by one that is as long; false if it is not. */
function replace({ buffer, start, end }: ProtobufReader, content: Uint8Array): boolean {
  if (end - start !== content.length) return false;
  buffer.set(content, start);
  return true;
}

/** Whether a source says itself what only the forwarder says.  */
function hasOurKey({ buffer, start, end }: ProtobufReader): boolean {
  if (end - start < KEY.length) return false;
  const keyValue = new ProtobufReader(buffer, start, end);
  let isOurs = false;
  while (keyValue.next()) {
    if (keyValue.tag !== KEY_VALUE_KEY) continue;
    isOurs = keyValue.end - keyValue.start === KEY.length &&
      KEY.every((byte, at) => buffer[keyValue.start + at] === byte);
  }
  return isOurs;
}

/** @param buffer what `link` reads. */
function followLink(buffer: Uint8Array, link: ProtobufReader, follow: FollowLink): void {
  while (link.next()) {
    if (link.tag !== LINK_TRACE_ID) continue;
    const traceId = follow(idOf(buffer, link.start, link.end));
    if (traceId !== undefined && traceId.length === link.end - link.start) buffer.set(traceId, link.start);
  }
}

function writeId(writer: ProtobufWriter, tag: number, id: Uint8Array): void {
  writer.lengthDelimited(tag >>> 3, id);
}

function writeOriginalTraceId(writer: ProtobufWriter, traceId: string): void {
  const attribute = writer.openMessage(SPAN_ATTRIBUTES);
  writer.lengthDelimited(KEY_VALUE_KEY >>> 3, KEY);
  const value = writer.openMessage(KEY_VALUE_VALUE);
  writer.lengthDelimited(ANY_VALUE_STRING >>> 3, Buffer.from(hexOf(traceId)));
  writer.closeMessage(value);
  writer.closeMessage(attribute);
}
