import { Buffer } from "node:buffer";
import { ProtobufError, ProtobufReader } from "./protobuf-reader.ts";
import type { SpanPart } from "./request-builder.ts";
import { splitRequest } from "./request.ts";
import type {
  AnyValueRecord,
  EventRecord,
  KeyValueRecord,
  LinkRecord,
  ResourceRecord,
  ScopeRecord,
  SpanRecord,
} from "./span-record.ts";
import * as fields from "./trace-fields.ts";

export type * from "./span-record.ts";

/** While it is filled. */
type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };

/** How deep values may be nested: the limit of protobuf's own decoders. */
const MAX_DEPTH = 100;

/**
 * Decodes one span.
 *
 * @param resourceHeader the fields of `ResourceSpans` but for `scope_spans`.
 * @param scopeHeader the fields of `ScopeSpans` but for `spans`.
 * @param span a whole `spans` field: tag, length, `Span`.
 *
 * Throws `ProtobufError` if the bytes are not these messages, or nest deeper than protobuf's decoders accept.
 */
export function spanToRecord(
  resourceHeader: Uint8Array,
  scopeHeader: Uint8Array,
  span: Uint8Array,
): SpanRecord {
  return readSpanField(span, readResource(resourceHeader), readScope(scopeHeader));
}

/**
 * The spans of parts of requests. Parts next to each other that have one resource or scope share its record, so that a
 * large one that a thousand spans have is decoded once. Throws as {@link spanToRecord} does.
 */
export function* partsToRecords(parts: Iterable<SpanPart>): Generator<SpanRecord> {
  let last: SpanPart | undefined;
  let resource: ResourceRecord | undefined;
  let scope: ScopeRecord | undefined;
  for (const part of parts) {
    if (resource === undefined || part.resource !== last?.resource) resource = readResource(part.resource);
    if (scope === undefined || part.scope !== last?.scope) scope = readScope(part.scope);
    yield readSpanField(part.span, resource, scope);
    last = part;
  }
}

/** All spans of an encoded `ExportTraceServiceRequest`. Throws `ProtobufError` as {@link spanToRecord} does. */
export function requestToRecords(request: Uint8Array): SpanRecord[] {
  return [...partsToRecords(splitRequest(request))];
}

function readSpanField(span: Uint8Array, resource: ResourceRecord, scope: ScopeRecord): SpanRecord {
  const field = new ProtobufReader(span);
  if (!field.next() || field.tag !== fields.SCOPE_SPANS_SPANS) {
    throw new ProtobufError("not a span's field", 0);
  }
  return readSpan(field.message(), resource, scope);
}

function readSpan(
  message: ProtobufReader,
  resource: ResourceRecord,
  scope: ScopeRecord,
): SpanRecord {
  const span: Mutable<SpanRecord> = {
    traceId: "",
    spanId: "",
    traceState: "",
    parentSpanId: "",
    flags: 0,
    name: "",
    kind: 0,
    startTimeUnixNano: "0",
    endTimeUnixNano: "0",
    attributes: [],
    droppedAttributesCount: 0,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { code: 0, message: "" },
    resource,
    scope,
  };
  while (message.next()) {
    switch (message.tag) {
      case fields.SPAN_TRACE_ID:
        span.traceId = hex(message);
        break;
      case fields.SPAN_SPAN_ID:
        span.spanId = hex(message);
        break;
      case fields.SPAN_TRACE_STATE:
        span.traceState = message.text();
        break;
      case fields.SPAN_PARENT_SPAN_ID:
        span.parentSpanId = hex(message);
        break;
      case fields.SPAN_NAME:
        span.name = message.text();
        break;
      case fields.SPAN_KIND:
        span.kind = message.low | 0;
        break;
      case fields.SPAN_START_TIME:
        span.startTimeUnixNano = String(message.uint64());
        break;
      case fields.SPAN_END_TIME:
        span.endTimeUnixNano = String(message.uint64());
        break;
      case fields.SPAN_ATTRIBUTES:
        span.attributes.push(readAttribute(message.message()));
        break;
      case fields.SPAN_DROPPED_ATTRIBUTES:
        span.droppedAttributesCount = message.low;
        break;
      case fields.SPAN_EVENTS:
        span.events.push(readEvent(message.message()));
        break;
      case fields.SPAN_DROPPED_EVENTS:
        span.droppedEventsCount = message.low;
        break;
      case fields.SPAN_LINKS:
        span.links.push(readLink(message.message()));
        break;
      case fields.SPAN_DROPPED_LINKS:
        span.droppedLinksCount = message.low;
        break;
      case fields.SPAN_STATUS:
        span.status = readStatus(message.message(), span.status);
        break;
      case fields.SPAN_FLAGS:
        span.flags = message.low;
        break;
    }
  }
  return span;
}

