import { Buffer } from "node:buffer";
import { readAnyValue } from "../otlp/json-record.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import type { AnyValueRecord } from "../otlp/span-record.ts";
import { KEY_VALUE_KEY, KEY_VALUE_VALUE, SPAN_ATTRIBUTES } from "../otlp/trace-fields.ts";

/** A value as people group by it: numbers and booleans as they are written, anything nested as nothing. */
export function valueText(value: AnyValueRecord): string {
  return String(value.stringValue ?? value.intValue ?? value.boolValue ?? value.doubleValue ?? "");
}

/** The value of a span's attribute as text, without decoding its other attributes; undefined if it has none. */
export function attributeText(span: Uint8Array, key: string): string | undefined {
  const wanted = Buffer.from(key);
  const reader = new ProtobufReader(span);
  while (reader.next()) {
    if (reader.tag !== SPAN_ATTRIBUTES) continue;
    const attribute = reader.message();
    let isWanted = false;
    let value: AnyValueRecord | undefined;
    while (attribute.next()) {
      if (attribute.tag === KEY_VALUE_KEY) {
        isWanted = wanted.equals(attribute.buffer.subarray(attribute.start, attribute.end));
        if (!isWanted) break;
      } else if (attribute.tag === KEY_VALUE_VALUE) value = readAnyValue(attribute.message());
    }
    if (isWanted && value !== undefined) return valueText(value);
  }
  return undefined;
}
