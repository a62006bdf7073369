// Tags of what a receiver answers: https://github.com/open-telemetry/opentelemetry-proto, trace_service.proto, and
// google/rpc/status.proto and error_details.proto. A status is the body of an OTLP/HTTP failure and a gRPC trailer.

export const RESPONSE_PARTIAL_SUCCESS = 0x0a;

// `ExportTracePartialSuccess`
export const PARTIAL_REJECTED_SPANS = 0x08;
export const PARTIAL_ERROR_MESSAGE = 0x12;

// `google.rpc.Status`
export const STATUS_CODE = 0x08;
export const STATUS_MESSAGE = 0x12;
export const STATUS_DETAILS = 0x1a;

// `google.protobuf.Any`
export const ANY_TYPE_URL = 0x0a;
export const ANY_VALUE = 0x12;

// `google.rpc.RetryInfo`
export const RETRY_INFO_TYPE = "google.rpc.RetryInfo";
export const RETRY_INFO_DELAY = 0x0a;

// `google.protobuf.Duration`
export const DURATION_SECONDS = 0x08;
export const DURATION_NANOS = 0x10;
