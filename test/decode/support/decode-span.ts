import type { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { type Field, readFields } from "./protobuf-reader.ts";
import { doubleRecord, sortedByKey } from "./span-record.ts";
import type { AttributeRecord, EventRecord, LinkRecord, OtlpRecord, ValueRecord } from "./span-record.ts";

/**
 * How strictly to read:
 * - `canonical`: as this project writes it: ascending field numbers, no default values, flags as documented;
 * - `lenient`: any order, and default values written out, as other serializers do. Of a span's flags only the low 8
 *   bits are read.
 */
export type Strictness = "canonical" | "lenient";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Decodes and checks everything that a payload became, in order. Throws where it is no valid OTLP. */
export function decodeEncodedSpans(spans: EncodedSpans, strictness: Strictness = "canonical"): OtlpRecord[] {
  const { buffer } = spans.writer;
  return Array.from({ length: spans.count }, (_, i) => {
    const [span, ...others] = readFields(buffer.subarray(spans.spanStart(i), spans.spanEnd(i)));
    if (span?.number !== 2 || span.wireType !== 2 || others.length > 0) {
      throw new Error("the range of a span is no `spans` field");
    }
    return {
      ...decodeSpan(span.bytes, strictness),
      resource: decodeResource(buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i))),
    };
  });
}

/**
 * Decodes the bytes of a `Span` message; its resource, which is elsewhere, comes out empty.
 *
 * @param linkFlags whether links have flags: encodings that carry none leave them out.
 */
export function decodeSpan(
  message: Uint8Array,
  strictness: Strictness = "canonical",
  linkFlags: "present" | "absent" = "present",
): OtlpRecord {
  const read = new MessageReader(message, strictness, "Span", 16);
  const flags = read.number(16, 5);
  if (strictness === "canonical" && flags > 0xff) throw new Error(`a span's flags are ${flags}`);
  return {
    attributes: sortedByKey(
      distinct(read.messages(9).map((attribute) => decodeAttribute(attribute, strictness))),
    ),
    droppedAttributesCount: read.number(10, 0),
    droppedEventsCount: read.number(12, 0),
    droppedLinksCount: read.number(14, 0),
    endTimeUnixNano: read.fixed64(8),
    events: read.messages(11).map((event) => decodeEvent(event, strictness)),
    kind: read.number(6, 0),
    links: read.messages(13).map((link) => decodeLink(link, strictness, linkFlags)),
    name: read.text(5),
    parentSpanId: read.id(4, 8) ?? "",
    resource: [],
    spanId: read.requiredId(2, 8),
    startTimeUnixNano: read.fixed64(7),
    status: decodeStatus(read.messages(15), strictness),
    traceFlags: flags & 0xff,
    traceId: read.requiredId(1, 16),
    traceState: read.text(3),
  };
}

/** Decodes the fields of a `ResourceSpans` without its scopes: a resource or nothing. */
export function decodeResource(
  fields: Uint8Array,
  strictness: Strictness = "canonical",
): AttributeRecord[] {
  const [resource, ...more] = new MessageReader(fields, strictness, "ResourceSpans", 1).messages(1);
  if (more.length > 0) throw new Error("a resource twice");
  if (resource === undefined) return [];
  const read = new MessageReader(resource, strictness, "Resource", 2);
  if (read.number(2, 0) !== 0) throw new Error("a resource with dropped attributes");
  const attributes = read.messages(1);
  if (attributes.length === 0 && strictness === "canonical") throw new Error("an empty resource");
  return sortedByKey(
    distinct(attributes.map((attribute) => decodeAttribute(attribute, strictness))),
  );
}

/** Decodes the fields of a `ScopeSpans` without its spans: a scope or nothing. */
export function decodeScope(fields: Uint8Array): { name: string; version: string } {
  const [scope, ...more] = new MessageReader(fields, "canonical", "ScopeSpans", 1).messages(1);
  if (more.length > 0) throw new Error("a scope twice");
  if (scope === undefined) return { name: "", version: "" };
  if (scope.length === 0) throw new Error("an empty scope");
  const read = new MessageReader(scope, "canonical", "InstrumentationScope", 2);
  return { name: read.text(1), version: read.text(2) };
}

function decodeEvent(message: Uint8Array, strictness: Strictness): EventRecord {
  const read = new MessageReader(message, strictness, "Event", 4);
  return {
    attributes: read.messages(3).map((attribute) => decodeAttribute(attribute, strictness)),
    droppedAttributesCount: read.number(4, 0),
    name: read.text(2),
    timeUnixNano: read.fixed64(1),
  };
}

function decodeLink(message: Uint8Array, strictness: Strictness, linkFlags: "present" | "absent"): LinkRecord {
  const read = new MessageReader(message, strictness, "Link", 6);
  const flags = read.number(6, 5);
  const isPlausible = linkFlags === "absent" ? flags === 0 : (flags & 0x100) !== 0 && flags <= 0x3ff;
  if (!isPlausible) throw new Error(`a link's flags are ${flags}`);
  return {
    attributes: read.messages(4).map((attribute) => decodeAttribute(attribute, strictness)),
    droppedAttributesCount: read.number(5, 0),
    isRemote: (flags & 0x200) !== 0,
    spanId: read.requiredId(2, 8),
    traceFlags: flags & 0xff,
    traceId: read.requiredId(1, 16),
    traceState: read.text(3),
  };
}

