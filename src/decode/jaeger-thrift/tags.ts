import { type ProtobufWriter, varint64Size, varintSize } from "../../otlp/protobuf-writer.ts";
import * as tag from "../../otlp/trace-fields.ts";
import { AttributeMap } from "../attribute-map.ts";
import { isNonFinite, nonFiniteText } from "../canonical.ts";
import { Text } from "./text.ts";
import * as thrift from "./thrift-input.ts";

/** `TagType` of jaeger.thrift: what a tag's value is. */
export const TYPE_STRING = 0;
export const TYPE_DOUBLE = 1;
export const TYPE_BOOL = 2;
export const TYPE_LONG = 3;
export const TYPE_BINARY = 4;

/** Keys that exporters give a meaning of their own. Any other key has the meaning `NONE`. */
export const NONE = 0;
export const SPAN_KIND = 1;
export const STATUS_CODE = 2;
export const STATUS_DESCRIPTION = 3;
export const ERROR = 4;
export const SCOPE_NAME = 5;
export const SCOPE_VERSION = 6;
export const OLD_STATUS_CODE = 7;
export const OLD_STATUS_MESSAGE = 8;
export const EVENT_NAME = 9;
export const OLD_EVENT_NAME = 10;
export const DROPPED_ATTRIBUTES = 11;
export const SERVICE_NAME = 12;
export const CODE_NAMESPACE = 13;
export const SANDBOX_ID = 14;
export const OLD_SCOPE_NAME = 15;
export const OLD_SCOPE_VERSION = 16;

const KNOWN_KEYS: readonly (readonly [key: string, meaning: number])[] = [
  ["span.kind", SPAN_KIND],
  ["otel.status_code", STATUS_CODE],
  ["otel.status_description", STATUS_DESCRIPTION],
  ["error", ERROR],
  ["otel.library.name", SCOPE_NAME],
  ["otel.library.version", SCOPE_VERSION],
  // Of the Go exporter up to 0.15, which Kata 2.1 to 2.2 have.
  ["status.code", OLD_STATUS_CODE],
  ["status.message", OLD_STATUS_MESSAGE],
  ["otel.instrumentation_library.name", OLD_SCOPE_NAME],
  ["otel.instrumentation_library.version", OLD_SCOPE_VERSION],
  ["event", EVENT_NAME],
  ["name", OLD_EVENT_NAME],
  ["otel.event.dropped_attributes_count", DROPPED_ATTRIBUTES],
  ["service.name", SERVICE_NAME],
  ["code.namespace", CODE_NAMESPACE],
  ["sandbox_id", SANDBOX_ID],
];

/** By length: the known keys of that length, as bytes. */
const KEYS_BY_LENGTH: (readonly { readonly key: Uint8Array; readonly meaning: number }[] | undefined)[] = [];
for (const [text, meaning] of KNOWN_KEYS) {
  const key = new TextEncoder().encode(text);
  KEYS_BY_LENGTH[key.length] = [...KEYS_BY_LENGTH[key.length] ?? [], { key, meaning }];
}

/** By type of a tag: the type that its value has on the wire. */
const WIRE_TYPES = [thrift.STRING, thrift.DOUBLE, thrift.BOOL, thrift.I64, thrift.STRING] as const;
const FIELD_KEY = 1;
const FIELD_TYPE = 2;
/** The values have the numbers 3 to 7, in the order of their types. */
const FIELD_FIRST_VALUE = 3;
const TAG = new thrift.Struct(
  "Tag",
  { [FIELD_KEY]: thrift.STRING, [FIELD_TYPE]: thrift.I32 },
  Object.fromEntries(WIRE_TYPES.map((type, index) => [FIELD_FIRST_VALUE + index, type])),
);

/** How many numbers describe one tag; below, which is where. */
const STRIDE = 6;
const KEY_START = 0;
const KEY_LENGTH = 1;
const VALUE_TYPE = 2;
/** A string's or bytes' start, the low half of a number, or 0 or 1. */
const VALUE_LOW = 3;
/** A string's or bytes' length, or the high half of a number. */
const VALUE_HIGH = 4;
const MEANING = 5;
/** In place of a meaning: the tag has become something else in OTLP, so it is not an attribute any more. */
const CONSUMED = -1;
const FEW_TAGS = 64;
/** Memory for more tags than this is given back after the list that needed it. */
const RETAINED_TAGS = 4096;

/** A list of tags: read as a whole, asked for those with a meaning, and what is left of it written as attributes. */
export class TagList {
  count = 0;
  #tags = new Int32Array(STRIDE * FEW_TAGS);
  /** Of the tag being read: for each type two numbers, as `VALUE_LOW` and `VALUE_HIGH` have them. */
  readonly #values = new Int32Array(2 * WIRE_TYPES.length);
  readonly #input: thrift.ThriftInput;
  readonly #map = new AttributeMap();
  readonly #key = new Text();
  readonly #value = new Text();

