import { Buffer } from "node:buffer";
import { ProtobufError, ProtobufReader } from "../otlp/protobuf-reader.ts";
import { spansOf } from "../otlp/request.ts";
import { SPAN_SPAN_ID, SPAN_TRACE_ID } from "../otlp/trace-fields.ts";

/** A span in a request. */
export interface SpanIds {
  /** Hexadecimal. */
  readonly traceId: string;
  readonly spanId: string;
}

/**
 * The traces in an encoded `ExportTraceServiceRequest`, at most `most`, each with its first span. If the bytes are not
 * a valid request, the traces before the fault.
 *
 * @param request in parts that follow each other, each of whole `resource_spans` fields.
 */
export function traceContexts(request: readonly Uint8Array[], most: number): SpanIds[] {
  const found = new Map<string, SpanIds>();
  try {
    for (const part of request) {
      const ids = new IdReader(part);
      for (const { start, end } of spansOf(part)) {
        if (found.size >= most) return [...found.values()];
        // Most spans of a batch come after one of the same trace.
        if (!ids.read(start, end)) continue;
        const { traceId, spanId } = ids;
        if (!found.has(traceId)) found.set(traceId, { traceId, spanId });
      }
    }
  } catch (error) {
    // The request is sent all the same, and the collector will say what is wrong with it.
    if (!(error instanceof ProtobufError)) throw error;
  }
  return [...found.values()];
}

/** Reads the IDs of one span after the other. */
class IdReader {
  readonly #request: Buffer;
  readonly #span: ProtobufReader;
  /** Where the trace ID of the last span is. */
  #traceStart = 0;
  #traceEnd = 0;
  #spanStart = 0;
  #spanEnd = 0;

  constructor(request: Uint8Array) {
    this.#request = Buffer.from(request.buffer, request.byteOffset, request.length);
    this.#span = new ProtobufReader(request);
  }

  /** Reads the IDs of the span `start … end`. Returns false if it is of the same trace as the one before. */
  read(start: number, end: number): boolean {
    const span = this.#span;
    const [lastStart, lastEnd] = [this.#traceStart, this.#traceEnd];
    let missing = 2;
    span.reset(start, end);
    while (missing > 0 && span.next()) {
      if (span.tag === SPAN_TRACE_ID) {
        [this.#traceStart, this.#traceEnd] = [span.start, span.end];
        missing--;
      } else if (span.tag === SPAN_SPAN_ID) {
        [this.#spanStart, this.#spanEnd] = [span.start, span.end];
        missing--;
      }
    }
    return !this.#isEqual(lastStart, lastEnd);
  }

  get traceId(): string {
    return this.#request.toString("hex", this.#traceStart, this.#traceEnd);
  }
  get spanId(): string {
    return this.#request.toString("hex", this.#spanStart, this.#spanEnd);
  }

  #isEqual(start: number, end: number): boolean {
    const [request, traceStart] = [this.#request, this.#traceStart];
    if (end - start !== this.#traceEnd - traceStart) return false;
    for (let i = 0; i < end - start; i++) {
      if (request[start + i] !== request[traceStart + i]) return false;
    }
    return true;
  }
}
