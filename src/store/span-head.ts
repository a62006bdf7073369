import { Buffer } from "node:buffer";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import * as fields from "../otlp/trace-fields.ts";

/** `Status.StatusCode.STATUS_CODE_ERROR`. */
const STATUS_ERROR = 2;

/** Names are cut at this many characters: a guest's may be as long as a frame. */
const NAME_CHARACTERS = 256;

/** Kata's runtimes write the sandbox's ID into this attribute of some of their spans. */
const SANDBOX_ATTRIBUTE = "sandbox_id";

/** What the store has to know of a span. IDs are lower-case hexadecimal, an absent parent is "". */
export interface SpanHead {
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
      case fields.SPAN_ATTRIBUTES:
        sandboxAttribute = sandboxOf(span) ?? sandboxAttribute;
        break;
      case fields.SPAN_STATUS:
        isError = hasErrorCode(span.message());
        break;
    }
  }
  return {
    traceId,
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

/** The value of an attribute that is the sandbox's ID. Most attributes are not, so their keys are compared as bytes. */
function sandboxOf(attribute: ProtobufReader): string | undefined {
  if (attribute.end - attribute.start > MAX_SANDBOX_ATTRIBUTE_BYTES) return undefined;
  const keyValue = attribute.message();
  let isSandbox = false;
  let value: string | undefined;
  while (keyValue.next()) {
    if (keyValue.tag === fields.KEY_VALUE_KEY) isSandbox = keyValue.text() === SANDBOX_ATTRIBUTE;
    if (keyValue.tag !== fields.KEY_VALUE_VALUE) continue;
    const any = keyValue.message();
    while (any.next()) if (any.tag === fields.ANY_VALUE_STRING) value = any.text();
  }
  return isSandbox && value !== "" ? value : undefined;
}

/** An ID has at most 64 characters, and short ones are allowed to be longer by their key and framing. */
const MAX_SANDBOX_ATTRIBUTE_BYTES = 160;

function hasErrorCode(status: ProtobufReader): boolean {
  let code = 0;
  while (status.next()) if (status.tag === fields.STATUS_CODE) code = status.low;
  return code === STATUS_ERROR;
}

function hex({ buffer, start, end }: ProtobufReader): string {
  return Buffer.from(buffer.buffer, buffer.byteOffset + start, end - start).toString("hex");
}
