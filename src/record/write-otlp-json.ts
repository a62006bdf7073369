import { jsonText } from "../base/log.ts";
import type { SpanRecord } from "../otlp/span-record.ts";

interface ScopeSpans {
  readonly scope: Omit<SpanRecord["scope"], "schemaUrl">;
  readonly schemaUrl: string;
  readonly spans: unknown[];
}

interface ResourceSpans {
  readonly resource: Omit<SpanRecord["resource"], "schemaUrl">;
  readonly schemaUrl: string;
  readonly scopeSpans: ScopeSpans[];
}

/**
 * Spans as one line of OTLP/JSON, without the newline: a `TracesData` message, which is what the OpenTelemetry
 * Collector's file exporter writes and its file receiver reads. Spans that follow each other and have equal resources
 * or scopes share them. Characters that could steer a terminal are escaped.
 *
 * Specification: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
 */
export function spansToOtlpJson(records: Iterable<SpanRecord>): string {
  const resourceSpans: ResourceSpans[] = [];
  const isLastResource = sameAsLast<SpanRecord["resource"]>();
  const isLastScope = sameAsLast<SpanRecord["scope"]>();
  for (const { resource, scope, ...span } of records) {
    const isNewResource = !isLastResource(resource);
    if (isNewResource) {
      const { schemaUrl, ...rest } = resource;
      resourceSpans.push({ resource: rest, schemaUrl, scopeSpans: [] });
    }
    const { scopeSpans } = resourceSpans.at(-1) as ResourceSpans;
    if (!isLastScope(scope) || isNewResource) {
      const { schemaUrl, ...rest } = scope;
      scopeSpans.push({ scope: rest, schemaUrl, spans: [] });
    }
    (scopeSpans.at(-1) as ScopeSpans).spans.push(span);
  }
  return jsonText(hasNegativeZero(resourceSpans) ? keepNegativeZeros({ resourceSpans }) : { resourceSpans });
}

/** Tells of each value whether it equals the one before. What is the same object needs no look. */
function sameAsLast<T>(): (value: T) => boolean {
  let last: T | undefined;
  let lastKey: string | undefined;
  return (value) => {
    if (value === last) return true;
    last = value;
    const key = JSON.stringify(value);
    const isSame = key === lastKey;
    lastKey = key;
    return isSame;
  };
}

/** Looks for what is rare, so that mostly nothing has to be copied. */
function hasNegativeZero(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasNegativeZero);
  if (typeof value !== "object" || value === null) return Object.is(value, -0);
  for (const key in value) if (hasNegativeZero((value as Record<string, unknown>)[key])) return true;
  return false;
}

/** JSON writes -0 as 0; as a string, which protobuf's JSON mapping allows for any number, it stays what it is. */
function keepNegativeZeros(value: unknown): unknown {
  if (Object.is(value, -0)) return "-0";
  if (Array.isArray(value)) return value.map(keepNegativeZeros);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value);
  return Object.fromEntries(members.map(([key, member]) => [key, keepNegativeZeros(member)]));
}
