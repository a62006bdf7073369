import { Buffer } from "node:buffer";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import {
  ANY_VALUE_STRING,
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  LINK_TRACE_ID,
  SCOPE_SPANS_SPANS,
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
/** Field numbers of `Span`, in whose order fields are written. */
const PARENT_NUMBER = SPAN_PARENT_SPAN_ID >>> 3;
const ATTRIBUTES_NUMBER = SPAN_ATTRIBUTES >>> 3;

/** The trace that a link's trace ID has to be replaced by; undefined if it stays. The ID has a character a byte. */
export type FollowLink = (traceId: string) => Uint8Array | undefined;

/**
 * Writes a span again with its sandbox's trace ID, behind the payload's other spans. It keeps its own trace ID as an
 * attribute, and gets the sandbox's root as its parent if it has none.
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
  const { writer } = spans;
  const outer = new ProtobufReader(writer.buffer, spans.spanStart(span), spans.spanEnd(span));
  outer.next();
  // If the writer grows, the reader still has the old bytes, which nobody changes.
  const fields = outer.message();
  const content = writer.openField();
  writeId(writer, SPAN_TRACE_ID, trace.traceId);
  const copy = new FieldCopy(writer, fields);
  let needsParent = head.parentSpanId === "";
  let needsAttribute = true;
  while (fields.next()) {
    const number = fields.tag >>> 3;
    if (needsParent && number > PARENT_NUMBER) {
      copy.upToField();
      writeId(writer, SPAN_PARENT_SPAN_ID, trace.rootSpanId);
      needsParent = false;
    }
    if (needsAttribute && number > ATTRIBUTES_NUMBER) {
      copy.upToField();
      writeOriginalTraceId(writer, head.traceId);
      needsAttribute = false;
    }
    if (fields.tag === SPAN_LINKS) copyLink(writer, fields, copy, follow);
    else if (isReplaced(fields, head)) copy.skipField();
  }
  copy.toEnd();
  if (needsParent) writeId(writer, SPAN_PARENT_SPAN_ID, trace.rootSpanId);
  if (needsAttribute) writeOriginalTraceId(writer, head.traceId);
  spans.moveSpan(span, writer.closeField(SCOPE_SPANS_SPANS, content), writer.position);
}

/** Makes the links of a span follow, in place, and leaves everything else as it is. */
export function followLinks(spans: EncodedSpans, span: number, follow: FollowLink): void {
  const { buffer } = spans.writer;
  const outer = new ProtobufReader(buffer, spans.spanStart(span), spans.spanEnd(span));
  outer.next();
  const fields = outer.message();
  while (fields.next()) if (fields.tag === SPAN_LINKS) followLink(buffer, fields.message(), follow);
}

/** Copies the fields of a message, all but those that are skipped, in as few pieces as possible. */
class FieldCopy {
  readonly #writer: ProtobufWriter;
  readonly #fields: ProtobufReader;
  /** Everything before this has been copied or skipped. */
  #done: number;

  constructor(writer: ProtobufWriter, fields: ProtobufReader) {
    this.#writer = writer;
    this.#fields = fields;
    this.#done = fields.position;
  }

  /** Copies what comes before the field at hand. */
  upToField(): void {
    this.#copy(this.#fields.fieldStart);
  }

  /** Copies everything that has been read. */
  toEnd(): void {
    this.#copy(this.#fields.position);
  }

  skipField(): void {
    this.upToField();
    this.#done = this.#fields.position;
  }

  #copy(end: number): void {
    if (end <= this.#done) return;
    this.#writer.bytes(this.#fields.buffer.subarray(this.#done, end));
    this.#done = end;
  }
}

/** Whether a field gives way to one that is written here. */
function isReplaced(field: ProtobufReader, { parentSpanId }: SpanHead): boolean {
  switch (field.tag) {
    case SPAN_TRACE_ID:
      return true;
    case SPAN_PARENT_SPAN_ID:
      return parentSpanId === "";
    case SPAN_ATTRIBUTES:
      return hasOurKey(field);
    default:
      return false;
  }
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

function copyLink(writer: ProtobufWriter, fields: ProtobufReader, copy: FieldCopy, follow: FollowLink): void {
  copy.toEnd();
  // The copy of the link's content is the last that was written.
  const start = writer.position - (fields.end - fields.start);
  followLink(writer.buffer, new ProtobufReader(writer.buffer, start, writer.position), follow);
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
