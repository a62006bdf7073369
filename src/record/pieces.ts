import { ProtobufError, ProtobufReader } from "../otlp/protobuf-reader.ts";

/** A piece of this length or more is handed out, UTF-16 units: it takes about a millisecond to write. */
export const PIECE_CHARACTERS: number = 32 * 1024;
/** A piece is handed out after so many steps too, because a span can hold much that comes to little text. */
export const PIECE_STEPS = 2048;
/** How much of a string or of bytes one step writes, bytes: a multiple of 3, so that base64 needs no padding inside. */
export const STEP_BYTES: number = 12 * 1024;

/** The `Span` in a `spans` field. Throws `ProtobufError`. */
export function contentOf(field: Uint8Array): Uint8Array {
  const reader = new ProtobufReader(field);
  if (!reader.next() || reader.position !== field.length) throw new ProtobufError("not a span's field", 0);
  return reader.bytes();
}

/** Where the character begins that the byte at `end` belongs to; `end` if that is not UTF-8. */
export function characterStart(bytes: Uint8Array, end: number): number {
  const isWithin = (at: number): boolean => at < bytes.length && ((bytes[at] as number) & 0xc0) === 0x80;
  let start = end;
  // A character has four bytes at most.
  while (start > end - 3 && isWithin(start)) start--;
  return isWithin(start) ? end : start;
}
