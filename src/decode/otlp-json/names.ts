import { type Field, type Message, REQUEST } from "../otlp/messages.ts";

/** The names of fields in OTLP/JSON, in the order of their numbers; "" where a number has none. */
const FIELD_NAMES: Readonly<Record<string, readonly string[]>> = {
  ExportTraceServiceRequest: ["resourceSpans"],
  ResourceSpans: ["resource", "scopeSpans", "schemaUrl"],
  Resource: ["attributes", "droppedAttributesCount", "entityRefs"],
  EntityRef: ["schemaUrl", "type", "idKeys", "descriptionKeys"],
  ScopeSpans: ["scope", "spans", "schemaUrl"],
  InstrumentationScope: ["name", "version", "attributes", "droppedAttributesCount"],
  Span: [
    "traceId",
    "spanId",
    "traceState",
    "parentSpanId",
    "name",
    "kind",
    "startTimeUnixNano",
    "endTimeUnixNano",
    "attributes",
    "droppedAttributesCount",
    "events",
    "droppedEventsCount",
    "links",
    "droppedLinksCount",
    "status",
    "flags",
  ],
  Event: ["timeUnixNano", "name", "attributes", "droppedAttributesCount"],
  Link: ["traceId", "spanId", "traceState", "attributes", "droppedAttributesCount", "flags"],
  Status: ["", "message", "code"],
  KeyValue: ["key", "value"],
  AnyValue: ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"],
  ArrayValue: ["values"],
  KeyValueList: ["values"],
};

/** What protobuf's mapping also allows for enums; OTLP has numbers alone. */
const ENUM_NAMES: Readonly<Record<string, readonly string[]>> = {
  "Span.kind": [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
  ],
  "Status.code": ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"],
};

/** A field of a message in JSON. */
export interface JsonField {
  readonly number: number;
  readonly field: Field;
  /** Of a message's field. */
  readonly shape: JsonShape | undefined;
  /** Of an enum's field: its values' names by number. */
  readonly enumNames: readonly string[] | undefined;
}

/** A message type in JSON: its fields by name. */
export interface JsonShape {
  readonly message: Message;
  readonly fields: ReadonlyMap<string, JsonField>;
}

const shapes = new Map<Message, JsonShape>();

function shapeOf(message: Message): JsonShape {
  const known = shapes.get(message);
  if (known !== undefined) return known;
  const fields = new Map<string, JsonField>();
  const shape = { message, fields };
  // Before its fields, because a value may hold values.
  shapes.set(message, shape);
  for (const [index, name] of (FIELD_NAMES[message.name] ?? []).entries()) {
    const number = index + 1;
    const field = message.fields[number];
    if (name === "" || field === undefined) continue;
    fields.set(name, {
      number,
      field,
      shape: field.message === undefined ? undefined : shapeOf(field.message),
      enumNames: ENUM_NAMES[`${message.name}.${name}`],
    });
  }
  return shape;
}

/** `ExportTraceServiceRequest`. */
export const REQUEST_SHAPE: JsonShape = shapeOf(REQUEST);
