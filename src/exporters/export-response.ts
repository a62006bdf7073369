import type { ExportResult } from "../pipeline/exporter.ts";
import { ProtobufError, ProtobufReader } from "../otlp/protobuf-reader.ts";

/** `ExportTraceServiceResponse.partial_success`. */
const RESPONSE_PARTIAL_SUCCESS = 0x0a;
/** `ExportTracePartialSuccess`. */
const PARTIAL_REJECTED_SPANS = 0x08;
const PARTIAL_ERROR_MESSAGE = 0x12;

/** `google.rpc.Status` (google/rpc/status.proto), the body of an OTLP/HTTP failure and a gRPC trailer. */
const STATUS_MESSAGE = 0x12;
const STATUS_DETAILS = 0x1a;
/** `google.protobuf.Any`. */
const ANY_TYPE_URL = 0x0a;
const ANY_VALUE = 0x12;
/** `google.rpc.RetryInfo.retry_delay` (google/rpc/error_details.proto). */
const RETRY_INFO_DELAY = 0x0a;
/** `google.protobuf.Duration`. */
const DURATION_SECONDS = 0x08;
const DURATION_NANOS = 0x10;
const RETRY_INFO_TYPE = "google.rpc.RetryInfo";

/**
 * What an `ExportTraceServiceResponse` says. A body that is none is still a success, since the collector's status said
 * so, but one with a warning: what answers there may be no OTLP receiver.
 *
 * Specification: https://opentelemetry.io/docs/specs/otlp/#partial-success
 */
export function readExportResponse(body: Uint8Array): ExportResult {
  let rejectedSpans = 0;
  let message = "";
  try {
    const response = new ProtobufReader(body);
    while (response.next()) {
      if (response.tag !== RESPONSE_PARTIAL_SUCCESS) continue;
      const partial = response.message();
      while (partial.next()) {
        if (partial.tag === PARTIAL_REJECTED_SPANS) rejectedSpans = Number(partial.int64());
        else if (partial.tag === PARTIAL_ERROR_MESSAGE) message = partial.text();
      }
    }
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    return {
      kind: "success",
      warning: `the answer is no ExportTraceServiceResponse: ${error.message}`,
    };
  }
  if (rejectedSpans > 0) return { kind: "partial", rejectedSpans, message };
  return message === "" ? { kind: "success" } : { kind: "success", warning: message };
}

/** The message of an encoded `google.rpc.Status`; undefined where the bytes are none. */
export function readStatusMessage(bytes: Uint8Array): string | undefined {
  let message: string | undefined;
  try {
    const status = new ProtobufReader(bytes);
    while (status.next()) if (status.tag === STATUS_MESSAGE) message = status.text();
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    return undefined;
  }
  return message;
}

/**
 * How long `RetryInfo` in an encoded `google.rpc.Status` says to wait, milliseconds; undefined where there is none.
 *
 * Specification: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling
 */
export function readRetryDelay(bytes: Uint8Array): number | undefined {
  try {
    const status = new ProtobufReader(bytes);
    while (status.next()) {
      if (status.tag !== STATUS_DETAILS) continue;
      let type = "";
      let value: ProtobufReader | undefined;
      const any = status.message();
      while (any.next()) {
        if (any.tag === ANY_TYPE_URL) type = any.text();
        else if (any.tag === ANY_VALUE) value = any.message();
      }
      // The URL's part before the last slash says where the type is described, and may be anything.
      if (type.slice(type.lastIndexOf("/") + 1) === RETRY_INFO_TYPE) {
        return value === undefined ? 0 : readRetryInfo(value);
      }
    }
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
  }
  return undefined;
}

function readRetryInfo(message: ProtobufReader): number {
  let milliseconds = 0;
  while (message.next()) {
    if (message.tag !== RETRY_INFO_DELAY) continue;
    const duration = message.message();
    while (duration.next()) {
      if (duration.tag === DURATION_SECONDS) milliseconds += Number(duration.int64()) * 1000;
      else if (duration.tag === DURATION_NANOS) milliseconds += (duration.low | 0) / 1e6;
    }
  }
  return Math.max(0, milliseconds);
}
