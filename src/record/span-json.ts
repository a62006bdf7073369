import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../otlp/span-record.ts";
import { KIND_NAMES, STATUS_NAMES } from "../otlp/trace-fields.ts";

/** A JSON object whose members have not been looked at. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** How deep values may be nested, as in protobuf's own decoders. */
const MAX_DEPTH = 100;

const NO_RESOURCE: SpanRecord["resource"] = { attributes: [], droppedAttributesCount: 0, schemaUrl: "" };
const NO_SCOPE: SpanRecord["scope"] = {
  name: "",
  version: "",
  attributes: [],
  droppedAttributesCount: 0,
  schemaUrl: "",
};

/** JSON that does not have the shape that its format asks for. The message names the member. */
export class RecordError extends Error {
  override readonly name = "RecordError";
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * A span as OTLP/JSON writes it (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). Members may be
 * missing, 64-bit integers may be numbers or strings, enums numbers or names, as protobuf's JSON mapping allows.
 * Throws a {@link RecordError}.
 */
export function spanFromJson(
  json: JsonObject,
  resource: SpanRecord["resource"] = NO_RESOURCE,
  scope: SpanRecord["scope"] = NO_SCOPE,
): SpanRecord {
  const status = json["status"];
  return {
    traceId: id(json, "traceId", 32),
    spanId: id(json, "spanId", 16),
    traceState: text(json, "traceState"),
    parentSpanId: id(json, "parentSpanId", 16),
    flags: integer(json, "flags"),
    name: text(json, "name"),
    kind: enumeration(json, "kind", KIND_NAMES, "SPAN_KIND_"),
    startTimeUnixNano: integer64(json, "startTimeUnixNano"),
    endTimeUnixNano: integer64(json, "endTimeUnixNano"),
    attributes: keyValues(json, "attributes", 0),
    droppedAttributesCount: integer(json, "droppedAttributesCount"),
    events: objects(json, "events").map((event) => ({
      timeUnixNano: integer64(event, "timeUnixNano"),
      name: text(event, "name"),
      attributes: keyValues(event, "attributes", 0),
      droppedAttributesCount: integer(event, "droppedAttributesCount"),
    })),
    droppedEventsCount: integer(json, "droppedEventsCount"),
    links: objects(json, "links").map((link) => ({
      traceId: id(link, "traceId", 32),
      spanId: id(link, "spanId", 16),
      traceState: text(link, "traceState"),
      attributes: keyValues(link, "attributes", 0),
      droppedAttributesCount: integer(link, "droppedAttributesCount"),
      flags: integer(link, "flags"),
    })),
    droppedLinksCount: integer(json, "droppedLinksCount"),
    status: isObject(status)
      ? { code: enumeration(status, "code", STATUS_NAMES, "STATUS_CODE_"), message: text(status, "message") }
      : { code: 0, message: "" },
    resource,
    scope,
  };
}

export function resourceFromJson(json: unknown, schemaUrl: string): SpanRecord["resource"] {
  if (!isObject(json)) return { ...NO_RESOURCE, schemaUrl };
  return {
    attributes: keyValues(json, "attributes", 0),
    droppedAttributesCount: integer(json, "droppedAttributesCount"),
    schemaUrl,
  };
}

export function scopeFromJson(json: unknown, schemaUrl: string): SpanRecord["scope"] {
  if (!isObject(json)) return { ...NO_SCOPE, schemaUrl };
  return {
    name: text(json, "name"),
    version: text(json, "version"),
    attributes: keyValues(json, "attributes", 0),
    droppedAttributesCount: integer(json, "droppedAttributesCount"),
    schemaUrl,
  };
}

export function text(json: JsonObject, key: string): string {
  const value = json[key] ?? "";
  if (typeof value !== "string") throw new RecordError(`"${key}" is not a string`);
  return value;
}

/** The objects of an array that may be missing. */
export function objects(json: JsonObject, key: string): JsonObject[] {
  const value = json[key] ?? [];
  if (!Array.isArray(value) || !value.every(isObject)) throw new RecordError(`"${key}" is not an array of objects`);
  return value;
}

function id(json: JsonObject, key: string, digits: number): string {
  const value = text(json, key).toLowerCase();
  if (value === "") return "";
  if (value.length !== digits || !/^[0-9a-f]+$/.test(value)) {
    throw new RecordError(`"${key}" is not an ID of ${digits} hexadecimal digits`);
  }
  return value;
}

function integer(json: JsonObject, key: string): number {
  const value = Number(json[key] ?? 0);
  if (!Number.isSafeInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw new RecordError(`"${key}" is not an unsigned 32-bit integer`);
  }
  return value;
}

function integer64(json: JsonObject, key: string): string {
  const value = json[key] ?? 0;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return String(value);
  if (typeof value === "string" && /^\d{1,20}$/.test(value)) return String(BigInt.asUintN(64, BigInt(value)));
  throw new RecordError(`"${key}" is not a 64-bit integer`);
}

function enumeration(json: JsonObject, key: string, names: readonly string[], prefix: string): number {
  const value = json[key];
  if (typeof value !== "string") return integer(json, key);
  const short = value.startsWith(prefix) ? value.slice(prefix.length) : value;
  const found = names.findIndex((name) => name.toUpperCase() === short);
  if (found < 0) throw new RecordError(`"${key}" is not one of its names`);
  return found;
}

function keyValues(json: JsonObject, key: string, depth: number): KeyValueRecord[] {
  return objects(json, key).map((one) => ({ key: text(one, "key"), value: anyValue(one["value"], depth) }));
}

function anyValue(json: unknown, depth: number): AnyValueRecord {
  if (!isObject(json)) return {};
  if (depth > MAX_DEPTH) throw new RecordError("a value is nested too deep");
  if (typeof json["stringValue"] === "string") return { stringValue: json["stringValue"] };
  if (typeof json["boolValue"] === "boolean") return { boolValue: json["boolValue"] };
  if (json["intValue"] !== undefined) return { intValue: signed64(json["intValue"]) };
  if (json["doubleValue"] !== undefined) return { doubleValue: doubleValue(json["doubleValue"]) };
  const { arrayValue, kvlistValue, bytesValue } = json;
  if (isObject(arrayValue)) {
    const values = arrayValue["values"] ?? [];
    if (!Array.isArray(values)) throw new RecordError('"values" is not an array');
    return { arrayValue: { values: values.map((one) => anyValue(one, depth + 1)) } };
  }
  if (isObject(kvlistValue)) return { kvlistValue: { values: keyValues(kvlistValue, "values", depth + 1) } };
  if (typeof bytesValue === "string") return { bytesValue };
  return {};
}

function signed64(value: unknown): string {
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  if (typeof value === "string" && /^-?\d{1,20}$/.test(value)) return String(BigInt.asIntN(64, BigInt(value)));
  throw new RecordError('"intValue" is not a 64-bit integer');
}

function doubleValue(value: unknown): number | string {
  const number = Number(value);
  if (typeof value === "string" && Number.isNaN(number) && value !== "NaN") {
    throw new RecordError('"doubleValue" is not a number');
  }
  return Number.isFinite(number) ? number : String(number);
}
