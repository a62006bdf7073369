import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../otlp/span-record.ts";
import { KIND_NAMES } from "../otlp/trace-fields.ts";
import { isObject, type JsonObject, objects, RecordError, text } from "./span-json.ts";

/** Jaeger's times are microseconds. */
const NANOS_PER_MICRO = 1000n;

/** `otel.status_code` as Jaeger's translation from OTLP writes it. */
const STATUSES = ["", "OK", "ERROR"];

/** Tags whose values have fields of their own in OTLP. */
const FIELD_TAGS = new Set([
  "span.kind",
  "otel.status_code",
  "otel.status_description",
  "otel.scope.name",
  "otel.scope.version",
  "otel.library.name",
  "otel.library.version",
  "w3c.tracestate",
]);

/**
 * Whether it is what Jaeger's page and its API v2 give: `{"data": [{"traceID": …, "spans": […], "processes": {…}}]}`.
 */
export function isJaegerDownload(json: JsonObject): boolean {
  return Array.isArray(json["data"]) || (Array.isArray(json["spans"]) && isObject(json["processes"]));
}

/** The spans of Jaeger's JSON. Throws a {@link RecordError}. */
export function spansFromJaeger(json: JsonObject): SpanRecord[] {
  const traces = Array.isArray(json["data"]) ? objects(json, "data") : [json];
  return traces.flatMap((trace) => {
    const processes = isObject(trace["processes"]) ? trace["processes"] : {};
    const resources = new Map<string, SpanRecord["resource"]>();
    for (const [name, process] of Object.entries(processes)) {
      if (!isObject(process)) throw new RecordError(`process "${name}" is not an object`);
      resources.set(name, resourceOf(process));
    }
    return objects(trace, "spans").map((span) => spanOf(span, resources));
  });
}

function resourceOf(process: JsonObject): SpanRecord["resource"] {
  const service = { key: "service.name", value: { stringValue: text(process, "serviceName") } };
  return { attributes: [service, ...tags(process, "tags")], droppedAttributesCount: 0, schemaUrl: "" };
}

function spanOf(span: JsonObject, resources: ReadonlyMap<string, SpanRecord["resource"]>): SpanRecord {
  const all = tags(span, "tags");
  const tag = (key: string): string => all.find((one) => one.key === key)?.value.stringValue ?? "";
  const isError = all.some(({ key, value }) => key === "error" && value.boolValue === true);
  const code = STATUSES.indexOf(tag("otel.status_code"));
  const traceId = hexId(span, "traceID", 32);
  const references = objects(span, "references");
  const parent = references.find((one) => one["refType"] === "CHILD_OF");
  const startNs = microseconds(span, "startTime");
  return {
    traceId,
    spanId: hexId(span, "spanID", 16),
    traceState: tag("w3c.tracestate"),
    parentSpanId: parent === undefined ? "" : hexId(parent, "spanID", 16),
    flags: Number(span["flags"] ?? 0) & 0xff,
    name: text(span, "operationName"),
    kind: Math.max(1, KIND_NAMES.indexOf(tag("span.kind"))),
    startTimeUnixNano: String(startNs),
    endTimeUnixNano: String(startNs + microseconds(span, "duration")),
    attributes: all.filter(({ key, value }) => !FIELD_TAGS.has(key) && !(key === "error" && value.boolValue === true)),
    droppedAttributesCount: 0,
    events: objects(span, "logs").map(eventOf),
    droppedEventsCount: 0,
    links: references.filter((one) => one !== parent).map((one) => ({
      traceId: hexId(one, "traceID", 32),
      spanId: hexId(one, "spanID", 16),
      traceState: "",
      attributes: [],
      droppedAttributesCount: 0,
      flags: 0,
    })),
    droppedLinksCount: 0,
    status: { code: isError ? 2 : Math.max(0, code), message: tag("otel.status_description") },
    resource: resources.get(text(span, "processID")) ?? { attributes: [], droppedAttributesCount: 0, schemaUrl: "" },
    scope: {
      name: tag("otel.scope.name") || tag("otel.library.name"),
      version: tag("otel.scope.version") || tag("otel.library.version"),
      attributes: [],
      droppedAttributesCount: 0,
      schemaUrl: "",
    },
  };
}

function eventOf(log: JsonObject): SpanRecord["events"][number] {
  const fields = tags(log, "fields");
  const name = fields.find(({ key }) => key === "event")?.value.stringValue ?? "";
  return {
    timeUnixNano: String(microseconds(log, "timestamp")),
    name,
    attributes: fields.filter(({ key }) => key !== "event"),
    droppedAttributesCount: 0,
  };
}

function tags(json: JsonObject, key: string): KeyValueRecord[] {
  return objects(json, key).map((tag) => ({ key: text(tag, "key"), value: tagValue(tag) }));
}

function tagValue(tag: JsonObject): AnyValueRecord {
  const value = tag["value"];
  switch (tag["type"]) {
    case "bool":
      return { boolValue: value === true || value === "true" };
    case "int64":
      return { intValue: String(BigInt.asIntN(64, BigInt(value as string | number))) };
    case "float64":
      return { doubleValue: Number(value) };
    case "binary":
      return { bytesValue: String(value) };
    default:
      return { stringValue: typeof value === "string" ? value : JSON.stringify(value) ?? "" };
  }
}

function microseconds(json: JsonObject, key: string): bigint {
  const value = json[key] ?? 0;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new RecordError(`"${key}" is not a number of microseconds`);
  }
  return value < 0 ? 0n : BigInt(value) * NANOS_PER_MICRO;
}

/** Jaeger leaves out leading zeros. */
function hexId(json: JsonObject, key: string, digits: number): string {
  const value = text(json, key).toLowerCase();
  if (!/^[0-9a-f]{1,32}$/.test(value) || value.length > digits) throw new RecordError(`"${key}" is not an ID`);
  return value.padStart(digits, "0");
}
