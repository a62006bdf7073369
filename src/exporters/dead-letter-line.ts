import { jsonText } from "../base/log.ts";
import { type ResourceRecord, type ScopeRecord, spanToRecord } from "../otlp/json-record.ts";
import { splitRequest } from "../otlp/request.ts";

interface ScopeSpans {
  readonly scope: Omit<ScopeRecord, "schemaUrl">;
  readonly schemaUrl: string;
  readonly spans: unknown[];
}

interface ResourceSpans {
  readonly resource: Omit<ResourceRecord, "schemaUrl">;
  readonly schemaUrl: string;
  readonly scopeSpans: ScopeSpans[];
}

/**
 * An encoded `ExportTraceServiceRequest` as one line of OTLP/JSON, without the newline: a `TracesData` message, which is
 * what the OpenTelemetry Collector's file exporter writes and its file receiver reads.
 *
 * Characters that could steer a terminal are escaped. Throws `ProtobufError` on bytes that are no such request.
 * Specification: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
 */
export function deadLetterLine(request: Uint8Array): string {
  const resourceSpans: ResourceSpans[] = [];
  let lastResource: Uint8Array | undefined;
  let lastScope: Uint8Array | undefined;
  for (const part of splitRequest(request)) {
    const { resource, scope, ...span } = spanToRecord(part.resource, part.scope, part.span);
    if (part.resource !== lastResource) {
      const { schemaUrl, ...rest } = resource;
      resourceSpans.push({ resource: rest, schemaUrl, scopeSpans: [] });
      lastScope = undefined;
    }
    const { scopeSpans } = resourceSpans.at(-1) as ResourceSpans;
    if (part.scope !== lastScope) {
      const { schemaUrl, ...rest } = scope;
      scopeSpans.push({ scope: rest, schemaUrl, spans: [] });
    }
    (scopeSpans.at(-1) as ScopeSpans).spans.push(span);
    lastResource = part.resource;
    lastScope = part.scope;
  }
  return jsonText(keepNegativeZeros({ resourceSpans }));
}

/** JSON writes -0 as 0; as a string, which protobuf's JSON mapping allows for any number, it stays what it is. */
function keepNegativeZeros(value: unknown): unknown {
  if (Object.is(value, -0)) return "-0";
  if (Array.isArray(value)) return value.map(keepNegativeZeros);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value);
  return Object.fromEntries(members.map(([key, member]) => [key, keepNegativeZeros(member)]));
}
