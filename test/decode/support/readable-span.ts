import type { Attributes, AttributeValue, HrTime, TraceState } from "@opentelemetry/api";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base";
import { doubleOf, doubleRecord, sortedByKey } from "./span-record.ts";
import type { AttributeRecord, LinkRecord, SpanRecord, ValueRecord } from "./span-record.ts";

/** The record as an `ExportTraceServiceRequest`, by OpenTelemetry's own serializer. */
export function serializeRecords(records: readonly SpanRecord[]): Uint8Array {
  const request = ProtobufTraceSerializer.serializeRequest(records.map(readableSpan));
  if (request === undefined) throw new Error("OpenTelemetry serialized nothing");
  return request;
}

/**
 * The record without what OpenTelemetry's JavaScript types cannot hold: attributes are members of an object, so no key
 * comes twice, and numbers are doubles, where a whole one is an integer and integers beyond 2^53 have gaps.
 */
export function expressible(record: SpanRecord): SpanRecord {
  const part = <T extends { attributes: AttributeRecord[] }>(item: T): T => ({
    ...item,
    attributes: expressibleAttributes(item.attributes),
  });
  return {
    ...part(record),
    attributes: sortedByKey(expressibleAttributes(record.attributes)),
    events: record.events.map(part),
    links: record.links.map(part),
    resource: record.resource === null ? null : sortedByKey(expressibleAttributes(record.resource)),
  };
}

function expressibleAttributes(attributes: readonly AttributeRecord[]): AttributeRecord[] {
  // An object has keys that look like an array's index before all others, and `__proto__` is none.
  const entries = attributes.map(({ key, value }) => {
    const name = /^(\d+|__proto__)$/.test(key) ? `key ${key}` : key;
    return [name, { key: name, value: expressibleValue(value) }] as const;
  });
  return [...new Map(entries).values()];
}

function expressibleValue(value: ValueRecord): ValueRecord {
  if ("intValue" in value) {
    const integer = BigInt.asIntN(64, BigInt(Number(value.intValue)));
    return { intValue: String(integer) };
  }
  if ("doubleValue" in value) {
    const double = doubleOf(value.doubleValue);
    return doubleRecord(Number.isInteger(double) ? 0.5 : double);
  }
  if ("arrayValue" in value) {
    return { arrayValue: { values: value.arrayValue.values.map(expressibleValue) } };
  }
  return value;
}

/** An {@link expressible} record as OpenTelemetry's SDK would hand it to an exporter. */
export function readableSpan(record: SpanRecord): ReadableSpan {
  return {
    name: record.name,
    // The API's kinds begin with 0 for internal, OTLP's with 0 for unspecified.
    kind: record.kind - 1,
    spanContext: () => spanContext(record),
    ...(record.parentSpanId === "" ? {} : {
      parentSpanContext: { traceId: record.traceId, spanId: record.parentSpanId, traceFlags: 0 },
    }),
    startTime: hrTime(record.startTimeUnixNano),
    endTime: hrTime(record.endTimeUnixNano),
    duration: [0, 0],
    ended: true,
    status: record.status,
    attributes: attributesOf(record.attributes),
    droppedAttributesCount: record.droppedAttributesCount,
    events: record.events.map((event) => ({
      name: event.name,
      time: hrTime(event.timeUnixNano),
      attributes: attributesOf(event.attributes),
      droppedAttributesCount: event.droppedAttributesCount,
    })),
    droppedEventsCount: record.droppedEventsCount,
    links: record.links.map((link) => ({
      context: spanContext(link),
      attributes: attributesOf(link.attributes),
      droppedAttributesCount: link.droppedAttributesCount,
    })),
    droppedLinksCount: record.droppedLinksCount,
    resource: resourceFromAttributes(attributesOf(record.resource ?? [])),
    instrumentationScope: { name: "" },
  };
}

function spanContext(
  context: Pick<LinkRecord, "traceId" | "spanId" | "traceFlags" | "isRemote" | "traceState">,
) {
  const { traceId, spanId, traceFlags, isRemote, traceState } = context;
  const state: TraceState = {
    serialize: () => traceState,
    get: () => undefined,
    set: () => state,
    unset: () => state,
  };
  return { traceId, spanId, traceFlags, isRemote, traceState: state };
}

function attributesOf(attributes: readonly AttributeRecord[]): Attributes {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, valueOf(value)]));
}

function valueOf(value: ValueRecord): AttributeValue {
  if ("boolValue" in value) return value.boolValue;
  if ("intValue" in value) return Number(value.intValue);
  if ("doubleValue" in value) return doubleOf(value.doubleValue);
  if ("stringValue" in value) return value.stringValue;
  return value.arrayValue.values.map(valueOf) as string[];
}

function hrTime(nanoseconds: string): HrTime {
  const time = BigInt(nanoseconds);
  return [Number(time / 1_000_000_000n), Number(time % 1_000_000_000n)];
}
