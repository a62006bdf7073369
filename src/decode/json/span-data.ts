import { Names, Struct } from "./struct.ts";

// The types of a span's JSON, as opentelemetry 0.14 declares them and serde derives their form. The order of members
// and variants is that of their declaration.

/** `opentelemetry::sdk::export::trace::SpanData`; its `instrumentation_lib` is not on the wire. */
export const SPAN_STRUCT = new Struct();
export const SPAN_CONTEXT = SPAN_STRUCT.member("span_context");
export const SPAN_PARENT_SPAN_ID = SPAN_STRUCT.member("parent_span_id");
export const SPAN_KIND = SPAN_STRUCT.member("span_kind");
export const SPAN_NAME = SPAN_STRUCT.member("name");
export const SPAN_START_TIME = SPAN_STRUCT.member("start_time");
export const SPAN_END_TIME = SPAN_STRUCT.member("end_time");
export const SPAN_ATTRIBUTES = SPAN_STRUCT.member("attributes");
export const SPAN_EVENTS = SPAN_STRUCT.member("events");
export const SPAN_LINKS = SPAN_STRUCT.member("links");
export const SPAN_STATUS_CODE = SPAN_STRUCT.member("status_code");
export const SPAN_STATUS_MESSAGE = SPAN_STRUCT.member("status_message");
export const SPAN_RESOURCE = SPAN_STRUCT.member("resource");

/** `opentelemetry::trace::SpanContext`; the ids and `TraceState` in it are newtypes, which serde sees through. */
export const CONTEXT_STRUCT = new Struct();
export const CONTEXT_TRACE_ID = CONTEXT_STRUCT.member("trace_id");
export const CONTEXT_SPAN_ID = CONTEXT_STRUCT.member("span_id");
export const CONTEXT_TRACE_FLAGS = CONTEXT_STRUCT.member("trace_flags");
export const CONTEXT_IS_REMOTE = CONTEXT_STRUCT.member("is_remote");
export const CONTEXT_TRACE_STATE = CONTEXT_STRUCT.member("trace_state");

/** `std::time::SystemTime`, as serde writes it: the one struct here that has no other members. */
export const TIME_STRUCT = new Struct({ closed: true });
export const TIME_SECONDS = TIME_STRUCT.member("secs_since_epoch");
export const TIME_NANOS = TIME_STRUCT.member("nanos_since_epoch");

/** `opentelemetry::sdk::trace::EvictedHashMap`. */
export const MAP_STRUCT = new Struct();
export const MAP_MAP = MAP_STRUCT.member("map");
export const MAP_EVICT_LIST = MAP_STRUCT.member("evict_list");
export const MAP_MAX_LEN = MAP_STRUCT.member("max_len");
export const MAP_DROPPED_COUNT = MAP_STRUCT.member("dropped_count");

/** `opentelemetry::sdk::trace::EvictedQueue`. */
export const QUEUE_STRUCT = new Struct();
export const QUEUE_QUEUE = QUEUE_STRUCT.member("queue");
export const QUEUE_MAX_LEN = QUEUE_STRUCT.member("max_len");
export const QUEUE_DROPPED_COUNT = QUEUE_STRUCT.member("dropped_count");

/** `opentelemetry::trace::Event`. */
export const EVENT_STRUCT = new Struct();
export const EVENT_NAME = EVENT_STRUCT.member("name");
export const EVENT_TIMESTAMP = EVENT_STRUCT.member("timestamp");
export const EVENT_ATTRIBUTES = EVENT_STRUCT.member("attributes");
export const EVENT_DROPPED_ATTRIBUTES_COUNT = EVENT_STRUCT.member("dropped_attributes_count");

/** `opentelemetry::trace::Link`. */
export const LINK_STRUCT = new Struct();
export const LINK_SPAN_CONTEXT = LINK_STRUCT.member("span_context");
export const LINK_ATTRIBUTES = LINK_STRUCT.member("attributes");
export const LINK_DROPPED_ATTRIBUTES_COUNT = LINK_STRUCT.member("dropped_attributes_count");

/** `opentelemetry::KeyValue`. */
export const KEY_VALUE_STRUCT = new Struct();
export const KEY_VALUE_KEY = KEY_VALUE_STRUCT.member("key");
export const KEY_VALUE_VALUE = KEY_VALUE_STRUCT.member("value");

/** `opentelemetry::sdk::Resource`. */
export const RESOURCE_STRUCT = new Struct();
export const RESOURCE_ATTRS = RESOURCE_STRUCT.member("attrs");

/** `opentelemetry::trace::SpanKind`. */
export const KINDS = new Names(["Client", "Server", "Producer", "Consumer", "Internal"]);

/** `opentelemetry::trace::StatusCode`, in the order of OTLP's. */
export const STATUS_CODES = new Names(["Unset", "Ok", "Error"]);

/** `opentelemetry::Value`; all but the last are also the variants of `opentelemetry::Array`. */
export const VALUES = new Names(["Bool", "I64", "F64", "String", "Array"]);
export const BOOL = 0;
export const I64 = 1;
export const F64 = 2;
export const STRING = 3;
export const ARRAY = 4;
