import { Buffer } from "node:buffer";
import { ProtobufWriter } from "./protobuf-writer.ts";
import type { SpanPart } from "./request-builder.ts";
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

/** Used by one call at a time. */
const WRITER = new ProtobufWriter();

/**
 * Encodes a record: the inverse of `spanToRecord`, with fields in the order that the decoders of agents' payloads use.
 * Throws a `RangeError` or `SyntaxError` on a number or ID that is not one.
 */
export function recordToPart(record: SpanRecord): SpanPart {
  return {
    resource: written(() => writeResource(record.resource)),
    scope: written(() => writeScope(record.scope)),
    span: written(() => message(fields.SCOPE_SPANS_SPANS, () => writeSpan(record))),
  };
}

function written(write: () => void): Uint8Array {
  WRITER.clear();
  write();
  return WRITER.buffer.slice(0, WRITER.position);
}

function writeResource({ attributes, droppedAttributesCount, schemaUrl }: ResourceRecord): void {
  if (attributes.length > 0 || droppedAttributesCount > 0) {
    message(fields.RESOURCE_SPANS_RESOURCE, () => {
      for (const attribute of attributes) writeKeyValue(fields.RESOURCE_ATTRIBUTES, attribute);
      number(fields.RESOURCE_DROPPED_ATTRIBUTES, droppedAttributesCount);
    });
  }
  text(fields.RESOURCE_SPANS_SCHEMA_URL, schemaUrl);
}

function writeScope({ name, version, attributes, droppedAttributesCount, schemaUrl }: ScopeRecord): void {
  if (name !== "" || version !== "" || attributes.length > 0 || droppedAttributesCount > 0) {
    message(fields.SCOPE_SPANS_SCOPE, () => {
      text(fields.SCOPE_NAME, name);
      text(fields.SCOPE_VERSION, version);
      for (const attribute of attributes) writeKeyValue(fields.SCOPE_ATTRIBUTES, attribute);
      number(fields.SCOPE_DROPPED_ATTRIBUTES, droppedAttributesCount);
    });
  }
  text(fields.SCOPE_SPANS_SCHEMA_URL, schemaUrl);
}

function writeSpan(span: SpanRecord): void {
  hex(fields.SPAN_TRACE_ID, span.traceId);
  hex(fields.SPAN_SPAN_ID, span.spanId);
  text(fields.SPAN_TRACE_STATE, span.traceState);
  if (span.parentSpanId !== "") hex(fields.SPAN_PARENT_SPAN_ID, span.parentSpanId);
  text(fields.SPAN_NAME, span.name);
  number(fields.SPAN_KIND, span.kind);
  time(fields.SPAN_START_TIME, span.startTimeUnixNano);
  time(fields.SPAN_END_TIME, span.endTimeUnixNano);
  for (const attribute of span.attributes) writeKeyValue(fields.SPAN_ATTRIBUTES, attribute);
  number(fields.SPAN_DROPPED_ATTRIBUTES, span.droppedAttributesCount);
  for (const event of span.events) message(fields.SPAN_EVENTS, () => writeEvent(event));
  number(fields.SPAN_DROPPED_EVENTS, span.droppedEventsCount);
  for (const link of span.links) message(fields.SPAN_LINKS, () => writeLink(link));
  number(fields.SPAN_DROPPED_LINKS, span.droppedLinksCount);
  const { code, message: reason } = span.status;
  if (code !== 0 || reason !== "") {
    message(fields.SPAN_STATUS, () => {
      text(fields.STATUS_MESSAGE, reason);
      number(fields.STATUS_CODE, code);
    });
  }
  if (span.flags !== 0) {
    // A tag of two bytes: see `SPAN_FLAGS`.
    WRITER.varint(fields.SPAN_FLAGS);
    WRITER.fixed32(span.flags);
  }
}

function writeEvent({ timeUnixNano, name, attributes, droppedAttributesCount }: EventRecord): void {
  time(fields.EVENT_TIME, timeUnixNano);
  text(fields.EVENT_NAME, name);
  for (const attribute of attributes) writeKeyValue(fields.EVENT_ATTRIBUTES, attribute);
  number(fields.EVENT_DROPPED_ATTRIBUTES, droppedAttributesCount);
}

function writeLink({ traceId, spanId, traceState, attributes, droppedAttributesCount, flags }: LinkRecord): void {
  hex(fields.LINK_TRACE_ID, traceId);
  hex(fields.LINK_SPAN_ID, spanId);
  text(fields.LINK_TRACE_STATE, traceState);
  for (const attribute of attributes) writeKeyValue(fields.LINK_ATTRIBUTES, attribute);
  number(fields.LINK_DROPPED_ATTRIBUTES, droppedAttributesCount);
  if (flags !== 0) {
    WRITER.byte(fields.LINK_FLAGS);
    WRITER.fixed32(flags);
  }
}

function writeKeyValue(tag: number, { key, value }: KeyValueRecord): void {
  message(tag, () => {
    text(fields.KEY_VALUE_KEY, key);
    message(fields.KEY_VALUE_VALUE, () => writeValue(value));
  });
}

function writeValue(value: AnyValueRecord): void {
  if (value.stringValue !== undefined) bytes(fields.ANY_VALUE_STRING, Buffer.from(value.stringValue));
  else if (value.boolValue !== undefined) {
    WRITER.byte(fields.ANY_VALUE_BOOL);
    WRITER.byte(value.boolValue ? 1 : 0);
  } else if (value.intValue !== undefined) {
    WRITER.byte(fields.ANY_VALUE_INT);
    const bits = BigInt.asUintN(64, BigInt(value.intValue));
    WRITER.varint64(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  } else if (value.doubleValue !== undefined) {
    WRITER.byte(fields.ANY_VALUE_DOUBLE);
    WRITER.reserve(8);
    WRITER.view.setFloat64(WRITER.position, Number(value.doubleValue), true);
    WRITER.position += 8;
  } else if (value.arrayValue !== undefined) {
    const { values } = value.arrayValue;
    message(fields.ANY_VALUE_ARRAY, () => {
      for (const one of values) message(fields.ARRAY_VALUE_VALUES, () => writeValue(one));
    });
  } else if (value.kvlistValue !== undefined) {
    const { values } = value.kvlistValue;
    message(fields.ANY_VALUE_KVLIST, () => {
      for (const one of values) writeKeyValue(fields.KEY_VALUE_LIST_VALUES, one);
    });
  } else if (value.bytesValue !== undefined) bytes(fields.ANY_VALUE_BYTES, Buffer.from(value.bytesValue, "base64"));
}

function message(tag: number, write: () => void): void {
  const start = WRITER.openMessage(tag);
  write();
  WRITER.closeMessage(start);
}

function bytes(tag: number, content: Uint8Array): void {
  message(tag, () => WRITER.bytes(content));
}

function text(tag: number, value: string): void {
  if (value !== "") bytes(tag, Buffer.from(value));
}

function hex(tag: number, id: string): void {
  if (!/^(?:[0-9a-f]{2})*$/i.test(id)) throw new SyntaxError(`"${id.slice(0, 40)}" is not a hexadecimal ID`);
  bytes(tag, Buffer.from(id, "hex"));
}

function number(tag: number, value: number): void {
  if (value === 0) return;
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not an unsigned integer`);
  WRITER.byte(tag);
  WRITER.varint(value);
}

function time(tag: number, unixNano: string): void {
  const bits = BigInt.asUintN(64, BigInt(unixNano));
  if (bits === 0n) return;
  WRITER.byte(tag);
  WRITER.fixed64(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
}
