import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../otlp/span-record.ts";

/** `SpanKind` and `StatusCode` of the Rust crates, by OTLP's numbers. */
const KINDS = ["Internal", "Internal", "Server", "Client", "Producer", "Consumer"];
const STATUSES = ["Unset", "Ok", "Error"];

const NANOS_PER_SECOND = 1_000_000_000n;
/** The limits of the agents' SDK, which a span carries: opentelemetry 0.17, `SpanLimits::default`. */
const MAX_ITEMS = 128;

/**
 * A span as agents of Kata 3.29 and later write it: serde_json's form of opentelemetry 0.17's `SpanData`. What that
 * structure has no place for (the scope, bytes and nested values, which become text) is lost.
 */
export function agentJson(span: SpanRecord): string {
  const context = (traceId: string, spanId: string, flags: number, traceState: string): string =>
    `{"trace_id":${BigInt(`0x${traceId}`)},"span_id":${BigInt(`0x${spanId}`)},"trace_flags":${flags & 0xff},` +
    `"is_remote":false,"trace_state":${stateOf(traceState)}}`;
  const queue = (items: readonly string[], dropped: number): string =>
    `{"queue":${
      items.length === 0 ? "null" : `[${items.join(",")}]`
    },"max_len":${MAX_ITEMS},"dropped_count":${dropped}}`;
  const events = span.events.map((event) =>
    `{"name":${JSON.stringify(event.name)},"timestamp":${timeOf(event.timeUnixNano)},` +
    `"attributes":${listOf(event.attributes)},"dropped_attributes_count":${event.droppedAttributesCount}}`
  );
  const links = span.links.map((link) =>
    `{"span_context":${context(link.traceId, link.spanId, link.flags, link.traceState)},` +
    `"attributes":${listOf(link.attributes)},"dropped_attributes_count":${link.droppedAttributesCount}}`
  );
  return [
    `{"span_context":${context(span.traceId, span.spanId, span.flags, span.traceState)}`,
    `"parent_span_id":${span.parentSpanId === "" ? 0 : BigInt(`0x${span.parentSpanId}`)}`,
    `"span_kind":"${KINDS[span.kind] ?? "Internal"}"`,
    `"name":${JSON.stringify(span.name)}`,
    `"start_time":${timeOf(span.startTimeUnixNano)}`,
    `"end_time":${timeOf(span.endTimeUnixNano)}`,
    `"attributes":{"map":${mapOf(span.attributes)},"evict_list":[],"max_len":${MAX_ITEMS},` +
    `"dropped_count":${span.droppedAttributesCount}}`,
    `"events":${queue(events, span.droppedEventsCount)}`,
    `"links":${queue(links, span.droppedLinksCount)}`,
    `"status_code":"${STATUSES[span.status.code] ?? "Unset"}"`,
    `"status_message":${JSON.stringify(span.status.message)}`,
    `"resource":{"attrs":${mapOf(span.resource.attributes)}}}`,
  ].join(",");
}

function stateOf(traceState: string): string {
  if (traceState === "") return "null";
  const members = traceState.split(",").map((member) => {
    const at = member.indexOf("=");
    return at < 0 ? [member, ""] : [member.slice(0, at), member.slice(at + 1)];
  });
  return JSON.stringify(members);
}

function timeOf(unixNano: string): string {
  const nanos = BigInt(unixNano);
  return `{"secs_since_epoch":${nanos / NANOS_PER_SECOND},"nanos_since_epoch":${nanos % NANOS_PER_SECOND}}`;
}

function mapOf(attributes: readonly KeyValueRecord[]): string {
  return `{${attributes.map(({ key, value }) => `${JSON.stringify(key)}:${valueOf(value)}`).join(",")}}`;
}

function listOf(attributes: readonly KeyValueRecord[]): string {
  return `[${
    attributes.map(({ key, value }) => `{"key":${JSON.stringify(key)},"value":${valueOf(value)}}`).join(",")
  }]`;
}

function valueOf(value: AnyValueRecord): string {
  if (value.stringValue !== undefined) return `{"String":${JSON.stringify(value.stringValue)}}`;
  if (value.boolValue !== undefined) return `{"Bool":${value.boolValue}}`;
  if (value.intValue !== undefined) return `{"I64":${value.intValue}}`;
  if (value.doubleValue !== undefined) {
    return `{"F64":${typeof value.doubleValue === "number" ? value.doubleValue : "null"}}`;
  }
  return arrayOf(value) ?? `{"String":${JSON.stringify(JSON.stringify(value))}}`;
}

/** The crates' arrays hold values of one type. */
function arrayOf({ arrayValue }: AnyValueRecord): string | undefined {
  if (arrayValue === undefined) return undefined;
  const { values } = arrayValue;
  const all = (member: keyof AnyValueRecord): boolean => values.every((value) => value[member] !== undefined);
  const list = (write: (value: AnyValueRecord) => string): string => `[${values.map(write).join(",")}]`;
  if (all("stringValue")) return `{"Array":{"String":${list(({ stringValue }) => JSON.stringify(stringValue))}}}`;
  if (all("boolValue")) return `{"Array":{"Bool":${list(({ boolValue }) => String(boolValue))}}}`;
  if (all("intValue")) return `{"Array":{"I64":${list(({ intValue }) => String(intValue))}}}`;
  if (values.every(({ doubleValue }) => typeof doubleValue === "number")) {
    return `{"Array":{"F64":${list(({ doubleValue }) => String(doubleValue))}}}`;
  }
  return undefined;
}
