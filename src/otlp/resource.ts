import { copyBytes, putField } from "./put-bytes.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { ProtobufWriter, varintSize } from "./protobuf-writer.ts";
import {
  ANY_VALUE_INT,
  ANY_VALUE_STRING,
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  RESOURCE_ATTRIBUTES,
  RESOURCE_SPANS_RESOURCE,
} from "./trace-fields.ts";

/** Attributes by key: a string becomes a `stringValue`, a number (a safe integer) an `intValue`. */
export type HostAttributes = ReadonlyMap<string, string | number>;

/** The resource attribute that names a service (OpenTelemetry semantic conventions). */
const SERVICE_NAME = "service.name";

/**
 * The keys that say who a guest is. They are taken from a guest's resource even where the host sets only one of
 * them: beside the host's word for a guest, the other must not be the guest's own.
 */
const IDENTITY_KEYS = ["kata.vsock.cid", "kata.sandbox.id"] as const;

/**
 * Guests' attributes are sorted up to this many, the limit that OpenTelemetry's SDKs have by default: real resources
 * have a dozen, and sorting takes more than linear time.
 */
const SORTED_ATTRIBUTES = 128;

const UTF8 = new TextEncoder();

/**
 * All that the host says of a guest's resource, in the order it is written: `service.name`, the attributes from
 * `OTEL_RESOURCE_ATTRIBUTES`, the guest's identity. Where two have one key the later wins, except that the trace name
 * is always `service.name`.
 */
export function hostAttributes(
  traceName: string,
  resourceAttributes: ReadonlyMap<string, string>,
  identity: HostAttributes,
): Map<string, string | number> {
  const all = new Map<string, string | number>([[SERVICE_NAME, traceName]]);
  for (const [key, value] of resourceAttributes) if (key !== SERVICE_NAME) all.set(key, value);
  for (const [key, value] of identity) {
    all.delete(key);
    all.set(key, value);
  }
  return all;
}

/** Used by one call at a time, and each cleared by the next. */
const SCRATCH = {
  /** What becomes the `Resource`. */
  written: new ProtobufWriter(),
  otherOfResource: new ProtobufWriter(),
  otherOfHeader: new ProtobufWriter(),
};

/** Where a guest's attribute lies: its whole `attributes` field, and its key. */
interface GuestAttribute {
  readonly start: number;
  readonly end: number;
  readonly keyStart: number;
  readonly keyEnd: number;
}

/**
 * Lays the host's attributes over guests' resources: the host's word replaces the guest's for the same key.
 *
 * The outcome is canonical, so that one resource has one encoding: the guest's attributes sorted by their keys' bytes,
 * then the host's in their own order, then the resource's other fields, then those of `ResourceSpans`.
 */
export class ResourceOverlay {
  readonly #hostKeys: readonly Uint8Array[];
  readonly #hostFields: Uint8Array;
  /** Where {@link #readKey} found a key. */
  #keyStart = 0;
  #keyEnd = 0;

  /** @param host what the host says, as {@link hostAttributes} makes it. */
  constructor(host: HostAttributes) {
    this.#hostKeys = [...new Set([...host.keys(), ...IDENTITY_KEYS])].map((key) => UTF8.encode(key));
    this.#hostFields = encodeAttributes(host);
  }

