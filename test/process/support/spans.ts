import assert from "node:assert/strict";
import type { CollectorStub, ReceivedSpan } from "../../support/collector-stub.ts";
import { plainSpan } from "../../otlp/support/expected.ts";
import { encode, type PlainMessage } from "../../otlp/support/otlp-proto.ts";
import { encodeBincode } from "../../decode/support/bincode-encoder.ts";
import { decodeResource, decodeSpan, type Strictness } from "../../decode/support/decode-span.ts";
import { fixture, type FixtureName, frame } from "../../decode/support/fixtures.ts";
import {
  asOtlp,
  asRecorded,
  type AttributeRecord,
  type LinkRecord,
  type OtlpRecord,
  sortedByKey,
  type SpanRecord,
} from "../../decode/support/span-record.ts";
import { spanId } from "../../support/numbers.ts";
import { until } from "../../support/until.ts";

/** The encoding of a set's payloads. */
export const ENCODINGS = ["bincode", "json", "otlp"] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** A set as one guest sends it, and what it means. */
export interface SpanSet {
  readonly stream: Uint8Array;
  readonly expected: readonly SpanRecord[];
}

/** A recorded set in an encoding. In OTLP it is one request with all spans. */
export function spanSet(name: FixtureName, encoding: Encoding): SpanSet {
  const { bincodeStream, jsonStream, expected } = fixture(name);
  switch (encoding) {
    case "bincode":
      return { stream: bincodeStream, expected };
    case "json":
      return { stream: jsonStream, expected: expected.map(asJson) };
    case "otlp":
      return { stream: frame(otlpRequest(expected)), expected };
  }
}

/** An `ExportTraceServiceRequest`. */
export function otlpRequest(spans: readonly SpanRecord[]): Uint8Array {
  return encode("ExportTraceServiceRequest", {
    resourceSpans: spans.map((span) => ({
      resource: { attributes: span.resource ?? [] },
      scopeSpans: [{ spans: [withRemoteFlags(plainSpan(span), span)] }],
    })),
  });
}

/** `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK` of trace.proto. */
const HAS_IS_REMOTE = 0x100;
const IS_REMOTE = 0x200;

function withRemoteFlags(plain: PlainMessage, { links }: SpanRecord): PlainMessage {
  const plainLinks = plain["links"] as readonly PlainMessage[];
  return {
    ...plain,
    links: plainLinks.map((link, i) => {
      const { traceFlags, isRemote } = links[i] as LinkRecord;
      return { ...link, flags: traceFlags | HAS_IS_REMOTE | (isRemote ? IS_REMOTE : 0) };
    }),
  };
}

/** JSON has only null for values that are not numbers, which become NaN. */
function asJson<Value>(value: Value): Value {
  if (Array.isArray(value)) return value.map(asJson) as Value;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      key === "doubleValue" && typeof member === "string" ? "NaN" : asJson(member),
    ]),
  ) as Value;
}

/** The host's attributes. */
export function hostAttributes(attributes: Readonly<Record<string, string>>): AttributeRecord[] {
  return Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } }));
}

/** Compares spans that a collector received with the expected ones. See {@link assertRecords}. */
export function assertReceived(
  received: readonly ReceivedSpan[],
  expected: readonly SpanRecord[],
  host: Readonly<Record<string, string>>,
  strictness: Strictness = "canonical",
): void {
  const records = received.map(({ resource, span }) => ({
    ...decodeSpan(span, strictness),
    resource: decodeResource(resource, strictness),
  }));
  assertRecords(records, expected, host);
}

/** Compares spans with the expected ones, field for field. Each must be there once, in any order. */
export function assertRecords(
  records: readonly OtlpRecord[],
  expected: readonly SpanRecord[],
  host: Readonly<Record<string, string>>,
): void {
  const arrived = new Map<string, OtlpRecord>();
  for (const record of records) {
    assert.ok(!arrived.has(record.spanId), `span ${record.spanId} arrived twice`);
    arrived.set(record.spanId, record);
  }
  for (const span of expected) {
    const record = arrived.get(span.spanId);
    assert.ok(record, `span ${span.spanId} did not arrive`);
    arrived.delete(span.spanId);
    const kept = (span.resource ?? []).filter(({ key }) => !(key in host));
    assert.deepEqual(asRecorded(record, span), {
      ...asOtlp(span),
      resource: sortedByKey([...kept, ...hostAttributes(host)]),
    });
  }
  assert.deepEqual([...arrived.keys()], [], "nothing else arrives");
}

/** The spans that a stub has received, in order. */
export function spansOf(stub: CollectorStub): ReceivedSpan[] {
  return stub.requests.flatMap(({ spans }) => spans);
}

/** Waits until a stub has accepted `count` different spans. */
export async function taken(stub: CollectorStub, count: number): Promise<void> {
  await until(() => stub.taken.size >= count, `${stub.taken.size} of ${count} spans arrive`);
}

/** A span whose ID is a number, and which is at least `bytes` long. */
export function plainRecord(number: number, bytes = 0): SpanRecord {
  return {
    attributes: [{ key: "text", value: { stringValue: "x".repeat(bytes) } }],
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
    endTimeUnixNano: "1700000000000000002",
    events: [],
    isRemote: false,
    kind: 1,
    links: [],
    name: "plain",
    parentSpanId: "",
    resource: null,
    spanId: spanId(number),
    startTimeUnixNano: "1700000000000000001",
    status: { code: 0, message: "" },
    traceFlags: 1,
    traceId: "0af7651916cd43dd8448eb211c80319c",
    traceState: "",
  };
}

/** Where a frame of bincode has its span ID: after the length and the trace ID. */
const SPAN_ID_OFFSET = 8 + 16;

/** Frames of plain spans that differ only in their IDs, which count up from `first`. */
export function plainFrames(first: number, count: number, bytes = 0): Uint8Array {
  const one = frame(encodeBincode(plainRecord(0, bytes)));
  const all = new Uint8Array(one.length * count);
  const view = new DataView(all.buffer);
  for (let i = 0; i < count; i++) {
    all.set(one, i * one.length);
    view.setBigUint64(i * one.length + SPAN_ID_OFFSET, BigInt(first + i), true);
  }
  return all;
}

/** The IDs of plain spans. */
export function plainIds(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => spanId(first + i));
}

/** The IDs that a stub has accepted, sorted, each as often as it was accepted. */
export function takenIds(stub: CollectorStub): string[] {
  return [...stub.taken].flatMap(([id, times]) => Array<string>(times).fill(id)).sort();
}