function decodeStatus(
  messages: readonly Uint8Array[],
  strictness: Strictness,
): { code: number; message: string } {
  const [status, ...more] = messages;
  if (more.length > 0) throw new Error("a status twice");
  if (status === undefined) return { code: 0, message: "" };
  if (status.length === 0 && strictness === "canonical") throw new Error("an empty status");
  const read = new MessageReader(status, strictness, "Status", 3);
  return { code: read.number(3, 0), message: read.text(2) };
}

function decodeAttribute(message: Uint8Array, strictness: Strictness): AttributeRecord {
  const read = new MessageReader(message, strictness, "KeyValue", 2);
  const [value, ...more] = read.messages(2);
  if (value === undefined || more.length > 0) throw new Error("an attribute has not one value");
  return { key: read.text(1), value: decodeValue(value) };
}

function decodeValue(message: Uint8Array): ValueRecord {
  const [field, ...more] = readFields(message);
  if (field === undefined || more.length > 0) throw new Error("a value has not one member");
  const { number, wireType, value, bytes } = field;
  switch (`${number} ${wireType}`) {
    case "1 2":
      return { stringValue: utf8.decode(bytes) };
    case "2 0":
      if (value > 1n) throw new Error(`a bool is ${value}`);
      return { boolValue: value === 1n };
    case "3 0":
      return { intValue: String(BigInt.asIntN(64, value)) };
    case "4 1":
      return doubleRecord(new Float64Array(BigUint64Array.of(value).buffer)[0] as number);
    case "7 2":
      // Agents have no such values, so their records' type does not know it.
      return { bytesValue: Buffer.from(bytes).toString("base64") } as unknown as ValueRecord;
    case "5 2":
      return {
        arrayValue: {
          values: new MessageReader(bytes, "canonical", "ArrayValue", 1).messages(1).map(
            decodeValue,
          ),
        },
      };
    default:
      throw new Error(`AnyValue has a field ${number} of wire type ${wireType}`);
  }
}

function distinct(attributes: AttributeRecord[]): AttributeRecord[] {
  if (new Set(attributes.map(({ key }) => key)).size !== attributes.length) {
    throw new Error("a key twice");
  }
  return attributes;
}

/** The fields of one message by their numbers. */
class MessageReader {
  readonly #fields: readonly Field[];
  readonly #strictness: Strictness;
  readonly #name: string;

  constructor(message: Uint8Array, strictness: Strictness, name: string, highest: number) {
    this.#fields = readFields(message);
    this.#strictness = strictness;
    this.#name = name;
    let last = 0;
    for (const { number } of this.#fields) {
      if (number > highest) throw new Error(`${name} has a field ${number}`);
      if (strictness === "canonical" && number < last) throw new Error(`${name} is out of order`);
      last = number;
    }
  }

  /** An integer of wire type 0 or 5; 0 where it is absent. */
  number(number: number, wireType: 0 | 5): number {
    const field = this.#one(number, wireType);
    if (field === undefined) return 0;
    if (field.value > 0xffff_ffffn) throw new Error(`${this.#name}.${number} is over 32 bits`);
    this.#notDefault(number, field.value === 0n);
    return Number(field.value);
  }

  fixed64(number: number): string {
    const field = this.#one(number, 1);
    if (field !== undefined) this.#notDefault(number, field.value === 0n);
    return String(field?.value ?? 0n);
  }

  text(number: number): string {
    const field = this.#one(number, 2);
    if (field !== undefined) this.#notDefault(number, field.bytes.length === 0);
    return field === undefined ? "" : utf8.decode(field.bytes);
  }

  id(number: number, length: number): string | undefined {
    const field = this.#one(number, 2);
    if (field === undefined || (field.bytes.length === 0 && this.#strictness === "lenient")) {
      return undefined;
    }
    if (field.bytes.length !== length) {
      throw new Error(`${this.#name}.${number} is no id of ${length} bytes`);
    }
    return Buffer.from(field.bytes).toString("hex");
  }

  requiredId(number: number, length: number): string {
    const id = this.id(number, length);
    if (id === undefined) throw new Error(`${this.#name}.${number} is absent`);
    return id;
  }

  messages(number: number): Uint8Array[] {
    return this.#fields.filter((field) => field.number === number).map((field) => {
      if (field.wireType !== 2) throw new Error(`${this.#name}.${number} is no message`);
      return field.bytes;
    });
  }

  #one(number: number, wireType: number): Field | undefined {
    const [field, ...more] = this.#fields.filter((candidate) => candidate.number === number);
    if (more.length > 0) throw new Error(`${this.#name}.${number} comes twice`);
    if (field !== undefined && field.wireType !== wireType) {
      throw new Error(`${this.#name}.${number} has wire type ${field.wireType}`);
    }
    return field;
  }

  #notDefault(number: number, isDefault: boolean): void {
    if (isDefault && this.#strictness === "canonical") {
      throw new Error(`${this.#name}.${number} has its default value`);
    }
  }
}
