import type { UnwrittenBytes } from "../../src/base/unwritten-bytes.ts";

/** Bytes that are there already, for what writes them itself. */
export function unwritten(bytes: Uint8Array): UnwrittenBytes {
  return { byteLength: bytes.length, writeTo: (target, at) => target.set(bytes, at) };
}

/** The opposite: bytes in an array of their own. */
export function writtenOut({ byteLength, writeTo }: UnwrittenBytes): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  writeTo(bytes, 0);
  return bytes;
}
