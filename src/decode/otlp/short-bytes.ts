import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import * as tag from "../../otlp/trace-fields.ts";
import { MAX_MESSAGE_DEPTH } from "../canonical.ts";
import { LONG_OTLP_TEXT_BYTES } from "../large-payloads.ts";

/** A message in which there may be long texts, by the tags of its fields: `true` for a text, else a message. */
interface Form {
  readonly [tag: number]: Form | true | undefined;
}

const ANY_VALUE: { [tag: number]: Form | true } = { [tag.ANY_VALUE_STRING]: true, [tag.ANY_VALUE_BYTES]: true };
const KEY_VALUE: Form = { [tag.KEY_VALUE_KEY]: true, [tag.KEY_VALUE_VALUE]: ANY_VALUE };
/** `ArrayValue.values` and `KeyValueList.values` have the same tag. */
ANY_VALUE[tag.ANY_VALUE_ARRAY] = { [tag.ARRAY_VALUE_VALUES]: ANY_VALUE };
ANY_VALUE[tag.ANY_VALUE_KVLIST] = { [tag.ARRAY_VALUE_VALUES]: KEY_VALUE };
const SPAN: Form = {
  [tag.SPAN_NAME]: true,
  [tag.SPAN_TRACE_STATE]: true,
  [tag.SPAN_ATTRIBUTES]: KEY_VALUE,
  [tag.SPAN_EVENTS]: { [tag.EVENT_NAME]: true, [tag.EVENT_ATTRIBUTES]: KEY_VALUE },
  [tag.SPAN_LINKS]: { [tag.LINK_ATTRIBUTES]: KEY_VALUE },
  [tag.SPAN_STATUS]: { [tag.STATUS_MESSAGE]: true },
};

/**
 * How many bytes a `Span` message has beside its long texts; looks no further than to `most` of them. Throws
 * `ProtobufError`.
 */
export function shortBytes(buffer: Uint8Array, start: number, end: number, most: number): number {
  return end - start - longBytes(new ProtobufReader(buffer, start, end), SPAN, 1, { left: most });
}

/** @param budget what may still be looked at beside long texts, bytes. */
function longBytes(message: ProtobufReader, form: Form, depth: number, budget: { left: number }): number {
  let long = 0;
  while (budget.left > 0 && message.next()) {
    const inner = form[message.tag];
    const length = message.end - message.start;
    const isLong = inner !== undefined && message.end === message.position && length >= LONG_OTLP_TEXT_BYTES;
    if (!isLong) budget.left -= message.position - message.fieldStart;
    else if (inner === true) long += length;
    else if (depth < MAX_MESSAGE_DEPTH) long += longBytes(message.message(), inner, depth + 1, budget);
  }
  return long;
}