function readEvent(message: ProtobufReader): EventRecord {
  const event: Mutable<EventRecord> = {
    timeUnixNano: "0",
    name: "",
    attributes: [],
    droppedAttributesCount: 0,
  };
  while (message.next()) {
    switch (message.tag) {
      case fields.EVENT_TIME:
        event.timeUnixNano = String(message.uint64());
        break;
      case fields.EVENT_NAME:
        event.name = message.text();
        break;
      case fields.EVENT_ATTRIBUTES:
        event.attributes.push(readAttribute(message.message()));
        break;
      case fields.EVENT_DROPPED_ATTRIBUTES:
        event.droppedAttributesCount = message.low;
        break;
    }
  }
  return event;
}

function readLink(message: ProtobufReader): LinkRecord {
  const link: Mutable<LinkRecord> = {
    traceId: "",
    spanId: "",
    traceState: "",
    attributes: [],
    droppedAttributesCount: 0,
    flags: 0,
  };
  while (message.next()) {
    switch (message.tag) {
      case fields.LINK_TRACE_ID:
        link.traceId = hex(message);
        break;
      case fields.LINK_SPAN_ID:
        link.spanId = hex(message);
        break;
      case fields.LINK_TRACE_STATE:
        link.traceState = message.text();
        break;
      case fields.LINK_ATTRIBUTES:
        link.attributes.push(readAttribute(message.message()));
        break;
      case fields.LINK_DROPPED_ATTRIBUTES:
        link.droppedAttributesCount = message.low;
        break;
      case fields.LINK_FLAGS:
        link.flags = message.low;
        break;
    }
  }
  return link;
}

function readStatus(message: ProtobufReader, before: SpanRecord["status"]): SpanRecord["status"] {
  let { code, message: text } = before;
  while (message.next()) {
    if (message.tag === fields.STATUS_CODE) code = message.low | 0;
    else if (message.tag === fields.STATUS_MESSAGE) text = message.text();
  }
  return { code, message: text };
}

/** Decodes the fields of `ResourceSpans` but for `scope_spans`. Throws `ProtobufError`. */
export function readResource(header: Uint8Array): ResourceRecord {
  const record: Mutable<ResourceRecord> = {
    attributes: [],
    droppedAttributesCount: 0,
    schemaUrl: "",
  };
  const message = new ProtobufReader(header);
  while (message.next()) {
    if (message.tag === fields.RESOURCE_SPANS_SCHEMA_URL) record.schemaUrl = message.text();
    if (message.tag !== fields.RESOURCE_SPANS_RESOURCE) continue;
    const resource = message.message();
    while (resource.next()) {
      if (resource.tag === fields.RESOURCE_ATTRIBUTES) {
        record.attributes.push(readAttribute(resource.message()));
      } else if (resource.tag === fields.RESOURCE_DROPPED_ATTRIBUTES) {
        record.droppedAttributesCount = resource.low;
      }
    }
  }
  return record;
}

