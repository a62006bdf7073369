import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../../otlp/span-record.ts";
import { KIND_NAMES, STATUS_NAMES } from "../../otlp/trace-fields.ts";
import type * as api from "../api.ts";
import type { EmbeddedData } from "./html.ts";

/** The spans that an exported page holds, each with the sandbox it belongs to on its resource. */
export function* spansFromExport({ spans }: EmbeddedData): Generator<SpanRecord> {
  for (const [sandbox, details] of Object.entries(spans)) {
    for (const span of Object.values(details)) yield recordOf(span, sandbox);
  }
}

function recordOf(span: api.SpanDetail, sandbox: string): SpanRecord {
  const resource = span.resource.filter(({ key }) => key !== "kata.sandbox.id" && key !== "kata.component");
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    traceState: "",
    parentSpanId: span.parentSpanId,
    flags: 0,
    name: span.name,
    kind: Math.max(0, KIND_NAMES.indexOf(span.kind)),
    startTimeUnixNano: span.startNs,
    endTimeUnixNano: span.endNs,
    attributes: keyValues(span.attributes),
    droppedAttributesCount: 0,
    events: span.events.map(({ name, timeNs, attributes }) => ({
      timeUnixNano: timeNs,
      name,
      attributes: keyValues(attributes),
      droppedAttributesCount: 0,
    })),
    droppedEventsCount: 0,
    links: span.links.map(({ traceId, spanId, attributes }) => ({
      traceId,
      spanId,
      traceState: "",
      attributes: keyValues(attributes),
      droppedAttributesCount: 0,
      flags: 0,
    })),
    droppedLinksCount: 0,
    status: { code: Math.max(0, STATUS_NAMES.indexOf(span.status.code)), message: span.status.message },
    resource: {
      attributes: keyValues([
        ...resource,
        { key: "kata.sandbox.id", value: sandbox },
        { key: "kata.component", value: span.side },
      ]),
      droppedAttributesCount: 0,
      schemaUrl: "",
    },
    scope: { name: span.scope, version: "", attributes: [], droppedAttributesCount: 0, schemaUrl: "" },
  };
}

function keyValues(attributes: readonly api.AttributeView[]): KeyValueRecord[] {
  return attributes.map(({ key, value }) => ({ key, value: anyValue(value) }));
}

function anyValue(value: api.AttributeValue): AnyValueRecord {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number") return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  if (value === null) return {};
  return { arrayValue: { values: value.map(anyValue) } };
}
