import { forgetOldest } from "../../base/forget-oldest.ts";
import { Buffer } from "node:buffer";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { SPAN_TRACE_ID } from "../../otlp/trace-fields.ts";

/** Traces that are remembered: a shim has one. */
const MAX_TRACES = 8_192;

/**
 * Which sandbox a runtime's trace is of. The Go shim has one trace, and names its sandbox only in some of its spans, so
 * what is learned from one of them holds for the others.
 */
export class TraceSandboxes {
  readonly #sandboxes = new Map<string, string>();

  /** The sandbox of spans that are all of one trace; undefined if they are not, or if it is not known. */
  of(spans: EncodedSpans): string | undefined {
    if (this.#sandboxes.size === 0) return undefined;
    const trace = traceOf(spans);
    return trace === undefined ? undefined : this.#sandboxes.get(trace);
  }

  /** Learns the sandbox of spans that are all of one trace. */
  learn(spans: EncodedSpans, sandbox: string): void {
    const trace = traceOf(spans);
    if (trace === undefined || this.#sandboxes.get(trace) === sandbox) return;
    this.#sandboxes.delete(trace);
    this.#sandboxes.set(trace, sandbox);
    forgetOldest(this.#sandboxes, MAX_TRACES);
  }
}

/** The trace ID of all spans; undefined if there are two. */
function traceOf(spans: EncodedSpans): string | undefined {
  let trace: string | undefined;
  for (let span = 0; span < spans.count; span++) {
    const outer = new ProtobufReader(spans.writer.buffer, spans.spanStart(span), spans.spanEnd(span));
    outer.next();
    const fields = outer.message();
    while (fields.next() && fields.tag !== SPAN_TRACE_ID);
    const { buffer, start, end } = fields;
    const id = Buffer.prototype.toString.call(buffer as Buffer, "latin1", start, end);
    if (trace !== undefined && id !== trace) return undefined;
    trace = id;
  }
  return trace;
}
