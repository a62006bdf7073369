import { Buffer } from "node:buffer";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import * as fields from "../otlp/trace-fields.ts";

/** `Status.StatusCode.STATUS_CODE_ERROR`. */
const STATUS_ERROR = 2;

/** Names are cut at this many characters: a guest's may be as long as a frame. */
const NAME_CHARACTERS = 256;

/** Kata's runtimes write the sandbox's ID into this attribute of some of their spans. */
const SANDBOX_ATTRIBUTE = "sandbox_id";

/** `--join-traces` keeps the trace ID of a span's source in this attribute. */
const ORIGINAL_TRACE_ID = "kata.original_trace_id";

const READ_ATTRIBUTES: ReadonlySet<string> = new Set([SANDBOX_ATTRIBUTE, ORIGINAL_TRACE_ID]);

/** What the store has to know of a span. IDs are lower-case hexadecimal, an absent parent is "". */
export interface SpanHead {
  /** As the span's source wrote it, even if all traces of its sandbox have been joined since. */
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  /** Unix nanoseconds. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly isError: boolean;
  readonly sandboxAttribute: string | undefined;
  /** The `Span` message. */
  readonly content: Uint8Array;
}

/**
 * Reads a span's head.
 *
 * @param field a whole `spans` field: tag, length, `Span`. Throws `ProtobufError` on bytes that are not one.
 */
export function readSpanHead(field: Uint8Array): SpanHead {
  const outer = new ProtobufReader(field);
  outer.next();
  const span = outer.message();
  let [traceId, spanId, parentSpanId, name] = ["", "", "", ""];
  let [startNs, endNs] = [0n, 0n];
  let isError = false;
  let sandboxAttribute: string | undefined;
  let originalTraceId: string | undefined;
  while (span.next()) {
    switch (span.tag) {
      case fields.SPAN_TRACE_ID:
        traceId = hex(span);
        break;
      case fields.SPAN_SPAN_ID:
        spanId = hex(span);
        break;
      case fields.SPAN_PARENT_SPAN_ID:
        parentSpanId = hex(span);
        break;
      case fields.SPAN_NAME:
        name = span.text();
        break;
      case fields.SPAN_START_TIME:
        startNs = span.uint64();
        break;
      case fields.SPAN_END_TIME:
        endNs = span.uint64();
        break;
      case fields.SPAN_ATTRIBUTES: {
        const { key, value = "" } = shortText(span) ?? {};
        if (key === SANDBOX_ATTRIBUTE && value !== "") sandboxAttribute = value;
        if (key === ORIGINAL_TRACE_ID && /^[0-9a-f]{32}$/.test(value)) originalTraceId = value;
        break;
      }
      case fields.SPAN_STATUS:
        isError = hasErrorCode(span.message());
        break;
    }
  }
  return {
    traceId: originalTraceId ?? traceId,
    spanId,
    parentSpanId,
    name: name.length > NAME_CHARACTERS ? `${name.slice(0, NAME_CHARACTERS)}…` : name,
    startNs,
    endNs,
    isError,
    sandboxAttribute,
    content: outer.bytes(),
  };
}

/** A short attribute and its text; undefined for any other one. */
function shortText(
  attribute: ProtobufReader,
): { readonly key: string; readonly value: string | undefined } | undefined {
  if (attribute.end - attribute.start > MAX_SHORT_ATTRIBUTE_BYTES) return undefined;
  const keyValue = attribute.message();
  let key = "";
  let value: string | undefined;
  while (keyValue.next()) {
    if (keyValue.tag === fields.KEY_VALUE_KEY) key = keyValue.text();
    if (!READ_ATTRIBUTES.has(key)) return undefined;
    if (keyValue.tag !== fields.KEY_VALUE_VALUE) continue;
    const any = keyValue.message();
    while (any.next()) if (any.tag === fields.ANY_VALUE_STRING) value = any.text();
  }
  return { key, value };
}

/** An ID has at most 64 characters, and short ones are allowed to be longer by their key and framing. */
const MAX_SHORT_ATTRIBUTE_BYTES = 160;

function hasErrorCode(status: ProtobufReader): boolean {
  let code = 0;
  while (status.next()) if (status.tag === fields.STATUS_CODE) code = status.low;
  return code === STATUS_ERROR;
}

function hex({ buffer, start, end }: ProtobufReader): string {
  return Buffer.from(buffer.buffer, buffer.byteOffset + start, end - start).toString("hex");
}
