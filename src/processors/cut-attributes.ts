import { characterStart } from "../base/utf8-cut.ts";
import { copyBytes } from "../otlp/put-bytes.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import { type ProtobufWriter, varintSize } from "../otlp/protobuf-writer.ts";
import * as tag from "../otlp/trace-fields.ts";
import { LongestValues } from "./longest-values.ts";

/** `ArrayValue.values` and `KeyValueList.values`. */
const ITEMS = 0x0a;
/** The low bits of a tag, and the type that text, bytes, arrays and lists have. */
const WIRE_TYPE = 7;
const LENGTH_DELIMITED = 2;

/** Which of a message's fields are attributes, and which are messages that have attributes of their own. */
export interface Holder {
  readonly attributes: number;
  readonly nested: { readonly [tag: number]: Holder | undefined };
}

const EVENT: Holder = { attributes: tag.EVENT_ATTRIBUTES, nested: {} };
const LINK: Holder = { attributes: tag.LINK_ATTRIBUTES, nested: {} };
export const SPAN: Holder = {
  attributes: tag.SPAN_ATTRIBUTES,
  nested: { [tag.SPAN_EVENTS]: EVENT, [tag.SPAN_LINKS]: LINK },
};
export const RESOURCE: Holder = { attributes: tag.RESOURCE_ATTRIBUTES, nested: {} };

/** How far values are cut. */
export interface Cut {
  /** The longest text or bytes, also within an array or a list, in bytes. */
  readonly text: number;
  /** The longest array or list, in bytes as it is encoded. */
  readonly list: number;
}

/**
 * How many bytes a field's length takes. The length of its copy mostly takes as many, and then the content, which may
 * be megabytes, is written to its final place at once.
 */
function lengthBytesOf({ start, end }: ProtobufReader): number {
  return varintSize(end - start);
}

/** Cuts the values of the attributes in one message while it copies that. */
export class AttributeCutter {
  readonly #writer: ProtobufWriter;
  readonly #cut: Cut;
  /** The keys of attributes whose value was cut, in bytes; each where it first came. */
  readonly cutKeys: Uint8Array[] = [];
  /** How many values were cut. */
  count = 0;

  /** @param writer gets the message with its values cut, behind what it already has. */
  constructor(writer: ProtobufWriter, cut: Cut) {
    this.#writer = writer;
    this.#cut = cut;
  }

  /** Copies a message that is a `holder`. */
  copy(message: ProtobufReader, holder: Holder): void {
    const writer = this.#writer;
    while (message.next()) {
      const { tag } = message;
      const nested = holder.nested[tag];
      if (tag === holder.attributes) this.#copyAttribute(message);
      else if (nested !== undefined) {
        const content = writer.openMessage(tag);
        this.copy(message.message(), nested);
        writer.closeMessage(content);
      } else this.#copyField(message);
    }
  }

