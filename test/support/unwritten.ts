import type { UnwrittenBytes } from "../../src/base/unwritten-bytes.ts";

/** Bytes that are there already, for what writes them itself. */
export function unwritten(bytes: Uint8Array): UnwrittenBytes {
  return { byteLength: bytes.length, writeTo: (target, at) => target.set(bytes, at) };
}
