import { type Attributes, SpanKind, type TraceState } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base";
import type { SpanRecord as Expected, ValueRecord } from "../../decode/support/span-record.ts";
import type { PlainMessage } from "./otlp-proto.ts";

/** A recorded span as protobufjs takes it, exact in every bit; without its resource. */
export function plainSpan(expected: Expected): PlainMessage {
  const { traceFlags, isRemote: _, resource: _resource, links, ...span } = expected;
  return {
    ...span,
    ...ids(expected),
    parentSpanId: fromHex(expected.parentSpanId),
    flags: traceFlags,
    links: links.map(({ traceFlags, isRemote: _, ...link }) => ({
      ...link,
      ...ids(link),
      flags: traceFlags,
    })),
  };
}

function ids({ traceId, spanId }: { traceId: string; spanId: string }): PlainMessage {
  return { traceId: fromHex(traceId), spanId: fromHex(spanId) };
}

function fromHex(hex: string): number[] {
  return (hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16));
}

/** OTLP's kinds as the API's. */
const KINDS: Readonly<Record<number, SpanKind>> = {
  1: SpanKind.INTERNAL,
  2: SpanKind.SERVER,
  3: SpanKind.CLIENT,
  4: SpanKind.PRODUCER,
  5: SpanKind.CONSUMER,
};

/**
 * A recorded span as the SDK has it, for OpenTelemetry's own serializer. The SDK's numbers are doubles, so this is for
 * spans whose integers are small; it tells an integer from a double by its value.
 */
export function readableSpan(expected: Expected): ReadableSpan {
  const context = (
    of: { traceId: string; spanId: string; traceFlags: number; traceState: string },
  ) => ({
    traceId: of.traceId,
    spanId: of.spanId,
    traceFlags: of.traceFlags,
    ...(of.traceState === "" ? {} : { traceState: traceState(of.traceState) }),
  });
  return {
    name: expected.name,
    kind: KINDS[expected.kind] as SpanKind,
    spanContext: () => context(expected),
    ...(expected.parentSpanId === "" ? {} : {
      parentSpanContext: {
        traceId: expected.traceId,
        spanId: expected.parentSpanId,
        traceFlags: expected.traceFlags,
      },
    }),
    startTime: hrTime(expected.startTimeUnixNano),
    endTime: hrTime(expected.endTimeUnixNano),
    duration: [0, 0],
    ended: true,
    status: { code: expected.status.code, message: expected.status.message },
    attributes: attributes(expected.attributes),
    droppedAttributesCount: expected.droppedAttributesCount,
    events: expected.events.map((event) => ({
      time: hrTime(event.timeUnixNano),
      name: event.name,
      attributes: attributes(event.attributes),
      droppedAttributesCount: event.droppedAttributesCount,
    })),
    droppedEventsCount: expected.droppedEventsCount,
    links: expected.links.map((link) => ({
      context: context(link),
      attributes: attributes(link.attributes),
      droppedAttributesCount: link.droppedAttributesCount,
    })),
    droppedLinksCount: expected.droppedLinksCount,
    resource: resourceFromAttributes(attributes(expected.resource ?? [])),
    instrumentationScope: { name: "" },
  };
}

function traceState(text: string): TraceState {
  return {
    serialize: () => text,
    get: () => undefined,
    set: () => traceState(text),
    unset: () => traceState(text),
  };
}

function hrTime(unixNano: string): [number, number] {
  const nanos = BigInt(unixNano);
  return [Number(nanos / 1_000_000_000n), Number(nanos % 1_000_000_000n)];
}

function attributes(list: readonly { key: string; value: ValueRecord }[]): Attributes {
  return Object.fromEntries(list.map(({ key, value }) => [key, plainValue(value)])) as Attributes;
}

function plainValue(value: ValueRecord): unknown {
  if ("boolValue" in value) return value.boolValue;
  if ("intValue" in value) return Number(value.intValue);
  if ("doubleValue" in value) return Number(value.doubleValue);
  return "stringValue" in value ? value.stringValue : value.arrayValue.values.map(plainValue);
}
