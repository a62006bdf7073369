import { splitRequest } from "../otlp/request.ts";
import { otlpJsonPieces } from "../record/otlp-json-pieces.ts";

/**
 * An encoded `ExportTraceServiceRequest` as one line of OTLP/JSON in pieces, the newline included. Throws
 * `ProtobufError` on bytes that are not such a request.
 */
export function deadLetterLine(request: Uint8Array): Iterable<string> {
  return otlpJsonPieces(splitRequest(request));
}
