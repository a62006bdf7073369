import { copyBytes } from "./put-bytes.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
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
  /** Further keys of which the same holds. */
  readonly reservedKeys?: readonly string[];
}

/**
 * Attributes of a source are sorted up to this many: real resources have a dozen. Sorting takes more than linear time,
 * so with many of them a guest could make a resource cost several times as much a byte as a span.
 */
const SORTED_ATTRIBUTES = 12;
/** How many numbers describe one of them: where its field begins and ends, and where its key begins and ends. */
const STRIDE = 4;

const UTF8 = new TextEncoder();
const NO_BYTES: Uint8Array = new Uint8Array(0);

// Used by one call at a time, and each begun anew by the next: a guest may send a resource with each span.

/** The outcome of {@link ResourceOverlay.apply}. */
const applied = new ProtobufWriter();
const otherOfResource = new ProtobufWriter();
const otherOfHeader = new ProtobufWriter();
const fields = new ProtobufReader(NO_BYTES);
const resource = new ProtobufReader(NO_BYTES);
const keyValue = new ProtobufReader(NO_BYTES);
/** Where the source's attributes lie, in the order of their keys. */
const sorted = new Int32Array(STRIDE * SORTED_ATTRIBUTES);

/** A key that the host has something to say under. */
interface HostKey {
  readonly key: Uint8Array;
  /** The whole `attributes` field to write where the source has none under this key; absent where it is forced. */
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
  /** The completing ones first. */
  private readonly hostKeys: readonly HostKey[];
  /** How many of them are completing. */
  private readonly completing: number;
  /** The `attributes` fields that each resource gets. */
  private readonly forcedFields: Uint8Array;
  /** Those that a resource gets which has nothing under the host's keys. */
  private readonly allFields: Uint8Array;
  /** Whether the resource at hand has something under the key of a completing one. */
  private isAnyThere = false;
  private readonly reservedPrefix: Uint8Array;
  /** The host's keys have lengths that are these bits' numbers, or 32 more, and so on. */
  private readonly lengths: number;
  /** What {@link #readField} has found: where the field ends, and an attribute's key. */
  private fieldEnd = 0;
  private keyStart = 0;
  private keyEnd = 0;

  constructor({ forced, completing = new Map(), reservedPrefix, reservedKeys = [] }: OverlayRules) {
    this.hostKeys = [
      ...[...completing].map(([key, value]) => hostKey(key, encodeAttributes(new Map([[key, value]])))),
      ...[...new Set([...forced.keys(), ...reservedKeys])].map((key) => hostKey(key)),
    ];
    this.completing = completing.size;
    this.lengths = this.hostKeys.reduce((bits, { key }) => bits | (1 << (key.length & 31)), 0);
    this.forcedFields = encodeAttributes(forced);
    this.allFields = encodeAttributes(new Map([...completing, ...forced]));
    this.reservedPrefix = reservedPrefix === undefined ? NO_BYTES : UTF8.encode(reservedPrefix);
  }

  /**
   * @param buffer its bytes from `start` to `end` are the fields of `ResourceSpans` but for `scope_spans`, as the
   * source wrote them; empty for none.
   * @param written is cleared, and gets the same with the host's attributes. Fields other than attributes are kept.
   * @returns where they begin there; they end at its `position`. Throws `ProtobufError` if the bytes are not such
   * fields.
   */
  layOver(buffer: Uint8Array, start: number, end: number, written: ProtobufWriter): number {
    written.clear();
    const content = written.openField();
    if (otherOfResource.position > 0) otherOfResource.clear();
    if (otherOfHeader.position > 0) otherOfHeader.clear();
    if (this.isAnyThere) this.forgetThere();
    // They are sorted as they come while they are few enough; all of them are in `written` in the order they came in.
    let attributes = 0;
    fields.load(buffer, start, end);
    while (fields.next()) {
      if (fields.tag !== RESOURCE_SPANS_RESOURCE) {
        append(otherOfHeader, buffer, fields.fieldStart, fields.position);
        continue;
      }
      // A message given more than once counts as one with the fields of all of them.
      // What follows each other and stays is copied at once, because there may be very many attributes of two bytes.
      let keptFrom = fields.start;
      let at = fields.start;
      while (at < fields.end) {
        const fieldStart = at;
        const isAttribute = this.readField(buffer, at, fields.end);
        at = this.fieldEnd;
        if (isAttribute) {
          if (!this.isOverruled(buffer)) {
            if (attributes < SORTED_ATTRIBUTES) this.insert(buffer, attributes, fieldStart);
            attributes++;
            continue;
          }
        } else append(otherOfResource, buffer, fieldStart, at);
        append(written, buffer, keptFrom, fieldStart);
        keptFrom = at;
      }
      append(written, buffer, keptFrom, fields.end);
    }
    if (attributes > 1 && attributes <= SORTED_ATTRIBUTES) {
      written.position = content;
      for (let at = 0; at < attributes * STRIDE; at += STRIDE) {
        append(written, buffer, sorted[at] as number, sorted[at + 1] as number);
      }
    }
    if (this.isAnyThere) this.complete(written);
    else append(written, this.allFields, 0, this.allFields.length);
    append(written, otherOfResource.buffer, 0, otherOfResource.position);
    const headerStart = written.closeField(RESOURCE_SPANS_RESOURCE, content);
    append(written, otherOfHeader.buffer, 0, otherOfHeader.position);
    return headerStart;
  }