  /**
   * @param header the fields of `ResourceSpans` but for `scope_spans`, as the guest wrote them; empty for none.
   * @returns the same with the host's attributes, in an array of its own. Fields that are no attributes are kept.
   * Throws `ProtobufError` on bytes that are no such fields.
   */
  apply(header: Uint8Array): Uint8Array<ArrayBuffer> {
    // One by one while they are few enough to be sorted; all of them are in `written`, as they came.
    const attributes: GuestAttribute[] = [];
    const { written, otherOfResource, otherOfHeader } = SCRATCH;
    for (const writer of Object.values(SCRATCH)) writer.clear();
    const fields = new ProtobufReader(header);
    const resource = new ProtobufReader(header);
    const keyValue = new ProtobufReader(header);
    while (fields.next()) {
      if (fields.tag !== RESOURCE_SPANS_RESOURCE) {
        append(otherOfHeader, header, fields.fieldStart, fields.position);
        continue;
      }
      // A message given more than once counts as one with the fields of all of them.
      resource.reset(fields.start, fields.end);
      while (resource.next()) {
        const { fieldStart: start, position: end } = resource;
        if (resource.tag !== RESOURCE_ATTRIBUTES) {
          append(otherOfResource, header, start, end);
          continue;
        }
        keyValue.reset(resource.start, resource.end);
        if (this.#readKey(keyValue)) continue;
        append(written, header, start, end);
        if (attributes.length > SORTED_ATTRIBUTES) continue;
        attributes.push({ start, end, keyStart: this.#keyStart, keyEnd: this.#keyEnd });
      }
    }
    if (attributes.length <= SORTED_ATTRIBUTES) {
      written.clear();
      attributes.sort((a, b) => compareKeys(header, a, b));
      for (const { start, end } of attributes) append(written, header, start, end);
    }
    written.bytes(this.#hostFields);
    append(written, otherOfResource.buffer, 0, otherOfResource.position);

    const length = written.position;
    const outcome = new Uint8Array(1 + varintSize(length) + length + otherOfHeader.position);
    const start = putField(outcome, 0, RESOURCE_SPANS_RESOURCE, length);
    copyBytes(written.buffer, 0, length, outcome, start);
    copyBytes(otherOfHeader.buffer, 0, otherOfHeader.position, outcome, start + length);
    return outcome;
  }

  /** Reads the key of a `KeyValue`; true if it is one of the host's. Given more than once the last counts, as decoders have it. */
  #readKey(keyValue: ProtobufReader): boolean {
    this.#keyStart = this.#keyEnd = 0;
    while (keyValue.next()) {
      if (keyValue.tag !== KEY_VALUE_KEY) continue;
      this.#keyStart = keyValue.start;
      this.#keyEnd = keyValue.end;
    }
    return this.#isHostKey(keyValue.buffer);
  }

  #isHostKey(buffer: Uint8Array): boolean {
    const start = this.#keyStart;
    const length = this.#keyEnd - start;
    for (const key of this.#hostKeys) {
      if (key.length !== length) continue;
      let i = 0;
      while (i < length && key[i] === buffer[start + i]) i++;
      if (i === length) return true;
    }
    return false;
  }
}

/** Appends `buffer[start … end)`, without a view of it: there may be a million of them. */
function append(writer: ProtobufWriter, buffer: Uint8Array, start: number, end: number): void {
  writer.reserve(end - start);
  copyBytes(buffer, start, end, writer.buffer, writer.position);
  writer.position += end - start;
}

function compareKeys(buffer: Uint8Array, a: GuestAttribute, b: GuestAttribute): number {
  const lengthA = a.keyEnd - a.keyStart;
  const lengthB = b.keyEnd - b.keyStart;
  const common = Math.min(lengthA, lengthB);
  for (let i = 0; i < common; i++) {
    const difference = (buffer[a.keyStart + i] as number) - (buffer[b.keyStart + i] as number);
    if (difference !== 0) return difference;
  }
  return lengthA - lengthB;
}

/** Encodes attributes as `Resource.attributes` fields. */
function encodeAttributes(attributes: HostAttributes): Uint8Array {
  const writer = new ProtobufWriter();
  for (const [key, value] of attributes) {
    const field = writer.openMessage(RESOURCE_ATTRIBUTES);
    writeString(writer, KEY_VALUE_KEY, key);
    const any = writer.openMessage(KEY_VALUE_VALUE);
    if (typeof value === "string") writeString(writer, ANY_VALUE_STRING, value);
    else {
      writer.byte(ANY_VALUE_INT);
      const bits = BigInt.asUintN(64, BigInt(value));
      writer.varint64(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
    }
    writer.closeMessage(any);
    writer.closeMessage(field);
  }
  return writer.buffer.slice(0, writer.position);
}

function writeString(writer: ProtobufWriter, tag: number, text: string): void {
  const content = writer.openMessage(tag);
  writer.bytes(UTF8.encode(text));
  writer.closeMessage(content);
}
