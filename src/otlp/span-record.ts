/** `AnyValue`: one of the members, or none where the value is not set. */
export interface AnyValueRecord {
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  /** Decimal, since it has 64 bits. */
  readonly intValue?: string;
  /** "NaN", "Infinity" and "-Infinity" are strings. */
  readonly doubleValue?: number | string;
  readonly arrayValue?: { readonly values: readonly AnyValueRecord[] };
  readonly kvlistValue?: { readonly values: readonly KeyValueRecord[] };
  /** Base64. */
  readonly bytesValue?: string;
}

export interface KeyValueRecord {
  readonly key: string;
  readonly value: AnyValueRecord;
}

export interface EventRecord {
  readonly timeUnixNano: string;
  readonly name: string;
  readonly attributes: readonly KeyValueRecord[];
  readonly droppedAttributesCount: number;
}

export interface LinkRecord {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
  readonly attributes: readonly KeyValueRecord[];
  readonly droppedAttributesCount: number;
  readonly flags: number;
}

export interface ResourceRecord {
  readonly attributes: readonly KeyValueRecord[];
  readonly droppedAttributesCount: number;
  /** `ResourceSpans.schema_url`. */
  readonly schemaUrl: string;
}

export interface ScopeRecord {
  readonly name: string;
  readonly version: string;
  readonly attributes: readonly KeyValueRecord[];
  readonly droppedAttributesCount: number;
  /** `ScopeSpans.schema_url`. */
  readonly schemaUrl: string;
}

/**
 * One span as OTLP/JSON names and writes its fields, with its resource and scope. Every field is there, defaults too.
 *
 * Ids are lower-case hexadecimal, integers of 64 bits decimal strings, enums numbers.
 * Specification: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */
export interface SpanRecord {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
  readonly parentSpanId: string;
  readonly flags: number;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly KeyValueRecord[];
  readonly droppedAttributesCount: number;
  readonly events: readonly EventRecord[];
  readonly droppedEventsCount: number;
  readonly links: readonly LinkRecord[];
  readonly droppedLinksCount: number;
  readonly status: { readonly code: number; readonly message: string };
  readonly resource: ResourceRecord;
  readonly scope: ScopeRecord;
}
