import { Buffer } from "node:buffer";
import { ProtobufError, ProtobufReader } from "../otlp/protobuf-reader.ts";
import {
  REQUEST_RESOURCE_SPANS,
  RESOURCE_SPANS_SCOPE_SPANS,
  SCOPE_SPANS_SPANS,
  SPAN_SPAN_ID,
  SPAN_TRACE_ID,
} from "../otlp/trace-fields.ts";

/** A span in a request. */
export interface SpanIds {
  /** Hexadecimal. */
  readonly traceId: string;
  readonly spanId: string;
}

/**
 * The traces that an encoded `ExportTraceServiceRequest` holds spans of, at most so many, each with the first of them.
 * Of bytes that are no such request, those that come before the fault.
 */
export function traceContexts(request: Uint8Array, most: number): SpanIds[] {
  const found = new Map<string, SpanIds>();
  try {
    for (const span of spansOf(request)) {
      if (found.size >= most) break;
      const { traceId, spanId } = idsOf(span);
      if (!found.has(traceId)) found.set(traceId, { traceId, spanId });
    }
  } catch (error) {
    // The request is sent all the same: what is wrong with it is the collector's to say.
    if (!(error instanceof ProtobufError)) throw error;
  }
  return [...found.values()];
}

function* spansOf(request: Uint8Array): Generator<ProtobufReader> {
  const fields = new ProtobufReader(request);
  while (fields.next()) {
    if (fields.tag !== REQUEST_RESOURCE_SPANS) continue;
    const scopes = fields.message();
    while (scopes.next()) {
      if (scopes.tag !== RESOURCE_SPANS_SCOPE_SPANS) continue;
      const spans = scopes.message();
      while (spans.next()) if (spans.tag === SCOPE_SPANS_SPANS) yield spans.message();
    }
  }
}

function idsOf(span: ProtobufReader): SpanIds {
  let traceId = "";
  let spanId = "";
  while ((traceId === "" || spanId === "") && span.next()) {
    if (span.tag === SPAN_TRACE_ID) traceId = hex(span);
    else if (span.tag === SPAN_SPAN_ID) spanId = hex(span);
  }
  return { traceId, spanId };
}

function hex({ buffer, start, end }: ProtobufReader): string {
  return Buffer.from(buffer.buffer, buffer.byteOffset + start, end - start).toString("hex");
}
