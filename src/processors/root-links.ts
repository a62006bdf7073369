import { Buffer } from "node:buffer";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";
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
  SCOPE_SPANS_SPANS,
  SPAN_LINKS,
  SPAN_PARENT_SPAN_ID,
} from "../otlp/trace-fields.ts";

/**
 * Gives each root span that passes a link to one context. A span is a root where it has no parent, or one of zeros
 * only, which some writers mean by it. Everything else of it stays as it is, byte for byte; the link is its last field.
 */
export class RootLinks implements SpanSink {
  readonly #sink: SpanSink;
  readonly #link: Uint8Array;

  constructor(sink: SpanSink, context: TraceContext) {
    this.#sink = sink;
    this.#link = encodeLink(context);
  }

  open(source: Source): SourceSink {
    const sink = this.#sink.open(source);
    return {
      accept: (spans) => {
        linkRoots(spans, this.#link);
        sink.accept(spans);
      },
      settled: () => sink.settled(),
      close: () => sink.close(),
    };
  }

  isPaused(account: string): boolean {
    return this.#sink.isPaused(account);
  }

  readOn(account: string): void {
    this.#sink.readOn(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#sink.subscribe(onChange);
  }

  drain(timeoutMs: number): Promise<number> {
    return this.#sink.drain(timeoutMs);
  }

  abort(): Promise<number> {
    return this.#sink.abort();
  }
}

/** One whole `Span.links` field. */
function encodeLink({ traceId, spanId, flags }: TraceContext): Uint8Array {
  const writer = new ProtobufWriter();
  const link = writer.openMessage(SPAN_LINKS);
  writer.lengthDelimited(LINK_TRACE_ID >>> 3, Buffer.from(traceId, "hex"));
  writer.lengthDelimited(LINK_SPAN_ID >>> 3, Buffer.from(spanId, "hex"));
  writer.byte(LINK_FLAGS);
  // It came from another process.
  writer.fixed32(flags | FLAGS_HAS_IS_REMOTE | FLAGS_IS_REMOTE);
  writer.closeMessage(link);
  return writer.buffer.slice(0, writer.position);
}

/** Puts a root span and its link behind what the payload became, and lets its place point there. */
function linkRoots(spans: EncodedSpans, link: Uint8Array): void {
  const { writer } = spans;
  let reader = new ProtobufReader(writer.buffer);
  for (let span = 0; span < spans.count; span++) {
    reader.reset(spans.spanStart(span), spans.spanEnd(span));
    reader.next();
    const { start, end } = reader;
    reader.reset(start, end);
    if (hasParent(reader)) continue;
    const content = writer.openField();
    writer.bytes(writer.buffer.subarray(start, end));
    writer.bytes(link);
    spans.moveSpan(span, writer.closeField(SCOPE_SPANS_SPANS, content), writer.position);
    // What was written may have needed a larger buffer.
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
