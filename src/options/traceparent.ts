import type { TraceContext } from "../pipeline/trace-context.ts";
import { quoted, UsageError } from "./values.ts";

/** Version, trace ID, parent ID, flags, and what a later version may add. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** The specified version, which adds nothing. */
const SPECIFIED = "00";
/** Not allowed by the specification. */
const NO_VERSION = "ff";

/**
 * A trace context as the `traceparent` header writes it. Throws a `UsageError` for any other text.
 *
 * Specification: https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function traceparent(value: string): TraceContext {
  const [, version, traceId = "", spanId = "", flags = "", more] = TRACEPARENT.exec(value.trim()) ??
    [];
  const isVersion = version !== undefined && version !== NO_VERSION &&
    (version !== SPECIFIED || more === undefined);
  if (!isVersion || /^0+$/.test(traceId) || /^0+$/.test(spanId)) {
    throw new UsageError(
      `invalid trace context ${quoted(value)}: give 00-TRACE-SPAN-FLAGS, ` +
        "of 32, 16 and 2 lower-case hexadecimal digits, as in W3C's traceparent",
    );
  }
  return { traceId, spanId, flags: Number.parseInt(flags, 16) };
}
