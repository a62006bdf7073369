import type { ProtobufReader } from "../otlp/protobuf-reader.ts";
import * as tags from "../otlp/trace-fields.ts";

/** How a string or bytes are written: as they are, or encoded. */
export type Strings = "text" | "hex" | "base64";

/** Writes the number that a reader is at. @param negativeZero what a double that is -0 becomes. */
type NumberText = (reader: ProtobufReader, negativeZero: string) => string;

/** A field of a message, as OTLP/JSON has it. */
export interface Field {
  readonly tag: number;
  /** Its name as JSON, and a colon. */
  readonly label: string;
  readonly kind: Strings | NumberText | Message;
  /** The name and the value that it has when it is not there: OTLP's JSON files name every field. */
  readonly absent: string;
  readonly isRepeated: boolean;
}

/** A message, its fields in the order in which they are written. */
export interface Message {
  readonly fields: readonly Field[];
  /** The place of a field among these, by its tag. */
  readonly places: readonly (number | undefined)[];
  /** Whether only the last of the fields counts. */
  readonly isOneof: boolean;
}

function field(name: string, tag: number, kind: Field["kind"], absent = absentValue(kind)): Field {
  const label = `"${name}":`;
  return { tag, label, kind, absent: label + absent, isRepeated: false };
}

function absentValue(kind: Field["kind"]): string {
  if (typeof kind === "function") return "0";
  if (typeof kind === "string") return '""';
  return kind.isOneof ? "{}" : `{${kind.fields.map(({ absent }) => absent).join(",")}}`;
}

function repeated(name: string, tag: number, kind: Message): Field {
  return { ...field(name, tag, kind, "[]"), isRepeated: true };
}

function message(fields: readonly Field[], isOneof = false): Message {
  const places: number[] = [];
  fields.forEach(({ tag }, place) => places[tag] = place);
  // Without holes, which would make each look into it slow.
  return { fields, places: Array.from(places), isOneof };
}

const int32: NumberText = ({ low }) => String(low | 0);
const uint32: NumberText = ({ low }) => String(low);
const uint64: NumberText = (reader) => `"${reader.uint64()}"`;
const int64: NumberText = (reader) => `"${reader.int64()}"`;
const bool: NumberText = ({ low, high }) => low !== 0 || high !== 0 ? "true" : "false";

const BITS = new DataView(new ArrayBuffer(8));

/** As a string where JSON has no such number: protobuf's mapping allows that. */
const double: NumberText = ({ low, high }, negativeZero) => {
  BITS.setUint32(0, low, true);
  BITS.setUint32(4, high, true);
  const value = BITS.getFloat64(0, true);
  if (Object.is(value, -0)) return negativeZero;
  return Number.isFinite(value) ? String(value) : `"${value}"`;
};

/** `AnyValue`, `ArrayValue`, `KeyValueList` and `KeyValue` hold each other. */
const ANY_VALUE_FIELDS: Field[] = [];
const ANY_VALUE: Message = { fields: ANY_VALUE_FIELDS, places: [], isOneof: true };
const KEY_VALUE = message([
  field("key", tags.KEY_VALUE_KEY, "text"),
  field("value", tags.KEY_VALUE_VALUE, ANY_VALUE),
]);
ANY_VALUE_FIELDS.push(
  field("stringValue", tags.ANY_VALUE_STRING, "text"),
  field("boolValue", tags.ANY_VALUE_BOOL, bool),
  field("intValue", tags.ANY_VALUE_INT, int64),
  field("doubleValue", tags.ANY_VALUE_DOUBLE, double),
  field("arrayValue", tags.ANY_VALUE_ARRAY, message([repeated("values", tags.ARRAY_VALUE_VALUES, ANY_VALUE)])),
  field("kvlistValue", tags.ANY_VALUE_KVLIST, message([repeated("values", tags.KEY_VALUE_LIST_VALUES, KEY_VALUE)])),
  field("bytesValue", tags.ANY_VALUE_BYTES, "base64"),
);
Object.assign(ANY_VALUE, message(ANY_VALUE_FIELDS, true));

/** `Resource`. */
export const RESOURCE = message([
  repeated("attributes", tags.RESOURCE_ATTRIBUTES, KEY_VALUE),
  field("droppedAttributesCount", tags.RESOURCE_DROPPED_ATTRIBUTES, uint32),
]);

/** `ResourceSpans` but for its scopes. */
export const RESOURCE_SPANS = message([
  field("resource", tags.RESOURCE_SPANS_RESOURCE, RESOURCE),
  field("schemaUrl", tags.RESOURCE_SPANS_SCHEMA_URL, "text"),
]);

/** `InstrumentationScope`. */
export const SCOPE = message([
  field("name", tags.SCOPE_NAME, "text"),
  field("version", tags.SCOPE_VERSION, "text"),
  repeated("attributes", tags.SCOPE_ATTRIBUTES, KEY_VALUE),
  field("droppedAttributesCount", tags.SCOPE_DROPPED_ATTRIBUTES, uint32),
]);

/** `ScopeSpans` but for its spans. */
export const SCOPE_SPANS = message([
  field("scope", tags.SCOPE_SPANS_SCOPE, SCOPE),
  field("schemaUrl", tags.SCOPE_SPANS_SCHEMA_URL, "text"),
]);

const EVENT = message([
  field("timeUnixNano", tags.EVENT_TIME, uint64, '"0"'),
  field("name", tags.EVENT_NAME, "text"),
  repeated("attributes", tags.EVENT_ATTRIBUTES, KEY_VALUE),
  field("droppedAttributesCount", tags.EVENT_DROPPED_ATTRIBUTES, uint32),
]);

const LINK = message([
  field("traceId", tags.LINK_TRACE_ID, "hex"),
  field("spanId", tags.LINK_SPAN_ID, "hex"),
  field("traceState", tags.LINK_TRACE_STATE, "text"),
  repeated("attributes", tags.LINK_ATTRIBUTES, KEY_VALUE),
  field("droppedAttributesCount", tags.LINK_DROPPED_ATTRIBUTES, uint32),
  field("flags", tags.LINK_FLAGS, uint32),
]);

const STATUS = message([
  field("code", tags.STATUS_CODE, int32),
  field("message", tags.STATUS_MESSAGE, "text"),
]);

/** `Span`. */
export const SPAN = message([
  field("traceId", tags.SPAN_TRACE_ID, "hex"),
  field("spanId", tags.SPAN_SPAN_ID, "hex"),
  field("traceState", tags.SPAN_TRACE_STATE, "text"),
  field("parentSpanId", tags.SPAN_PARENT_SPAN_ID, "hex"),
  field("flags", tags.SPAN_FLAGS, uint32),
  field("name", tags.SPAN_NAME, "text"),
  field("kind", tags.SPAN_KIND, int32),
  field("startTimeUnixNano", tags.SPAN_START_TIME, uint64, '"0"'),
  field("endTimeUnixNano", tags.SPAN_END_TIME, uint64, '"0"'),
  repeated("attributes", tags.SPAN_ATTRIBUTES, KEY_VALUE),
  field("droppedAttributesCount", tags.SPAN_DROPPED_ATTRIBUTES, uint32),
  repeated("events", tags.SPAN_EVENTS, EVENT),
  field("droppedEventsCount", tags.SPAN_DROPPED_EVENTS, uint32),
  repeated("links", tags.SPAN_LINKS, LINK),
  field("droppedLinksCount", tags.SPAN_DROPPED_LINKS, uint32),
  field("status", tags.SPAN_STATUS, STATUS),
]);
