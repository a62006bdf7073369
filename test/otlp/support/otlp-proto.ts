import protobuf from "protobufjs";

/**
 * OTLP's trace messages for protobufjs, a decoder and encoder that shares nothing with the project's: copied from
 * opentelemetry/proto/{collector/trace/v1/trace_service,trace/v1/trace,common/v1/common,resource/v1/resource}.proto
 * and google/rpc/{status,error_details}.proto, without comments.
 */
const PROTO = `
syntax = "proto3";
package otlp;
message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
message ExportTraceServiceResponse { ExportTracePartialSuccess partial_success = 1; }
message ExportTracePartialSuccess { int64 rejected_spans = 1; string error_message = 2; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; string schema_url = 3; }
message ScopeSpans { InstrumentationScope scope = 1; repeated Span spans = 2; string schema_url = 3; }
message Span {
  message Event {
    fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4;
  }
  message Link {
    bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; repeated KeyValue attributes = 4;
    uint32 dropped_attributes_count = 5; fixed32 flags = 6;
  }
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5;
  int32 kind = 6; fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
  uint32 dropped_attributes_count = 10; repeated Event events = 11; uint32 dropped_events_count = 12;
  repeated Link links = 13; uint32 dropped_links_count = 14; Status status = 15; fixed32 flags = 16;
}
message Status { string message = 2; int32 code = 3; }
message Resource {
  repeated KeyValue attributes = 1; uint32 dropped_attributes_count = 2; repeated EntityRef entity_refs = 3;
}
message EntityRef {
  string schema_url = 1; string type = 2; repeated string id_keys = 3; repeated string description_keys = 4;
}
message InstrumentationScope {
  string name = 1; string version = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4;
}
message AnyValue {
  oneof value {
    string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4;
    ArrayValue array_value = 5; KeyValueList kvlist_value = 6; bytes bytes_value = 7;
  }
}
message ArrayValue { repeated AnyValue values = 1; }
message KeyValueList { repeated KeyValue values = 1; }
message KeyValue { string key = 1; AnyValue value = 2; }
message RpcStatus { int32 code = 1; string message = 2; repeated Any details = 3; }
message Any { string type_url = 1; bytes value = 2; }
message RetryInfo { Duration retry_delay = 1; }
message Duration { int64 seconds = 1; int32 nanos = 2; }
`;

const root = protobuf.parse(PROTO).root;

/** A message as protobufjs takes and gives it: camelCase names, 64-bit integers as decimal strings. */
export interface PlainMessage {
  readonly [field: string]: unknown;
}

/** Encodes a message; bytes may be given as base64 or as arrays. */
export function encode(type: string, message: PlainMessage): Uint8Array {
  const found = root.lookupType(`otlp.${type}`);
  return Uint8Array.from(found.encode(found.fromObject(message)).finish());
}

/**
 * Decodes a message, for comparison by `deepEqual`: bytes as lower-case hexadecimal; with `defaults` all fields are
 * there, without only those on the wire.
 */
export function decode(type: string, bytes: Uint8Array, defaults = false): PlainMessage {
  const found = root.lookupType(`otlp.${type}`);
  const message = found.toObject(found.decode(bytes), {
    longs: String,
    bytes: Array,
    defaults,
    arrays: defaults,
  });
  return withHexBytes(message) as PlainMessage;
}

/** protobufjs gives bytes as arrays of numbers; no other field of OTLP is one. */
function withHexBytes(value: unknown): unknown {
  if (Array.isArray(value)) {
    const isBytes = value.length > 0 && value.every((item) => typeof item === "number");
    return isBytes
      ? (value as number[]).map((byte) => byte.toString(16).padStart(2, "0")).join("")
      : value.map(withHexBytes);
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withHexBytes(item)]));
}
