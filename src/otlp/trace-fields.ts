/**
 * The tags of the fields that a span is written with: `field number << 3 | wire type`.
 *
 * Messages: opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto and resource/v1/resource.proto.
 *
 * Every decoder of an agent's encodings writes a span in one order, so that one span becomes the same bytes whichever
 * encoding it came in: trace_id, span_id, trace_state, parent_span_id, name, kind, start_time_unix_nano,
 * end_time_unix_nano, attributes, dropped_attributes_count, events, dropped_events_count, links, dropped_links_count,
 * status, flags. Inside an event, a link and a status it is the order of the field numbers. As proto3 has it, a field
 * with its default value is left out, but a member of `AnyValue`'s oneof is always written, and so is `ArrayValue`
 * without values. Ids are always written, all zeros or not, but for a parent that is all zeros: that is not a parent.
 * A status without a code and a message is left out. Where an attribute map names a key twice the last entry stays, in
 * its own place.
 */

/** `ExportTraceServiceRequest.resource_spans` (collector/trace/v1/trace_service.proto). */
export const REQUEST_RESOURCE_SPANS = 0x0a;
/** `ResourceSpans.scope_spans`. */
export const RESOURCE_SPANS_SCOPE_SPANS = 0x12;
/** `ResourceSpans.schema_url`. */
export const RESOURCE_SPANS_SCHEMA_URL = 0x1a;
/** `ScopeSpans.scope`. */
export const SCOPE_SPANS_SCOPE = 0x0a;
/** `ScopeSpans.spans`. */
export const SCOPE_SPANS_SPANS = 0x12;
/** `ScopeSpans.schema_url`. */
export const SCOPE_SPANS_SCHEMA_URL = 0x1a;
/** `ResourceSpans.resource`. */
export const RESOURCE_SPANS_RESOURCE = 0x0a;
/** `Resource.attributes`. */
export const RESOURCE_ATTRIBUTES = 0x0a;
/** `Resource.dropped_attributes_count`. */
export const RESOURCE_DROPPED_ATTRIBUTES = 0x10;

/** `InstrumentationScope`. */
export const SCOPE_NAME = 0x0a;
export const SCOPE_VERSION = 0x12;
export const SCOPE_ATTRIBUTES = 0x1a;
export const SCOPE_DROPPED_ATTRIBUTES = 0x20;

export const SPAN_TRACE_ID = 0x0a;
export const SPAN_SPAN_ID = 0x12;
export const SPAN_TRACE_STATE = 0x1a;
export const SPAN_PARENT_SPAN_ID = 0x22;
export const SPAN_NAME = 0x2a;
export const SPAN_KIND = 0x30;
/** fixed64. */
export const SPAN_START_TIME = 0x39;
/** fixed64. */
export const SPAN_END_TIME = 0x41;
export const SPAN_ATTRIBUTES = 0x4a;
export const SPAN_DROPPED_ATTRIBUTES = 0x50;
export const SPAN_EVENTS = 0x5a;
export const SPAN_DROPPED_EVENTS = 0x60;
export const SPAN_LINKS = 0x6a;
export const SPAN_DROPPED_LINKS = 0x70;
export const SPAN_STATUS = 0x7a;
/** fixed32; the one tag that takes two bytes, here as a varint's value: 16 << 3 | 5. */
export const SPAN_FLAGS = 0x85;

/** fixed64. */
export const EVENT_TIME = 0x09;
export const EVENT_NAME = 0x12;
export const EVENT_ATTRIBUTES = 0x1a;
export const EVENT_DROPPED_ATTRIBUTES = 0x20;

export const LINK_TRACE_ID = 0x0a;
export const LINK_SPAN_ID = 0x12;
export const LINK_TRACE_STATE = 0x1a;
export const LINK_ATTRIBUTES = 0x22;
export const LINK_DROPPED_ATTRIBUTES = 0x28;
/** fixed32. */
export const LINK_FLAGS = 0x35;

export const STATUS_MESSAGE = 0x12;
export const STATUS_CODE = 0x18;

export const KEY_VALUE_KEY = 0x0a;
export const KEY_VALUE_VALUE = 0x12;

export const ANY_VALUE_STRING = 0x0a;
export const ANY_VALUE_BOOL = 0x10;
export const ANY_VALUE_INT = 0x18;
/** 64 bits of IEEE 754. */
export const ANY_VALUE_DOUBLE = 0x21;
export const ANY_VALUE_ARRAY = 0x2a;
export const ANY_VALUE_KVLIST = 0x32;
export const ANY_VALUE_BYTES = 0x3a;

export const ARRAY_VALUE_VALUES = 0x0a;
/** `KeyValueList.values`. */
export const KEY_VALUE_LIST_VALUES = 0x0a;

/** `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: of a link's flags, that the next bit says something. */
export const FLAGS_HAS_IS_REMOTE = 0x100;
/** `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: of a link's flags, that the linked span's context came from elsewhere. */
export const FLAGS_IS_REMOTE = 0x200;

/** `Span.SpanKind`. */
export const KIND_INTERNAL = 1;
export const KIND_SERVER = 2;
export const KIND_CLIENT = 3;
export const KIND_PRODUCER = 4;
export const KIND_CONSUMER = 5;
/** The names of `Span.SpanKind` by number, in lower case. */
export const KIND_NAMES: readonly string[] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/** `Status.StatusCode`. */
export const STATUS_UNSET = 0;
export const STATUS_OK = 1;
export const STATUS_ERROR = 2;
/** The names of `Status.StatusCode` by number, in lower case. */
export const STATUS_NAMES = ["unset", "ok", "error"] as const;
