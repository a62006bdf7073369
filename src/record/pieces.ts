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
