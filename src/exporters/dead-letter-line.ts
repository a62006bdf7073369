import { requestToRecords } from "../otlp/json-record.ts";
import { spansToOtlpJson } from "../record/write-otlp-json.ts";

/**
 * An encoded `ExportTraceServiceRequest` as one line of OTLP/JSON, without the newline. Throws `ProtobufError` on bytes
 * that are not such a request.
 */
export function deadLetterLine(request: Uint8Array): string {
  return spansToOtlpJson(requestToRecords(request));
}
