import { decodeJaegerThrift, type JaegerBatch } from "../../../src/decode/jaeger-thrift/decoder.ts";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeJaegerSpans, type JaegerRecord } from "./jaeger-record.ts";
import { encodeThriftBatch, type ThriftSpan, type ThriftTag } from "./thrift-encoder.ts";

export const spans: EncodedSpans = new EncodedSpans();

/** Decodes a body, and checks that what it became is OTLP in canonical form. */
export function decodeBody(body: Uint8Array, keepHttp2Noise = false): { batch: JaegerBatch; records: JaegerRecord[] } {
  spans.clear();
  const batch = decodeJaegerThrift(body, 0, body.length, spans, { keepHttp2Noise });
  return { batch, records: decodeJaegerSpans(spans) };
}

/** A span with a name and IDs, and what is given. */
export function thriftSpan(fields: Partial<ThriftSpan> = {}): ThriftSpan {
  return {
    traceIdLow: 2n,
    traceIdHigh: 1n,
    spanId: 3n,
    parentSpanId: 0n,
    operationName: "op",
    flags: 1,
    startTime: 1_787_000_000_000_000n,
    duration: 5n,
    ...fields,
  };
}

/** The one span of a batch of the service `kata`, decoded. */
export function decodeOne(fields: Partial<ThriftSpan>): JaegerRecord {
  const { records } = decodeBody(encodeThriftBatch({ serviceName: "kata", spans: [thriftSpan(fields)] }));
  if (records.length !== 1) throw new Error(`${records.length} spans`);
  return records[0] as JaegerRecord;
}

/** The one span with these tags, decoded. */
export function decodeTags(...tags: ThriftTag[]): JaegerRecord {
  return decodeOne({ tags });
}

/** Attributes as plain values: `{ key: value }`. */
export function plain(attributes: JaegerRecord["attributes"]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
