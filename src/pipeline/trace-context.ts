/** A place in a trace: what a span is linked to, or the parent of one. */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all zeros. */
  readonly traceId: string;
  /** 16 lower-case hexadecimal digits, not all zeros. */
  readonly spanId: string;
  /** 8 bits; the lowest says that the trace is sampled. */
  readonly flags: number;
}

/** A trace context in the form of the `traceparent` header, https://www.w3.org/TR/trace-context/#traceparent-header. */
export function formatTraceparent({ traceId, spanId, flags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`;
}
