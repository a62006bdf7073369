import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { characterStart, isContinuationByte } from "../base/utf8-cut.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import { ANY_VALUE_STRING, KEY_VALUE_KEY, KEY_VALUE_VALUE, SPAN_ATTRIBUTES } from "../otlp/trace-fields.ts";

/** String values longer than this are stored once for each sandbox, bytes. */
export const LARGE_VALUE_BYTES = 1024;
/** String values are cut at this length, bytes: a copied file is up to 5 MB of one. */
export const KEPT_VALUE_BYTES = 16 * 1024;
/** Bytes of a hash that tell values of one sandbox apart. */
const HASH_BYTES = 16;

/** A value that was taken out of a span. */
export interface LargeValue {
  /** Its place among the span's attributes. */
  readonly index: number;
  readonly key: string;
  /** Of its content, lower-case hexadecimal. */
  readonly hash: string;
  /** How many characters were cut off at the end. */
  readonly cut: number;
}

/** A span's fields, less its large values. */
export interface SplitSpan {
  readonly body: Uint8Array;
  readonly large: readonly LargeValue[];
  /** What `large` refers to. */
  readonly values: ReadonlyMap<string, Uint8Array>;
}

export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, HASH_BYTES * 2);
}

/**
 * Takes the large string values out of a `Span`, and cuts those that are too large to be kept whole.
 *
 * @param span the content of a `spans` field. Throws `ProtobufError` on bytes that are not a message.
 */
export function splitSpan(span: Uint8Array): SplitSpan {
  const reader = new ProtobufReader(span);
  const pieces: Uint8Array[] = [];
  const large: LargeValue[] = [];
  const values = new Map<string, Uint8Array>();
  let index = 0;
  let from = 0;
  while (reader.next()) {
    if (reader.tag !== SPAN_ATTRIBUTES) continue;
    const place = index++;
    if (reader.end - reader.start <= LARGE_VALUE_BYTES) continue;
    const attribute = largeString(reader.message());
    if (attribute === undefined) continue;
    const whole = attribute.value;
    const kept = whole.subarray(0, characterStart(whole, KEPT_VALUE_BYTES));
    const hash = hashOf(kept);
    large.push({ index: place, key: attribute.key, hash, cut: characters(whole) - characters(kept) });
    values.set(hash, kept);
    pieces.push(span.subarray(from, reader.fieldStart));
    from = reader.position;
  }
  if (from === 0) return { body: span, large, values };
  pieces.push(span.subarray(from));
  return { body: Buffer.concat(pieces), large, values };
}

function largeString(attribute: ProtobufReader): { key: string; value: Uint8Array } | undefined {
  let key = "";
  let value: Uint8Array | undefined;
  while (attribute.next()) {
    if (attribute.tag === KEY_VALUE_KEY) key = attribute.text();
    if (attribute.tag !== KEY_VALUE_VALUE) continue;
    value = undefined;
    const any = attribute.message();
    while (any.next()) {
      value = any.tag === ANY_VALUE_STRING ? any.buffer.subarray(any.start, any.end) : undefined;
    }
  }
  return value === undefined || value.length <= LARGE_VALUE_BYTES ? undefined : { key, value };
}

function characters(utf8: Uint8Array): number {
  let count = 0;
  for (const byte of utf8) if (!isContinuationByte(byte)) count++;
  return count;
}

/** How a blob is stored: a byte that says how, and the content. */
const PLAIN = 0;
const DEFLATED = 1;

/** Debug text shrinks to a quarter, at a cost that a commit does not notice. */
export function packBlob(bytes: Uint8Array): Uint8Array {
  const deflated = deflateRawSync(bytes, { level: 1 });
  const isSmaller = deflated.length < bytes.length;
  return Buffer.concat([Uint8Array.of(isSmaller ? DEFLATED : PLAIN), isSmaller ? deflated : bytes]);
}

/** The content of a blob; throws what zlib throws if it is damaged. */
export function unpackBlob(blob: Uint8Array): Uint8Array {
  const content = blob.subarray(1);
  // The limit is the largest that was ever packed, so a damaged blob cannot take much memory.
  return blob[0] === DEFLATED ? inflateRawSync(content, { maxOutputLength: MAX_BLOB_BYTES }) : content;
}

/** Resources and scopes are stored whole; a guest's can be as large as a frame. */
const MAX_BLOB_BYTES = 16 * 1024 * 1024;
