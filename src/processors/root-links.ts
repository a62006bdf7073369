import { Buffer } from "node:buffer";
import type { SpanSink } from "../pipeline/sink.ts";
import type { TraceContext } from "../pipeline/trace-context.ts";
import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import {
  FLAGS_HAS_IS_REMOTE,
  FLAGS_IS_REMOTE,
  LINK_FLAGS,
  LINK_SPAN_ID,
  LINK_TRACE_ID,
  SPAN_LINKS,
  SPAN_PARENT_SPAN_ID,
} from "../otlp/trace-fields.ts";
import { SpanProcessor } from "./span-processor.ts";

/**
 * Gives each root span of a guest a link to one context. A root span has no parent, or one that consists of zeros, by
 * which some writers mean the same. The link becomes the span's last field, and everything else stays as it is.
 *
 * A sandbox has many root spans, because agents begin a trace with every RPC that comes without a traceparent, and for
 * some of what they do by themselves. Nothing but the sandbox's ID joins these traces, so each of them gets the link,
 * and not only that of `root-span`, which ends with the sandbox and is lost if the sandbox is killed. What the host's
 * own programs send is not linked, because their spans know their callers.
 */
export function linkingRoots(sink: SpanSink, context: TraceContext): SpanSink {
  const link = encodeLink(context);
  return new SpanProcessor(sink, ({ kind }) => kind === "guest" ? (spans) => linkRoots(spans, link) : undefined);
}

/** One whole `Span.links` field. */
function encodeLink({ traceId, spanId, flags }: TraceContext): Uint8Array {
  const writer = new ProtobufWriter();
  const link = writer.openMessage(SPAN_LINKS);
  writer.lengthDelimited(LINK_TRACE_ID >>> 3, Buffer.from(traceId, "hex"));
  writer.lengthDelimited(LINK_SPAN_ID >>> 3, Buffer.from(spanId, "hex"));
  writer.byte(LINK_FLAGS);
  // The context came from another process.
  writer.fixed32(flags | FLAGS_HAS_IS_REMOTE | FLAGS_IS_REMOTE);
  writer.closeMessage(link);
  return writer.buffer.slice(0, writer.position);
}

/** Adds the link to each root span. */
function linkRoots(spans: EncodedSpans, link: Uint8Array): void {
  const { writer } = spans;
  let reader = new ProtobufReader(writer.buffer);
  for (let span = 0; span < spans.count; span++) {
    reader.reset(spans.spanStart(span), spans.spanEnd(span));
    reader.next();
    reader.reset(reader.start, reader.end);
    if (hasParent(reader)) continue;
    spans.appendToSpan(span, link);
    // Writing may have moved everything to a larger buffer.
    if (reader.buffer !== writer.buffer) reader = new ProtobufReader(writer.buffer);
  }
}

function hasParent(span: ProtobufReader): boolean {
  while (span.next()) {
    if (span.tag !== SPAN_PARENT_SPAN_ID) continue;
    for (let at = span.start; at < span.end; at++) if (span.buffer[at] !== 0) return true;
    return false;
  }
  return false;
}
