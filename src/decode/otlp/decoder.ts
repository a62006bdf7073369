import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { copyBytes } from "../../otlp/put-bytes.ts";
import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "../../otlp/trace-fields.ts";
import { MAX_REPEATED_BYTES, MAX_SHARED_BYTES } from "../shared-bytes.ts";
import { WireError } from "../wire-error.ts";
import { writeCanonical } from "./canonical-writer.ts";
import { OddPlaces, RequestChecker } from "./checker.ts";

/** One for all guests, because a payload is decoded whole. */
const odd = new OddPlaces();
const checker = new RequestChecker(odd);

/**
 * Takes `buffer[start … end)`, an `ExportTraceServiceRequest` in protobuf, apart into its spans.
 *
 * Before that it is checked, all of it: it is well-formed; known fields have their type, IDs their size, a span's IDs a
 * bit that is set, text is UTF-8; messages nest no deeper than `MAX_MESSAGE_DEPTH`; every resource has a scope and
 * every scope a span, and there are not too many of them. A field that is not repeated may come only once, though
 * protobuf allows it: decoders differ in what they make of it, and what is checked here must be what the collector
 * sees. What spans share is no larger than {@link MAX_SHARED_BYTES}, and {@link MAX_REPEATED_BYTES} for all of them.
 *
 * A request in canonical form comes through as it is, and any other one as {@link writeCanonical} writes it.
 *
 * Throws a {@link WireError}. The contents of `spans` are not valid then.
 * Specification: opentelemetry-proto 1.x, and https://protobuf.dev/programming-guides/encoding/
 */
export function decodeOtlp(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
): void {
  const { writer } = spans;
  let from = writer.position;
  // Spans and all stay where they are in this copy; only what has to be in one piece and is not is copied again.
  writer.reserve(end - start);
  copyBytes(buffer, start, end, writer.buffer, from);
  writer.position += end - start;
  checker.check(writer.buffer, from, writer.position);
  if (odd.count > 0) {
    const copied = writer.position;
    writeCanonical(writer, from, copied, odd);
    from = copied;
  }
  takeApart(spans, from, writer.position);
}

/** Adds the spans of the request `writer.buffer[at … end)`, which is checked and canonical. */
function takeApart(spans: EncodedSpans, at: number, end: number): void {
  const { writer } = spans;
  const begin = at;
  let repeatedBytes = 0;
  while (at < end) {
    const resourceSpans = contentOf(writer, at);
    const resourceSpansEnd = contentEnd;
    const resourceStart = joinFieldsBut(RESOURCE_SPANS_SCOPE_SPANS, writer, resourceSpans, resourceSpansEnd);
    const resourceEnd = joinedEnd;
    checkShared(resourceEnd - resourceStart, at - begin);
    for (at = resourceSpans; at < resourceSpansEnd;) {
      const scopeSpans = contentOf(writer, at);
      const scopeSpansEnd = contentEnd;
      if (writer.buffer[at] !== RESOURCE_SPANS_SCOPE_SPANS) {
        at = scopeSpansEnd;
        continue;
      }
      const scopeStart = joinFieldsBut(SCOPE_SPANS_SPANS, writer, scopeSpans, scopeSpansEnd);
      const scopeEnd = joinedEnd;
      checkShared(scopeEnd - scopeStart, at - begin);
      spans.setResource(resourceStart, resourceEnd);
      spans.setScope(scopeStart, scopeEnd);
      const sharedBytes = resourceEnd - resourceStart + scopeEnd - scopeStart;
      for (at = scopeSpans; at < scopeSpansEnd; at = contentEnd) {
        contentOf(writer, at);
        if (writer.buffer[at] !== SCOPE_SPANS_SPANS) continue;
        repeatedBytes += sharedBytes;
        if (repeatedBytes > MAX_REPEATED_BYTES) {
          throw new WireError("too-large", at - begin, "too many spans share too much");
        }
        spans.add(at, contentEnd);
      }
    }
  }
}

function checkShared(bytes: number, offset: number): void {
  if (bytes > MAX_SHARED_BYTES) {
    throw new WireError("too-large", offset, `a resource or scope of ${bytes} bytes`);
  }
}

/**
 * Where the field ends that {@link contentOf} was asked for last, and where the fields that {@link joinFieldsBut}
 * joined.
 */
let contentEnd = 0;
let joinedEnd = 0;

/**
 * Where the content of the field at `at` begins. In canonical messages of the three outer levels every field is
 * length-delimited and has a tag of one byte.
 */
function contentOf({ buffer }: ProtobufWriter, at: number): number {
  let length = 0;
  for (let shift = 0;; shift += 7) {
    const byte = buffer[++at] as number;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  contentEnd = ++at + length;
  return at;
}

/**
 * Gives the fields of the message `writer.buffer[at … end)` but those with one tag as a range of the same buffer: where
 * they are, if they follow each other, else where they are appended. Returns where it begins.
 */
function joinFieldsBut(tag: number, writer: ProtobufWriter, at: number, end: number): number {
  let start = end;
  joinedEnd = end;
  while (at < end) {
    contentOf(writer, at);
    const fieldEnd = contentEnd;
    if (writer.buffer[at] !== tag) {
      if (start === end) start = at;
      else if (at !== joinedEnd) return appendFieldsBut(tag, writer, start, end);
      joinedEnd = fieldEnd;
    }
    at = fieldEnd;
  }
  return start;
}

function appendFieldsBut(tag: number, writer: ProtobufWriter, at: number, end: number): number {
  const start = writer.position;
  writer.reserve(end - at);
  while (at < end) {
    contentOf(writer, at);
    if (writer.buffer[at] !== tag) {
      copyBytes(writer.buffer, at, contentEnd, writer.buffer, writer.position);
      writer.position += contentEnd - at;
    }
    at = contentEnd;
  }
  joinedEnd = writer.position;
  return start;
}