  constructor(input: thrift.ThriftInput) {
    this.#input = input;
  }

  /** Forgets the tags. */
  clear(): void {
    this.count = 0;
    if (this.#tags.length > STRIDE * RETAINED_TAGS) this.#tags = new Int32Array(STRIDE * FEW_TAGS);
  }

  /** Lets go of the body. */
  release(): void {
    this.clear();
    this.#key.release();
    this.#value.release();
  }

  /** Reads `list<Tag>`, which is next in the input. */
  read(): void {
    this.clear();
    for (let left = this.#input.structs("tags"); left > 0; left--) this.#readTag();
  }

  /** The last tag with this meaning whose value has this type; -1 if there is none. */
  last(meaning: number, type: number): number {
    const tags = this.#tags;
    for (let index = this.count - 1; index >= 0; index--) {
      const at = index * STRIDE;
      if (tags[at + MEANING] === meaning && tags[at + VALUE_TYPE] === type) return index;
    }
    return -1;
  }

  /** The last tag with this meaning; -1 if there is none. */
  lastOfAnyType(meaning: number): number {
    let index = this.count - 1;
    while (index >= 0 && this.#tags[index * STRIDE + MEANING] !== meaning) index--;
    return index;
  }

  /** The first tag with this meaning whose value has this type; -1 if there is none. */
  first(meaning: number, type: number): number {
    const tags = this.#tags;
    for (let index = 0; index < this.count; index++) {
      const at = index * STRIDE;
      if (tags[at + MEANING] === meaning && tags[at + VALUE_TYPE] === type) return index;
    }
    return -1;
  }

  /** Whether a tag has this meaning and its value this type. */
  is(index: number, meaning: number, type: number): boolean {
    if (index < 0 || index >= this.count) return false;
    return this.#tags[index * STRIDE + MEANING] === meaning && this.#tags[index * STRIDE + VALUE_TYPE] === type;
  }

  /** The tag has become something else than an attribute. */
  consume(index: number): void {
    this.#tags[index * STRIDE + MEANING] = CONSUMED;
  }

  /** Of a string or bytes: where the value begins in the body. */
  valueStart(index: number): number {
    return this.#tags[index * STRIDE + VALUE_LOW] as number;
  }

  /** Of a string or bytes: how many bytes the value has. */
  valueLength(index: number): number {
    return this.#tags[index * STRIDE + VALUE_HIGH] as number;
  }

  /** Of a bool. */
  isTrue(index: number): boolean {
    return this.#tags[index * STRIDE + VALUE_LOW] === 1;
  }

  /** Of a long: its value if that is from 0 to 2^32 - 1, else -1. */
  uint32(index: number): number {
    const at = index * STRIDE;
    return this.#tags[at + VALUE_HIGH] === 0 ? (this.#tags[at + VALUE_LOW] as number) >>> 0 : -1;
  }

  /** Whether a string is this ASCII text. */
  equals(index: number, text: string): boolean {
    return this.valueLength(index) === text.length && this.startsWith(index, text);
  }

  /** Whether a string begins with this ASCII text. */
  startsWith(index: number, text: string): boolean {
    if (this.valueLength(index) < text.length) return false;
    const start = this.valueStart(index);
    for (let i = 0; i < text.length; i++) {
      if (this.#input.bytes[start + i] !== text.charCodeAt(i)) return false;
    }
    return true;
  }

  /** Appends the tags that are left as fields of type `KeyValue`. Keys may repeat, as in an agent's events. */
  writeList(writer: ProtobufWriter, field: number): void {
    for (let at = 0; at < this.count * STRIDE; at += STRIDE) {
      if (this.#tags[at + MEANING] !== CONSUMED) this.#writeAttribute(writer, field, at);
    }
  }

  /** Appends the tags that are left likewise, but of two with one key the later one stays, in its place. */
  writeMap(writer: ProtobufWriter, field: number): void {
    const map = this.#map;
    map.begin(writer);
    for (let at = 0; at < this.count * STRIDE; at += STRIDE) {
      if (this.#tags[at + MEANING] === CONSUMED) continue;
      const start = writer.position;
      const keyStart = this.#writeAttribute(writer, field, at);
      map.add(start, keyStart, this.#key.length);
    }
    map.end();
  }

  /** Returns where the key begins; it is `#key.length` bytes long. */
  #writeAttribute(writer: ProtobufWriter, field: number, at: number): number {
    const tags = this.#tags;
    const type = tags[at + VALUE_TYPE] as number;
    const low = tags[at + VALUE_LOW] as number;
    const high = tags[at + VALUE_HIGH] as number;
    const key = this.#key;
    const value = this.#value;
    key.take(this.#input.bytes, tags[at + KEY_START] as number, tags[at + KEY_LENGTH] as number);
    if (type === TYPE_STRING) value.take(this.#input.bytes, low, high);
    const size = type === TYPE_STRING
      ? value.fieldSize
      : type === TYPE_BINARY
      ? 1 + varintSize(high) + high
      : type === TYPE_DOUBLE
      ? isNonFinite(high) ? 2 + nonFiniteText(low, high).length : 9
      : type === TYPE_LONG
      ? 1 + varint64Size(low, high)
      : 2;
    const keySize = key.length === 0 ? 0 : key.fieldSize;
    writer.byte(field);
    writer.varint(keySize + 1 + varintSize(size) + size);
    key.writeUnlessEmpty(writer, tag.KEY_VALUE_KEY);
    const keyStart = writer.position - key.length;
    writer.byte(tag.KEY_VALUE_VALUE);
    writer.varint(size);
    switch (type) {
      case TYPE_STRING:
        value.write(writer, tag.ANY_VALUE_STRING);
        break;
      case TYPE_BINARY:
        writer.lengthDelimited(tag.ANY_VALUE_BYTES >>> 3, this.#input.bytes.subarray(low, low + high));
        break;
      case TYPE_DOUBLE:
        if (isNonFinite(high)) writer.lengthDelimited(tag.ANY_VALUE_STRING >>> 3, nonFiniteText(low, high));
        else {
          writer.byte(tag.ANY_VALUE_DOUBLE);
          writer.fixed64(low, high);
        }
        break;
      case TYPE_LONG:
        writer.byte(tag.ANY_VALUE_INT);
        writer.varint64(low, high);
        break;
      default:
        writer.byte(tag.ANY_VALUE_BOOL);
        writer.byte(low);
    }
    return keyStart;
  }

  /**
   * Reads one `Tag`.
   *
   * Its value is the one of the type that the tag names, which is empty or 0 if it is absent, as Thrift has it. If the
   * type does not exist, it is whichever value is there.
   */
  #readTag(): void {
    const input = this.#input;
    const values = this.#values;
    let keyStart = 0;
    let keyLength = 0;
    let type = -1;
    /** A bit for each type that there is a value of. */
    let present = 0;
    for (let seen = 0; (seen = input.next(TAG, seen)) !== thrift.END;) {
      if (input.id === FIELD_KEY) {
        keyLength = input.string();
        keyStart = input.at - keyLength;
      } else if (input.id === FIELD_TYPE) type = input.i32();
      else {
        const value = input.id - FIELD_FIRST_VALUE;
        present |= 1 << value;
        this.#readValue(value);
      }
    }
    if (type < TYPE_STRING || type > TYPE_BINARY) type = present === 0 ? TYPE_STRING : 31 - Math.clz32(present);
    if ((present & (1 << type)) === 0) values[2 * type] = values[2 * type + 1] = 0;
    this.#add(keyStart, keyLength, type, values[2 * type] as number, values[2 * type + 1] as number);
  }

  /** Reads a value into the place of its type. */
  #readValue(type: number): void {
    const input = this.#input;
    const values = this.#values;
    const place = 2 * type;
    if (type === TYPE_STRING || type === TYPE_BINARY) {
      const length = input.string();
      values[place] = input.at - length;
      values[place + 1] = length;
    } else if (type === TYPE_BOOL) {
      // As Thrift's libraries have it, whatever is not 1 is false.
      values[place] = input.byte() === 1 ? 1 : 0;
      values[place + 1] = 0;
    } else {
      input.i64();
      values[place] = input.low;
      values[place + 1] = input.high;
    }
  }

  #add(keyStart: number, keyLength: number, type: number, low: number, high: number): void {
    const at = this.count * STRIDE;
    if (at === this.#tags.length) {
      const grown = new Int32Array(at * 2);
      grown.set(this.#tags);
      this.#tags = grown;
    }
    const tags = this.#tags;
    tags[at + KEY_START] = keyStart;
    tags[at + KEY_LENGTH] = keyLength;
    tags[at + VALUE_TYPE] = type;
    tags[at + VALUE_LOW] = low;
    tags[at + VALUE_HIGH] = high;
    tags[at + MEANING] = meaningOf(this.#input.bytes, keyStart, keyLength);
    this.count++;
  }
}

function meaningOf(bytes: Uint8Array, start: number, length: number): number {
  const candidates = length < KEYS_BY_LENGTH.length ? KEYS_BY_LENGTH[length] : undefined;
  if (candidates === undefined) return NONE;
  for (const { key, meaning } of candidates) {
    let i = 0;
    while (i < length && bytes[start + i] === key[i]) i++;
    if (i === length) return meaning;
  }
  return NONE;
}