  /** As {@link layOver}, in an array of its own. */
  apply(buffer: Uint8Array, start = 0, end: number = buffer.length): Uint8Array {
    const headerStart = this.layOver(buffer, start, end, applied);
    return applied.buffer.slice(headerStart, applied.position);
  }

  private forgetThere(): void {
    this.isAnyThere = false;
    for (let i = 0; i < this.completing; i++) (this.hostKeys[i] as HostKey).isThere = false;
  }

  /** Appends the host's attributes but for those that the resource has itself. */
  private complete(written: ProtobufWriter): void {
    for (let i = 0; i < this.completing; i++) {
      const { completing, isThere } = this.hostKeys[i] as HostKey;
      if (completing !== undefined && !isThere) written.bytes(completing);
    }
    append(written, this.forcedFields, 0, this.forcedFields.length);
  }

  /**
   * Reads the field of `Resource` at `at`: where it ends, and of an attribute the key. Returns whether it is one. A key
   * given more than once counts as its last, as decoders have it.
   */
  private readField(buffer: Uint8Array, at: number, end: number): boolean {
    // Nearly always: an attribute of less than 128 bytes, and in it a key, or none, and then nothing but a value.
    const start = at + 2;
    const attributeEnd = start + (buffer[at + 1] as number);
    if (buffer[at] === RESOURCE_ATTRIBUTES && attributeEnd < start + 0x80 && attributeEnd <= end) {
      let keyStart = start;
      let keyEnd = start;
      if (buffer[start] === KEY_VALUE_KEY && attributeEnd - start >= 2) {
        keyStart = start + 2;
        keyEnd = keyStart + (buffer[start + 1] as number);
      }
      const isValueLast = keyEnd + 2 <= attributeEnd && buffer[keyEnd] === KEY_VALUE_VALUE &&
        keyEnd + 2 + (buffer[keyEnd + 1] as number) === attributeEnd;
      if (isValueLast || keyEnd === attributeEnd) {
        this.fieldEnd = attributeEnd;
        this.keyStart = keyStart;
        this.keyEnd = keyEnd;
        return true;
      }
    }
    resource.load(buffer, at, end);
    resource.next();
    this.fieldEnd = resource.position;
    this.keyStart = this.keyEnd = resource.start;
    if (resource.tag !== RESOURCE_ATTRIBUTES) return false;
    keyValue.load(buffer, resource.start, resource.end);
    while (keyValue.next()) {
      if (keyValue.tag !== KEY_VALUE_KEY) continue;
      this.keyStart = keyValue.start;
      this.keyEnd = keyValue.end;
    }
    return true;
  }

  /** Puts the attribute at hand into its place among the `count` that are sorted; behind those with the same key. */
  private insert(header: Uint8Array, count: number, fieldStart: number): void {
    const start = this.keyStart;
    const end = this.keyEnd;
    let at = count * STRIDE;
    while (at > 0 && compareBytes(header, sorted[at - 2] as number, sorted[at - 1] as number, start, end) > 0) {
      sorted[at] = sorted[at - 4] as number;
      sorted[at + 1] = sorted[at - 3] as number;
      sorted[at + 2] = sorted[at - 2] as number;
      sorted[at + 3] = sorted[at - 1] as number;
      at -= STRIDE;
    }
    sorted[at] = fieldStart;
    sorted[at + 1] = this.fieldEnd;
    sorted[at + 2] = start;
    sorted[at + 3] = end;
  }

  /**
   * Whether the attribute whose key was read last is not the source's to say; notes where it is one that need not be
   * added.
   */
  private isOverruled(buffer: Uint8Array): boolean {
    const start = this.keyStart;
    const length = this.keyEnd - start;
    // Most keys are told apart by how they begin and by their length.
    const isAnyOfThatLength = (this.lengths & (1 << (length & 31))) !== 0;
    if (!isAnyOfThatLength && (length === 0 || buffer[start] !== this.reservedPrefix[0])) return false;
    const prefix = this.reservedPrefix;
    if (prefix.length > 0 && prefix.length <= length && isAt(prefix, buffer, start)) return true;
    for (let i = 0; i < this.hostKeys.length; i++) {
      const hostKey = this.hostKeys[i] as HostKey;
      if (hostKey.key.length !== length || !isAt(hostKey.key, buffer, start)) continue;
      if (hostKey.completing === undefined) return true;
      hostKey.isThere = this.isAnyThere = true;
      return false;
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
  if (start === end) return;
  writer.reserve(end - start);
  copyBytes(buffer, start, end, writer.buffer, writer.position);
  writer.position += end - start;
}

/** Compares two ranges of a buffer as unsigned bytes; of two that begin alike, the shorter one comes first. */
function compareBytes(buffer: Uint8Array, at: number, end: number, otherAt: number, otherEnd: number): number {
  const lengths = (end - at) - (otherEnd - otherAt);
  while (at < end && otherAt < otherEnd) {
    const difference = (buffer[at++] as number) - (buffer[otherAt++] as number);
    if (difference !== 0) return difference;
  }
  return lengths;
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
