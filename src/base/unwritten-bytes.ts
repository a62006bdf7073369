/** Bytes that are written straight to their final place, so they need no memory of their own on the way. */
export interface UnwrittenBytes {
  readonly byteLength: number;
  /** Writes them to `target[at …]`, where there must be room. */
  writeTo(target: Uint8Array, at: number): void;
}

/** The bytes themselves, in an array of their own if they are not written yet. */
export function writtenOut(bytes: Uint8Array | UnwrittenBytes): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes;
  const written = new Uint8Array(bytes.byteLength);
  bytes.writeTo(written, 0);
  return written;
}