  #copyField({ buffer, fieldStart, position }: ProtobufReader): void {
    const writer = this.#writer;
    writer.reserve(position - fieldStart);
    copyBytes(buffer, fieldStart, position, writer.buffer, writer.position);
    writer.position += position - fieldStart;
  }

  #copyAttribute(field: ProtobufReader): void {
    // Most are shorter than anything that would be cut.
    if (field.end - field.start <= Math.min(this.#cut.text, this.#cut.list)) {
      this.#copyField(field);
      return;
    }
    const before = this.count;
    const writer = this.#writer;
    const keyValue = field.message();
    let key: Uint8Array | undefined;
    const lengthBytes = lengthBytesOf(field);
    const content = writer.openMessage(field.tag, lengthBytes);
    while (keyValue.next()) {
      if (keyValue.tag === tag.KEY_VALUE_KEY) key = keyValue.bytes();
      if (keyValue.tag === tag.KEY_VALUE_VALUE) this.#copyMessage(keyValue, (value) => this.#copyValue(value));
      else this.#copyField(keyValue);
    }
    writer.closeMessage(content, lengthBytes);
    if (this.count > before && key !== undefined) this.cutKeys.push(key.slice());
  }

  #copyMessage(field: ProtobufReader, copyContent: (message: ProtobufReader) => void): void {
    const lengthBytes = lengthBytesOf(field);
    const content = this.#writer.openMessage(field.tag, lengthBytes);
    copyContent(field.message());
    this.#writer.closeMessage(content, lengthBytes);
  }

  /** Copies an `AnyValue`. Messages nest no deeper than decoders let them. */
  #copyValue(value: ProtobufReader): void {
    while (value.next()) {
      const length = value.end - value.start;
      switch (value.tag) {
        case tag.ANY_VALUE_STRING:
          this.#copyText(value, Math.min(length, this.#cut.text), true);
          break;
        case tag.ANY_VALUE_BYTES:
          this.#copyText(value, Math.min(length, this.#cut.text), false);
          break;
        case tag.ANY_VALUE_ARRAY:
          this.#copyMessage(value, (array) => this.#copyItems(array, (item) => this.#copyValue(item)));
          break;
        case tag.ANY_VALUE_KVLIST:
          this.#copyMessage(value, (list) => this.#copyItems(list, (pair) => this.#copyPair(pair)));
          break;
        default:
          this.#copyField(value);
      }
    }
  }

  /** Copies text or bytes, at most `most` bytes of them. */
  #copyText(value: ProtobufReader, most: number, isText: boolean): void {
    const { buffer, start, end } = value;
    let to = start + most;
    if (to < end) {
      this.count++;
      if (isText) to = characterStart(buffer, to, start, end);
    }
    const writer = this.#writer;
    const lengthBytes = varintSize(to - start);
    const content = writer.openMessage(value.tag, lengthBytes);
    writer.reserve(to - start);
    copyBytes(buffer, start, to, writer.buffer, writer.position);
    writer.position += to - start;
    writer.closeMessage(content, lengthBytes);
  }

  /** Copies the items of an array or a list as far as they may go. */
  #copyItems(items: ProtobufReader, copyItem: (item: ProtobufReader) => void): void {
    const writer = this.#writer;
    const begin = writer.position;
    while (items.next()) {
      const before = writer.position;
      if (items.tag === ITEMS) this.#copyMessage(items, copyItem);
      else this.#copyField(items);
      if (writer.position - begin <= this.#cut.list) continue;
      writer.position = before;
      this.count++;
      return;
    }
  }

  #copyPair(pair: ProtobufReader): void {
    while (pair.next()) {
      if (pair.tag === tag.KEY_VALUE_VALUE) this.#copyMessage(pair, (value) => this.#copyValue(value));
      else this.#copyField(pair);
    }
  }
}

/** Reused, because there may be a great many attributes. */
const KEY_VALUE = new ProtobufReader(new Uint8Array(0));
const VALUE = new ProtobufReader(new Uint8Array(0));

/** Adds the lengths of all values of attributes in a message that is a `holder`. */
export function measureValues(message: ProtobufReader, holder: Holder, values: LongestValues): void {
  while (message.next()) {
    const nested = holder.nested[message.tag];
    if (message.tag === holder.attributes) values.add(valueLength(message.buffer, message.start, message.end));
    else if (nested !== undefined) measureValues(message.message(), nested, values);
  }
}

/** How much of an attribute's value can be cut, bytes: all of it, unless it is a number. */
function valueLength(buffer: Uint8Array, start: number, end: number): number {
  let length = 0;
  KEY_VALUE.load(buffer, start, end);
  while (KEY_VALUE.next()) {
    if (KEY_VALUE.tag !== tag.KEY_VALUE_VALUE) continue;
    VALUE.load(buffer, KEY_VALUE.start, KEY_VALUE.end);
    while (VALUE.next()) length = (VALUE.tag & WIRE_TYPE) === LENGTH_DELIMITED ? VALUE.end - VALUE.start : 0;
  }
  return length;
}
