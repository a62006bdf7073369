// What a span's dump is to be, written of its record in one go.
import { jsonText, printable } from "../../../src/base/log.ts";
import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../../../src/otlp/span-record.ts";

/** `Span.SpanKind` and `Status.StatusCode` (opentelemetry/proto/trace/v1/trace.proto) by their numbers. */
const KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const STATUSES = ["unset", "ok", "error"];

const NANOS_PER_SECOND = 1_000_000_000n;
/** The low eight bits of a span's flags: the W3C trace flags. */
const TRACE_FLAGS_MASK = 0xff;

/**
 * A record as one line of JSON, newline included. Integers of 64 bits are strings, so nothing is rounded; a negative
 * zero stays one; characters that could steer a terminal are escaped.
 */
export function jsonLine(record: SpanRecord): string {
  return `${json(record)}\n`;
}

/** `JSON.stringify` writes -0 as 0, and offers no way to write a number otherwise. */
function json(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(json).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([key, member]) => `"${key}":${json(member)}`);
    return `{${members.join(",")}}`;
  }
  return Object.is(value, -0) ? "-0.0" : jsonText(value);
}

/**
 * A record for people: indented, a line a field, its guest's strings harmless to a terminal. Ends with an empty line.
 */
export function textRecord(record: SpanRecord): string {
  const { status, scope, resource } = record;
  const lines = [
    `span ${text(record.name)}`,
    `  trace ${record.traceId}  span ${record.spanId}  parent ${record.parentSpanId || "none"}`,
    `  kind ${name(KINDS, record.kind)}  status ${name(STATUSES, status.code)}${
      status.message === "" ? "" : ` ${quoted(status.message)}`
    }`,
    `  start ${time(record.startTimeUnixNano)}`,
    `  end   ${time(record.endTimeUnixNano)}  (${duration(record.startTimeUnixNano, record.endTimeUnixNano)})`,
    `  flags ${flags(record.flags)}  trace state ${quoted(record.traceState)}`,
    ...attributeLines("  ", "attributes", record.attributes, record.droppedAttributesCount),
    `  events ${record.events.length}${dropped(record.droppedEventsCount)}`,
  ];
  for (const event of record.events) {
    lines.push(
      `    event ${text(event.name)}  at ${time(event.timeUnixNano)}`,
      ...attributeLines("      ", "attributes", event.attributes, event.droppedAttributesCount),
    );
  }
  lines.push(`  links ${record.links.length}${dropped(record.droppedLinksCount)}`);
  for (const link of record.links) {
    lines.push(
      `    link trace ${link.traceId}  span ${link.spanId}  flags ${flags(link.flags)}  trace state ${
        quoted(link.traceState)
      }`,
      ...attributeLines("      ", "attributes", link.attributes, link.droppedAttributesCount),
    );
  }
  lines.push(
    `  scope ${quoted(scope.name)}  version ${quoted(scope.version)}  schema ${quoted(scope.schemaUrl)}`,
    ...attributeLines("    ", "attributes", scope.attributes, scope.droppedAttributesCount),
    `  resource  schema ${quoted(resource.schemaUrl)}`,
    ...attributeLines("    ", "attributes", resource.attributes, resource.droppedAttributesCount),
  );
  return `${lines.join("\n")}\n\n`;
}

function attributeLines(
  indent: string,
  title: string,
  attributes: readonly KeyValueRecord[],
  droppedCount: number,
): string[] {
  return [
    `${indent}${title} ${attributes.length}${dropped(droppedCount)}`,
    ...attributes.map(({ key, value }) => `${indent}  ${text(key)} = ${shown(value)}`),
  ];
}

function shown(value: AnyValueRecord): string {
  const { stringValue, arrayValue, kvlistValue, bytesValue } = value;
  if (stringValue !== undefined) return quoted(stringValue);
  if (arrayValue !== undefined) return `[${arrayValue.values.map(shown).join(", ")}]`;
  if (kvlistValue !== undefined) {
    const members = kvlistValue.values.map(({ key, value }) => `${text(key)} = ${shown(value)}`);
    return `{${members.join(", ")}}`;
  }
  if (bytesValue !== undefined) return `base64 ${bytesValue}`;
  const scalar = value.boolValue ?? value.intValue ?? value.doubleValue;
  if (scalar === undefined) return "not set";
  return Object.is(scalar, -0) ? "-0.0" : String(scalar);
}

/** A guest's string without quotes, whole. */
function text(value: string): string {
  return printable(value, Infinity);
}

function quoted(value: string): string {
  return printable(JSON.stringify(value), Infinity);
}

function dropped(count: number): string {
  return count === 0 ? "" : `  (${count} dropped)`;
}

function flags(value: number): string {
  const sampled = (value & TRACE_FLAGS_MASK & 1) === 1 ? " sampled" : "";
  return `0x${value.toString(16).padStart(2, "0")}${sampled}`;
}

function name(names: readonly string[], code: number): string {
  return names[code] ?? String(code);
}

/** RFC 3339 with all nine digits. Every unsigned 64-bit time is before the year 2555, so `Date` holds its seconds. */
function time(unixNano: string): string {
  const nanos = BigInt(unixNano);
  const seconds = new Date(Number(nanos / NANOS_PER_SECOND) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nanos % NANOS_PER_SECOND).padStart(9, "0")}Z`;
}

function duration(start: string, end: string): string {
  const nanos = BigInt(end) - BigInt(start);
  const absolute = nanos < 0n ? -nanos : nanos;
  const fraction = String(absolute % NANOS_PER_SECOND).padStart(9, "0");
  return `${nanos < 0n ? "-" : ""}${absolute / NANOS_PER_SECOND}.${fraction} s`;
}
