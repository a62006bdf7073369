import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { type SpanRecord, spanToRecord } from "../../../src/otlp/json-record.ts";
import { encode, type PlainMessage } from "./otlp-proto.ts";

/** A span with what it belongs to, as protobufjs takes it. */
export interface PlainSpan {
  /** `ResourceSpans` without `scopeSpans`. */
  readonly resource?: PlainMessage;
  /** `ScopeSpans` without `spans`. */
  readonly scope?: PlainMessage;
  readonly span: PlainMessage;
}

/** One whole `ScopeSpans.spans` field. */
export function spanField(span: PlainMessage): Uint8Array {
  return encode("ScopeSpans", { spans: [span] });
}

/** Encodes spans as a payload's decoder leaves them, with other bytes around each range. */
export function encodedSpans(spans: readonly PlainSpan[], into = new EncodedSpans()): EncodedSpans {
  const { writer } = into;
  const put = (bytes: Uint8Array): [number, number] => {
    writer.bytes(Uint8Array.of(0xff));
    const start = writer.position;
    writer.bytes(bytes);
    return [start, writer.position];
  };
  for (const { resource, scope, span } of spans) {
    const resourceRange = put(encode("ResourceSpans", resource ?? {}));
    const scopeRange = put(encode("ScopeSpans", scope ?? {}));
    into.setScope(...scopeRange);
    into.setResource(...resourceRange);
    into.add(...put(spanField(span)));
  }
  return into;
}

/** An attribute with a string. */
export function attribute(key: string, stringValue: string): PlainMessage {
  return { key, value: { stringValue } };
}

/** The records of decoded spans. */
export function recordsOf(spans: EncodedSpans): SpanRecord[] {
  const { buffer } = spans.writer;
  return Array.from({ length: spans.count }, (_, i) =>
    spanToRecord(
      buffer.slice(spans.resourceStart(i), spans.resourceEnd(i)),
      buffer.slice(spans.scopeStart(i), spans.scopeEnd(i)),
      buffer.slice(spans.spanStart(i), spans.spanEnd(i)),
    ));
}
