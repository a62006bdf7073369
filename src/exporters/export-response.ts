import { printable } from "../base/log.ts";
import type { ExportResult } from "../pipeline/exporter.ts";
import { ProtobufError, ProtobufReader } from "../otlp/protobuf-reader.ts";
import {
  ANY_TYPE_URL,
  ANY_VALUE,
  DURATION_NANOS,
  DURATION_SECONDS,
  PARTIAL_ERROR_MESSAGE,
  PARTIAL_REJECTED_SPANS,
  RESPONSE_PARTIAL_SUCCESS,
  RETRY_INFO_DELAY,
  RETRY_INFO_TYPE,
  STATUS_DETAILS,
  STATUS_MESSAGE,
} from "../otlp/response-fields.ts";

/** How much of an answer in JSON is shown, characters. */
const SHOWN_CHARACTERS = 200;

/** The result of a request that was taken, but perhaps for some of its spans. */
export type Accepted = ExportResult & { kind: "success" | "partial" };

/** What a collector says of a request that it took: `ExportTracePartialSuccess`. */
interface PartialSuccess {
  readonly rejectedSpans: number;
  readonly message: string;
}

/**
 * What an `ExportTraceServiceResponse` in protobuf says; undefined if the bytes are not one.
 *
 * Specification: https://opentelemetry.io/docs/specs/otlp/#partial-success
 */
export function readExportResponse(body: Uint8Array): Accepted | undefined {
  const partial = { rejectedSpans: 0, message: "" };
  try {
    const response = new ProtobufReader(body);
    while (response.next()) {
      if (response.tag !== RESPONSE_PARTIAL_SUCCESS) continue;
      const fields = response.message();
      while (fields.next()) {
        if (fields.tag === PARTIAL_REJECTED_SPANS) partial.rejectedSpans = Number(fields.int64());
        else if (fields.tag === PARTIAL_ERROR_MESSAGE) partial.message = fields.text();
      }
    }
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    return undefined;
  }
  return resultOf(partial);
}

/**
 * The same in JSON; undefined where the text is not a JSON object. Both spellings of protobuf's JSON mapping are read.
 */
export function readJsonExportResponse(text: string): Accepted | undefined {
  const response = parseObject(text);
  if (response === undefined) return undefined;
  const partial = response["partialSuccess"] ?? response["partial_success"];
  if (partial === undefined || partial === null) {
    const isPlain = Object.keys(response).every((name) => /^partial_?success$/i.test(name));
    // Fields of later versions may be there; but it may also be the answer of something else.
    const warning = `the answer has fields of something else: ${printable(text.trim(), SHOWN_CHARACTERS)}`;
    return isPlain ? { kind: "success" } : { kind: "success", warning };
  }
  if (typeof partial !== "object") return undefined;
  const fields = partial as Readonly<Record<string, unknown>>;
  // An int64 is a string in JSON, and a number is accepted too.
  const rejected = Number(fields["rejectedSpans"] ?? fields["rejected_spans"] ?? 0);
  const message = fields["errorMessage"] ?? fields["error_message"] ?? "";
  if (!Number.isSafeInteger(rejected) || typeof message !== "string") return undefined;
  return resultOf({ rejectedSpans: rejected, message });
}

function resultOf({ rejectedSpans, message }: PartialSuccess): Accepted {
  if (rejectedSpans > 0) return { kind: "partial", rejectedSpans, message };
  return message === "" ? { kind: "success" } : { kind: "success", warning: message };
}

/** The message of an encoded `google.rpc.Status`; undefined if the bytes are not one. */
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

/** The message of a `google.rpc.Status` in JSON; undefined if the text is not one. */
export function readJsonStatusMessage(text: string): string | undefined {
  const message = parseObject(text)?.["message"];
  return typeof message === "string" ? message : undefined;
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? value as Readonly<Record<string, unknown>> : undefined;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

/**
 * How long `RetryInfo` in an encoded `google.rpc.Status` says to wait, milliseconds; undefined if there is none.
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
