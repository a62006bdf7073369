import type { SpanRecord } from "../otlp/span-record.ts";
import { isJaegerDownload, spansFromJaeger } from "./jaeger-json.ts";
import {
  isObject,
  type JsonObject,
  objects,
  RecordError,
  resourceFromJson,
  scopeFromJson,
  spanFromJson,
  text,
} from "./span-json.ts";

/**
 * The spans of one JSON document or line: OTLP/JSON (`resourceSpans`, what the Collector's file exporter, `--record`
 * and dead letters hold), a dumped span, or Jaeger's download. Throws a {@link RecordError} that says what is wrong.
 */
export function parseRecord(json: unknown): SpanRecord[] {
  if (!isObject(json)) throw new RecordError("not a JSON object");
  if (json["resourceSpans"] !== undefined) return spansFromOtlp(json);
  // Jaeger's query API v3 wraps OTLP: {"result": {"resourceSpans": …}}.
  if (isObject(json["result"])) return parseRecord(json["result"]);
  if (isJaegerDownload(json)) return spansFromJaeger(json);
  if (json["traceId"] !== undefined && json["spanId"] !== undefined) return [dumpedSpan(json)];
  throw new RecordError("neither OTLP/JSON, nor a dumped span, nor Jaeger's JSON");
}

function spansFromOtlp(json: JsonObject): SpanRecord[] {
  return objects(json, "resourceSpans").flatMap((resourceSpans) => {
    const resource = resourceFromJson(resourceSpans["resource"], text(resourceSpans, "schemaUrl"));
    return objects(resourceSpans, "scopeSpans").flatMap((scopeSpans) => {
      const scope = scopeFromJson(scopeSpans["scope"], text(scopeSpans, "schemaUrl"));
      return objects(scopeSpans, "spans").map((span) => spanFromJson(span, resource, scope));
    });
  });
}

/** `--dump-only` writes a span with its resource and its scope in it. */
function dumpedSpan(json: JsonObject): SpanRecord {
  const schemaOf = (value: unknown): string => isObject(value) ? text(value, "schemaUrl") : "";
  const { resource, scope } = json;
  return spanFromJson(json, resourceFromJson(resource, schemaOf(resource)), scopeFromJson(scope, schemaOf(scope)));
}
