import { Buffer } from "node:buffer";
import { ProtobufReader } from "./protobuf-reader.ts";
import { RequestBuilder, type SpanPart } from "./request-builder.ts";
import { REQUEST_RESOURCE_SPANS, RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "./trace-fields.ts";

/** Takes an encoded `ExportTraceServiceRequest` apart. Throws `ProtobufError` if the bytes are not one. */
export function splitRequest(request: Uint8Array): SpanPart[] {
  const parts: SpanPart[] = [];
  const fields = new ProtobufReader(request);
  while (fields.next()) {
    if (fields.tag !== REQUEST_RESOURCE_SPANS) continue;
    const resource = fieldsBut(RESOURCE_SPANS_SCOPE_SPANS, fields.message());
    const scopes = fields.message();
    while (scopes.next()) {
      if (scopes.tag !== RESOURCE_SPANS_SCOPE_SPANS) continue;
      const scope = fieldsBut(SCOPE_SPANS_SPANS, scopes.message());
      const spans = scopes.message();
      while (spans.next()) {
        if (spans.tag !== SCOPE_SPANS_SPANS) continue;
        parts.push({ resource, scope, span: request.subarray(spans.fieldStart, spans.position) });
      }
    }
  }
  return parts;
}

/**
 * Goes through the spans of an encoded `ExportTraceServiceRequest`. It yields a reader that is at the field of a span;
 * all spans of a scope share one reader. Throws `ProtobufError` when it reaches bytes that do not belong in a request.
 */
export function* spansOf(request: Uint8Array): Generator<ProtobufReader> {
  const fields = new ProtobufReader(request);
  while (fields.next()) {
    if (fields.tag !== REQUEST_RESOURCE_SPANS) continue;
    const scopes = fields.message();
    while (scopes.next()) {
      if (scopes.tag !== RESOURCE_SPANS_SCOPE_SPANS) continue;
      const spans = scopes.message();
      while (spans.next()) if (spans.tag === SCOPE_SPANS_SPANS) yield spans;
    }
  }
}

/** How many spans an encoded `ExportTraceServiceRequest` holds. Throws `ProtobufError` if the bytes are not one. */
export function countSpans(request: Uint8Array): number {
  let count = 0;
  for (const _ of spansOf(request)) count++;
  return count;
}

/**
 * Two requests that hold a request's spans between them, half and half by count and in the same order.
 * Throws `RangeError` if there are fewer than two.
 */
export function halve(request: Uint8Array): [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] {
  const parts = splitRequest(request);
  if (parts.length < 2) throw new RangeError(`${parts.length} span(s) cannot be halved`);
  const middle = parts.length >>> 1;
  return [joinParts(parts.slice(0, middle)), joinParts(parts.slice(middle))];
}

/**
 * Requests with at most `maxSpans` of a request's spans each, in the same order, without the first `skipped` spans.
 * Throws `ProtobufError` if the bytes are not a request.
 */
export function splitSpans(
  request: Uint8Array,
  skipped: number,
  maxSpans: number,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly spans: number }[] {
  const parts = splitRequest(request);
  const requests = [];
  for (let at = skipped; at < parts.length; at += maxSpans) {
    const group = parts.slice(at, at + maxSpans);
    requests.push({ bytes: joinParts(group), spans: group.length });
  }
  return requests;
}

function joinParts(parts: readonly SpanPart[]): Uint8Array<ArrayBuffer> {
  const builder = new RequestBuilder();
  for (const part of parts) builder.appendPart(part);
  return builder.finish();
}

/**
 * A message's bytes without its fields of one tag: a view where the rest is in one piece, as it is in what is built
 * here.
 */
function fieldsBut(tag: number, message: ProtobufReader): Uint8Array {
  const pieces: Uint8Array[] = [];
  let start = message.position;
  let end = start;
  while (message.next()) {
    if (message.tag === tag) {
      if (end > start) pieces.push(message.buffer.subarray(start, end));
      start = message.position;
    }
    end = message.position;
  }
  if (end > start) pieces.push(message.buffer.subarray(start, end));
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}