/** Decodes the fields of `ScopeSpans` but for `spans`. Throws `ProtobufError`. */
export function readScope(header: Uint8Array): ScopeRecord {
  const record: Mutable<ScopeRecord> = {
    name: "",
    version: "",
    attributes: [],
    droppedAttributesCount: 0,
    schemaUrl: "",
  };
  const message = new ProtobufReader(header);
  while (message.next()) {
    if (message.tag === fields.SCOPE_SPANS_SCHEMA_URL) record.schemaUrl = message.text();
    if (message.tag !== fields.SCOPE_SPANS_SCOPE) continue;
    const scope = message.message();
    while (scope.next()) {
      switch (scope.tag) {
        case fields.SCOPE_NAME:
          record.name = scope.text();
          break;
        case fields.SCOPE_VERSION:
          record.version = scope.text();
          break;
        case fields.SCOPE_ATTRIBUTES:
          record.attributes.push(readAttribute(scope.message()));
          break;
        case fields.SCOPE_DROPPED_ATTRIBUTES:
          record.droppedAttributesCount = scope.low;
          break;
      }
    }
  }
  return record;
}

/** A `KeyValue`. Throws a {@link ProtobufError} if the bytes are not one. */
export function readAttribute(message: ProtobufReader): KeyValueRecord {
  return readKeyValue(message, 0);
}

function readKeyValue(message: ProtobufReader, depth: number): KeyValueRecord {
  let key = "";
  let value: AnyValueRecord = {};
  while (message.next()) {
    if (message.tag === fields.KEY_VALUE_KEY) key = message.text();
    else if (message.tag === fields.KEY_VALUE_VALUE) value = readValue(message.message(), depth);
  }
  return { key, value };
}

/** An `AnyValue`. Throws a {@link ProtobufError} if the bytes are not one. */
export function readAnyValue(message: ProtobufReader): AnyValueRecord {
  return readValue(message, 0);
}

function readValue(message: ProtobufReader, depth: number): AnyValueRecord {
  if (depth > MAX_DEPTH) throw new ProtobufError("value nested too deep", message.position);
  let value: AnyValueRecord = {};
  while (message.next()) {
    switch (message.tag) {
      case fields.ANY_VALUE_STRING:
        value = { stringValue: message.text() };
        break;
      case fields.ANY_VALUE_BOOL:
        value = { boolValue: message.low !== 0 || message.high !== 0 };
        break;
      case fields.ANY_VALUE_INT:
        value = { intValue: String(message.int64()) };
        break;
      case fields.ANY_VALUE_DOUBLE:
        value = { doubleValue: double(message.low, message.high) };
        break;
      case fields.ANY_VALUE_ARRAY: {
        const values: AnyValueRecord[] = [];
        const array = message.message();
        while (array.next()) {
          if (array.tag === fields.ARRAY_VALUE_VALUES) {
            values.push(readValue(array.message(), depth + 1));
          }
        }
        value = { arrayValue: { values } };
        break;
      }
      case fields.ANY_VALUE_KVLIST: {
        const values: KeyValueRecord[] = [];
        const list = message.message();
        while (list.next()) {
          if (list.tag === fields.KEY_VALUE_LIST_VALUES) {
            values.push(readKeyValue(list.message(), depth + 1));
          }
        }
        value = { kvlistValue: { values } };
        break;
      }
      case fields.ANY_VALUE_BYTES:
        value = { bytesValue: encoded(message, "base64") };
        break;
    }
  }
  return value;
}

function hex(reader: ProtobufReader): string {
  return encoded(reader, "hex");
}

function encoded({ buffer, start, end }: ProtobufReader, encoding: "hex" | "base64"): string {
  return Buffer.from(buffer.buffer, buffer.byteOffset + start, end - start).toString(encoding);
}

const BITS = new DataView(new ArrayBuffer(8));

/** A double from its bits, as OTLP/JSON writes it. */
function double(low: number, high: number): number | string {
  BITS.setUint32(0, low, true);
  BITS.setUint32(4, high, true);
  const value = BITS.getFloat64(0, true);
  return Number.isFinite(value) ? value : String(value);
}
