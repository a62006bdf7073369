import { doubleRecord, sortedByKey } from "./span-record.ts";
import type { AttributeRecord, LinkRecord, SpanRecord, ValueRecord } from "./span-record.ts";

/** The shape of `SpanData` in serde's JSON. Every number is its digits, because doubles do not hold 64 bits. */
interface JsonSpan extends Pick<JsonLink, "span_context"> {
  readonly parent_span_id: string;
  readonly span_kind: string;
  readonly name: string;
  readonly start_time: JsonTime;
  readonly end_time: JsonTime;
  readonly attributes: { readonly map: JsonAttributes; readonly dropped_count: string };
  readonly events: JsonQueue<JsonEvent>;
  readonly links: JsonQueue<JsonLink>;
  readonly status_code: string;
  readonly status_message: string;
  readonly resource: { readonly attrs: JsonAttributes } | null;
}

interface JsonContext {
  readonly trace_id: string;
  readonly span_id: string;
  readonly trace_flags: string;
  readonly is_remote: boolean;
  readonly trace_state: readonly (readonly [string, string])[] | null;
}

interface JsonTime {
  readonly secs_since_epoch: string;
  readonly nanos_since_epoch: string;
}

interface JsonQueue<Item> {
  readonly queue: readonly Item[] | null;
  readonly dropped_count: string;
}

interface JsonEvent {
  readonly name: string;
  readonly timestamp: JsonTime;
  readonly attributes: readonly JsonKeyValue[];
  readonly dropped_attributes_count: string;
}

interface JsonLink {
  readonly span_context: JsonContext;
  readonly attributes: readonly JsonKeyValue[];
  readonly dropped_attributes_count: string;
}

interface JsonKeyValue {
  readonly key: string;
  readonly value: JsonValue;
}

type JsonAttributes = { readonly [key: string]: JsonValue };
type JsonScalar = string | boolean | null;
type JsonValue =
  | { readonly Array: { readonly [variant: string]: readonly JsonScalar[] } }
  | { readonly [variant: string]: JsonScalar };

/** OTLP's numbers of the span kinds. */
const KINDS: Readonly<Record<string, number>> = { Internal: 1, Server: 2, Client: 3, Producer: 4, Consumer: 5 };
const STATUS_CODES = ["Unset", "Ok", "Error"];

/**
 * Reads an agent's JSON payload with the engine's own parser, which shares nothing with the decoder under test. It
 * takes what an agent writes and trusts its shape; it throws if the payload is not JSON.
 */
export function readJson(payload: Uint8Array): SpanRecord {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
  const span = JSON.parse(text, digits) as JsonSpan;
  return {
    ...context(span.span_context),
    attributes: attributeMap(span.attributes.map),
    droppedAttributesCount: Number(span.attributes.dropped_count),
    droppedEventsCount: Number(span.events.dropped_count),
    droppedLinksCount: Number(span.links.dropped_count),
    endTimeUnixNano: time(span.end_time),
    events: (span.events.queue ?? []).map((event) => ({
      attributes: attributeList(event.attributes),
      droppedAttributesCount: Number(event.dropped_attributes_count),
      name: event.name,
      timeUnixNano: time(event.timestamp),
    })),
    kind: KINDS[span.span_kind] as number,
    links: (span.links.queue ?? []).map((link): LinkRecord => ({
      ...context(link.span_context),
      attributes: attributeList(link.attributes),
      droppedAttributesCount: Number(link.dropped_attributes_count),
    })),
    name: span.name,
    parentSpanId: span.parent_span_id === "0" ? "" : hex(span.parent_span_id, 16),
    resource: span.resource === null ? null : attributeMap(span.resource.attrs),
    startTimeUnixNano: time(span.start_time),
    status: { code: STATUS_CODES.indexOf(span.status_code), message: span.status_message },
  };
}

/** A reviver that gives a number as its source text. */
function digits(this: unknown, _key: string, value: unknown, context?: { readonly source: string }): unknown {
  return typeof value === "number" ? context?.source : value;
}

function context(context: JsonContext) {
  return {
    isRemote: context.is_remote,
    spanId: hex(context.span_id, 16),
    traceFlags: Number(context.trace_flags),
    traceId: hex(context.trace_id, 32),
    traceState: (context.trace_state ?? []).map(([key, value]) => `${key}=${value}`).join(","),
  };
}

function attributeMap(map: JsonAttributes): AttributeRecord[] {
  return sortedByKey(Object.entries(map).map(([key, item]) => ({ key, value: value(item) })));
}

function attributeList(list: readonly JsonKeyValue[]): AttributeRecord[] {
  return list.map((attribute) => ({ key: attribute.key, value: value(attribute.value) }));
}

function value(json: JsonValue): ValueRecord {
  const [[variant, content] = ["", null]] = Object.entries(json);
  if (variant !== "Array") return scalar(variant, content as JsonScalar);
  const [[items, values] = ["", []]] = Object.entries(content as { [variant: string]: JsonScalar[] });
  return { arrayValue: { values: values.map((item) => scalar(items, item)) } };
}

function scalar(variant: string, content: JsonScalar): ValueRecord {
  if (variant === "Bool") return { boolValue: content as boolean };
  if (variant === "I64") return { intValue: content as string };
  if (variant === "F64") return doubleRecord(content === null ? NaN : Number(content));
  return { stringValue: content as string };
}

function time(time: JsonTime): string {
  return String(BigInt(time.secs_since_epoch) * 1_000_000_000n + BigInt(time.nanos_since_epoch));
}

function hex(decimal: string, digits: number): string {
  return BigInt(decimal).toString(16).padStart(digits, "0");
}
