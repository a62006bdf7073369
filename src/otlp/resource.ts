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

/** What the host has to say about the resources of one source. No key is in both maps. */
export interface OverlayRules {
  /** Attributes that every resource gets, in place of whatever the source says under the same keys. */
  readonly forced: HostAttributes;
  /** Attributes that a resource gets where it has none under the same key. */
  readonly completing?: HostAttributes;
  /**
   * Attributes whose keys begin with this are taken from the source, even where the host has nothing to say under the
   * same key: beside the host's word about a source, the rest must not be the source's own.
   */
  readonly reservedPrefix?: string;
}

/**
 * Attributes of a source are sorted up to this many, the limit that OpenTelemetry's SDKs have by default: real
 * resources have a dozen, and sorting takes more than linear time.
 */
const SORTED_ATTRIBUTES = 128;

const UTF8 = new TextEncoder();
const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Used by one call at a time, and each cleared by the next. */
const SCRATCH = {
  /** What becomes the `Resource`. */
  written: new ProtobufWriter(),
  otherOfResource: new ProtobufWriter(),
  otherOfHeader: new ProtobufWriter(),
};

/** Where an attribute of the source lies: its whole `attributes` field, and its key. */
interface SourceAttribute {
  readonly start: number;
  readonly end: number;
  readonly keyStart: number;
  readonly keyEnd: number;
}

/** A key that the host has something to say under. */
interface HostKey {
  readonly key: Uint8Array;
  /**
   * The whole `attributes` field to write where the source has none under this key; absent where the host's is forced.
   */
  readonly completing: Uint8Array | undefined;
  /** Whether the resource at hand has it. */
  isThere: boolean;
}

/**
 * Lays the host's attributes over the resources of one source: see {@link OverlayRules}.
 *
 * The outcome is canonical, so that one resource has one encoding: the source's attributes sorted by their keys' bytes,
 * then the host's in their own order, completing ones first, then the resource's other fields, then those of
 * `ResourceSpans`.
 */
export class ResourceOverlay {
  readonly #hostKeys: readonly HostKey[];
  /** The `attributes` fields that each resource gets. */
  readonly #forcedFields: Uint8Array;
  readonly #reservedPrefix: Uint8Array;
  /** Where {@link #readKey} found a key. */
  #keyStart = 0;
  #keyEnd = 0;

  constructor({ forced, completing = new Map(), reservedPrefix }: OverlayRules) {
    this.#hostKeys = [
      ...[...completing].map(([key, value]) => hostKey(key, encodeAttributes(new Map([[key, value]])))),
      ...[...forced.keys()].map((key) => hostKey(key)),
    ];
    this.#forcedFields = encodeAttributes(forced);
    this.#reservedPrefix = reservedPrefix === undefined ? NO_BYTES : UTF8.encode(reservedPrefix);
  }

  /**
   * @param header the fields of `ResourceSpans` but for `scope_spans`, as the source wrote them; empty for none.
   * @returns the same with the host's attributes, in an array of its own. Fields that are no attributes are kept.
   * Throws `ProtobufError` on bytes that are no such fields.
   */
  apply(header: Uint8Array): Uint8Array<ArrayBuffer> {
    // One by one while they are few enough to be sorted; all of them are in `written`, as they came.
    const attributes: SourceAttribute[] = [];
    const { written, otherOfResource, otherOfHeader } = SCRATCH;
    for (const writer of Object.values(SCRATCH)) writer.clear();
    for (const hostKey of this.#hostKeys) hostKey.isThere = false;
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
        this.#readKey(keyValue);
        if (this.#isOverruled(header)) continue;
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
    for (const { completing, isThere } of this.#hostKeys) {
      if (completing !== undefined && !isThere) written.bytes(completing);
    }
    written.bytes(this.#forcedFields);
    append(written, otherOfResource.buffer, 0, otherOfResource.position);

    const length = written.position;
    const outcome = new Uint8Array(1 + varintSize(length) + length + otherOfHeader.position);
    const start = putField(outcome, 0, RESOURCE_SPANS_RESOURCE, length);
    copyBytes(written.buffer, 0, length, outcome, start);
    copyBytes(otherOfHeader.buffer, 0, otherOfHeader.position, outcome, start + length);
    return outcome;
  }

  /** Reads the key of a `KeyValue`. Given more than once the last counts, as decoders have it. */
  #readKey(keyValue: ProtobufReader): void {
    this.#keyStart = this.#keyEnd = 0;
    while (keyValue.next()) {
      if (keyValue.tag !== KEY_VALUE_KEY) continue;
      this.#keyStart = keyValue.start;
      this.#keyEnd = keyValue.end;
    }
  }

  /**
   * Whether the attribute whose key was read last is not the source's to say; notes where it is one that need not be
   * added.
   */
  #isOverruled(buffer: Uint8Array): boolean {
    const start = this.#keyStart;
    const length = this.#keyEnd - start;
    const prefix = this.#reservedPrefix;
    if (prefix.length > 0 && prefix.length <= length && isAt(prefix, buffer, start)) return true;
    for (const hostKey of this.#hostKeys) {
      if (hostKey.key.length !== length || !isAt(hostKey.key, buffer, start)) continue;
      hostKey.isThere = true;
      return hostKey.completing === undefined;
    }
    return false;
  }
}

function hostKey(key: string, completing?: Uint8Array): HostKey {
  return { key: UTF8.encode(key), completing, isThere: false };
}

function isAt(bytes: Uint8Array, buffer: Uint8Array, start: number): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== buffer[start + i]) return false;
  return true;
}

/** Appends `buffer[start … end)`, without a view of it: there may be a million of them. */
function append(writer: ProtobufWriter, buffer: Uint8Array, start: number, end: number): void {
  writer.reserve(end - start);
  copyBytes(buffer, start, end, writer.buffer, writer.position);
  writer.position += end - start;
}

function compareKeys(buffer: Uint8Array, a: SourceAttribute, b: SourceAttribute): number {
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
