import { varint64Size, varintSize } from "../../otlp/protobuf-writer.ts";
import * as tag from "../../otlp/trace-fields.ts";
import type { BincodePayload } from "./payload.ts";

// `Value` and `Array` of opentelemetry 0.14, in the order of their variants (2 is F64); `Array` ends before itself.
const BOOL = 0;
const I64 = 1;
const STRING = 3;
const ARRAY = 4;

/**
 * Turns attributes of a payload into one field of a message. In all that it does, `at` is where something begins in the
 * payload and `out` where it goes in the output; it returns the place after what was written, and `payload.at` is the
 * place after what was read. As in {@link BincodePayload}, the members are not `#private` because that is slower.
 */
export class AttributeField {
  private readonly payload: BincodePayload;
  /** The field's tag, as in `otlp/trace-fields.ts`. */
  private readonly field: number;
  /** The key of the attribute that is being written: where it is in the payload, and how many bytes it has. */
  private key = 0;
  private keyLength = 0;

  constructor(payload: BincodePayload, field: number) {
    this.payload = payload;
    this.field = field;
  }

  /** Writes a map. Of two entries with one key the later one stays. */
  map(at: number, out: number): number {
    const payload = this.payload;
    const { map, writer } = payload;
    map.begin(writer);
    let left = payload.length(at, "attributes");
    for (at += 8; left > 0; left--) {
      const fieldStart = out;
      out = this.attribute(at, out);
      map.add(fieldStart, payload.keyStart, payload.keyLength);
      at = payload.at;
    }
    payload.at = at;
    writer.position = out;
    map.end();
    return writer.position;
  }

  /** Writes a sequence, in which keys may repeat. */
  sequence(at: number, out: number): number {
    const payload = this.payload;
    let left = payload.length(at, "attributes");
    for (at += 8; left > 0; left--) {
      out = this.attribute(at, out);
      at = payload.at;
    }
    payload.at = at;
    return out;
  }

  /** Writes a key and a value as a `KeyValue`. */
  private attribute(at: number, out: number): number {
    const payload = this.payload;
    const { source, output } = payload;
    const length = payload.length(at, "attribute key");
    const key = at + 8;
    at = key + length;
    const variant = payload.variant(at, ARRAY + 1, "value");
    at += 4;
    if (variant === ARRAY) {
      this.key = key;
      this.keyLength = length;
      return this.arrayAttribute(at, out);
    }

    // The value is read before anything is written, because its size is part of the lengths in front of the key.
    let low = 0;
    let high = 0;
    let size;
    if (variant === STRING) {
      low = payload.length(at, "string value");
      at += 8;
      size = 1 + varintSize(low) + low;
    } else if (variant === BOOL) {
      low = payload.flag(at, "bool value");
      at++;
      size = 2;
    } else {
      payload.need(at, 8, "value");
      low = source.getInt32(at, true);
      high = source.getInt32(at + 4, true);
      at += 8;
      size = variant === I64 ? 1 + varint64Size(low, high) : payload.doubleSize(low, high);
    }

    const keySize = length === 0 ? 0 : 1 + varintSize(length) + length;
    output[out] = this.field;
    out = payload.varint(out + 1, keySize + 1 + varintSize(size) + size);
    out = payload.text(key, length, out, tag.KEY_VALUE_KEY);
    payload.keyStart = out - length;
    payload.keyLength = length;
    output[out] = tag.KEY_VALUE_VALUE;
    out = payload.varint(out + 1, size);
    if (variant === STRING) {
      output[out] = tag.ANY_VALUE_STRING;
      out = payload.varint(out + 1, low);
      payload.copyText(at, low, out);
      at += low;
      out += low;
    } else if (variant === BOOL) {
      output[out] = tag.ANY_VALUE_BOOL;
      output[out + 1] = low;
      out += 2;
    } else if (variant === I64) {
      output[out] = tag.ANY_VALUE_INT;
      out = payload.varint64(out + 1, low, high);
    } else {
      out = payload.double(out, low, high);
    }
    payload.at = at;
    return out;
  }

  /** The same for an array, whose size is not known before it is written. */
  private arrayAttribute(at: number, out: number): number {
    const payload = this.payload;
    const { writer } = payload;
    writer.position = out;
    const keyValue = writer.openMessage(this.field);
    const keyEnd = payload.text(this.key, this.keyLength, writer.position, tag.KEY_VALUE_KEY);
    writer.position = keyEnd;
    const value = writer.openMessage(tag.KEY_VALUE_VALUE);
    const array = writer.openMessage(tag.ANY_VALUE_ARRAY);
    writer.position = arrayItems(payload, at, writer.position);
    writer.closeMessage(array);
    writer.closeMessage(value);
    payload.keyStart = keyEnd - this.keyLength + writer.closeMessage(keyValue);
    payload.keyLength = this.keyLength;
    return writer.position;
  }
}

/** Turns an array, whose variant is at `at`, into the values of an `ArrayValue`. */
function arrayItems(payload: BincodePayload, at: number, out: number): number {
  const { source, output } = payload;
  const variant = payload.variant(at, ARRAY, "array");
  let left = payload.length(at + 4, "array");
  at += 12;
  // Of strings each is looked at by itself.
  if (variant !== STRING) payload.checkShort(Math.min(at + left * (variant === BOOL ? 1 : 8), payload.end));
  for (; left > 0; left--) {
    output[out++] = tag.ARRAY_VALUE_VALUES;
    if (variant === BOOL) {
      output[out] = 2;
      output[out + 1] = tag.ANY_VALUE_BOOL;
      output[out + 2] = payload.flag(at, "bool value");
      out += 3;
      at++;
    } else if (variant === STRING) {
      const length = payload.length(at, "string value");
      at += 8;
      out = payload.varint(out, 1 + varintSize(length) + length);
      output[out] = tag.ANY_VALUE_STRING;
      out = payload.varint(out + 1, length);
      payload.copyText(at, length, out);
      at += length;
      out += length;
    } else {
      payload.need(at, 8, "value");
      const low = source.getInt32(at, true);
      const high = source.getInt32(at + 4, true);
      at += 8;
      if (variant === I64) {
        output[out] = 1 + varint64Size(low, high);
        output[out + 1] = tag.ANY_VALUE_INT;
        out = payload.varint64(out + 2, low, high);
      } else {
        output[out] = payload.doubleSize(low, high);
        out = payload.double(out + 1, low, high);
      }
    }
  }
  payload.at = at;
  return out;
}
