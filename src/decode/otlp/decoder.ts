import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "../../otlp/trace-fields.ts";
import { MAX_REPEATED_BYTES, MAX_SHARED_BYTES } from "../shared-bytes.ts";
import { WireError } from "../wire-error.ts";
import { writeCanonical } from "./canonical-writer.ts";
import { RequestChecker } from "./checker.ts";

/**
 * Takes `buffer[start … end)`, an `ExportTraceServiceRequest` in protobuf, apart into its spans.
 *
 * Before that it is checked, all of it: it is well-formed; known fields have their type, IDs their size, a span's IDs a
 * bit that is set, text is UTF-8; messages nest no deeper than `MAX_MESSAGE_DEPTH`; every resource has a scope and every
 * scope a span, and there are not too many of them. A field that is not repeated may come only once, though protobuf
 * allows it: decoders differ in what they make of it, and what is checked here must be what the collector sees. What
 * spans share is no larger than {@link MAX_SHARED_BYTES}, and {@link MAX_REPEATED_BYTES} for all of them.
 *
 * A request in canonical form comes through as it is, and any other one as {@link writeCanonical} writes it.
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
  let begin = writer.position;
  // Spans and all stay where they are in this copy; only what has to be in one piece and is not is copied again.
  writer.bytes(buffer.subarray(start, end));
  const checker = new RequestChecker(writer.buffer, begin, writer.position);
  checker.check();
  if (!checker.isCanonical) {
    const copied = writer.position;
    writeCanonical(writer, begin, copied);
    begin = copied;
  }
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
        repeatedBytes += sharedBytes;
        if (repeatedBytes > MAX_REPEATED_BYTES) {
          throw new WireError(
            "too-large",
            fields.fieldStart - begin,
            "too many spans share too much",
          );
        }
        spans.add(fields.fieldStart, fields.position, scopeStart, scopeEnd, resourceStart, resourceEnd);
      }
    }
  }
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
