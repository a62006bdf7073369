import { recordToPart } from "../../src/otlp/record-encoder.ts";
import type { KeyValueRecord, SpanRecord } from "../../src/otlp/span-record.ts";
import type { IncomingSpan, StoredKind } from "../../src/store/span-source.ts";
import { TraceStore } from "../../src/store/trace-store.ts";
import { splitFrames } from "../decode/support/fixtures.ts";
import { expectedRecords, readPayload, type RecordedStream, streamBytes } from "../decode/support/recorded-streams.ts";
import type { SpanRecord as Recorded } from "../decode/support/span-record.ts";

export const MIB = 1024 * 1024;

/** A store in memory. */
export function memoryStore(limits = { maxBytes: 64 * MIB, keepMs: 3_600_000 }, label = ""): TraceStore {
  return TraceStore.open(":memory:", limits, label);
}

/** Resource attributes as records. */
export function attributes(values: Readonly<Record<string, string | number>>): KeyValueRecord[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    value: typeof value === "number" ? { intValue: String(value) } : { stringValue: value },
  }));
}

/** A recorded span with a resource that the host wrote. */
export function recordOf(
  recorded: Recorded & { readonly scope?: { name: string; version: string } },
  resource: Readonly<Record<string, string | number>>,
): SpanRecord {
  const { isRemote: _, traceFlags, resource: own, links, scope, ...span } = recorded;
  return {
    ...span,
    flags: traceFlags,
    links: links.map(({ isRemote: _, traceFlags: flags, ...link }) => ({ ...link, flags })),
    resource: {
      attributes: [...(own ?? []).filter(({ key }) => !(key in resource)), ...attributes(resource)],
      droppedAttributesCount: 0,
      schemaUrl: "",
    },
    scope: {
      name: scope?.name ?? "",
      version: scope?.version ?? "",
      attributes: [],
      droppedAttributesCount: 0,
      schemaUrl: "",
    },
  };
}

export function incoming(kind: StoredKind, records: readonly SpanRecord[]): IncomingSpan[] {
  return records.map((record) => ({ kind, part: recordToPart(record) }));
}

/** The spans of a recorded set of a runtime. */
export function runtimeRecords(name: string, resource: Readonly<Record<string, string>> = {}): SpanRecord[] {
  return expectedRecords(`jaeger-thrift/${name}.expected.jsonl`).map((span) => recordOf(span, resource));
}

/** The spans of a stream of an agent, with what the host says of its resource. */
export function agentRecords(
  stream: RecordedStream,
  resource: Readonly<Record<string, string | number>>,
): SpanRecord[] {
  return splitFrames(streamBytes(stream)).map((payload) => recordOf(readPayload(stream.encoding, payload), resource));
}

/** A made-up span. IDs are numbers, times nanoseconds since an arbitrary moment. */
export function madeUp(
  span: { id: number; parent?: number; trace?: number; name?: string; from?: number; to?: number },
  resource: Readonly<Record<string, string | number>> = {},
  own: Readonly<Record<string, string | number>> = {},
): SpanRecord {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const moment = 1_795_694_948_255_537_001n;
  return {
    traceId: hex(span.trace ?? 1, 32),
    spanId: hex(span.id, 16),
    parentSpanId: span.parent === undefined ? "" : hex(span.parent, 16),
    name: span.name ?? `span ${span.id}`,
    startTimeUnixNano: String(moment + BigInt(span.from ?? 0)),
    endTimeUnixNano: String(moment + BigInt(span.to ?? 1000)),
    traceState: "",
    flags: 1,
    kind: 1,
    attributes: attributes(own),
    droppedAttributesCount: 0,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { code: 0, message: "" },
    resource: { attributes: attributes(resource), droppedAttributesCount: 0, schemaUrl: "" },
    scope: { name: "", version: "", attributes: [], droppedAttributesCount: 0, schemaUrl: "" },
  };
}
