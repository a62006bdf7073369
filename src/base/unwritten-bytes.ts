/** Bytes that are written to where they are wanted, so that they need no memory of their own on the way. */
export interface UnwrittenBytes {
  readonly byteLength: number;
  /** Writes them to `target[at …]`, where there must be room. */
  writeTo(target: Uint8Array, at: number): void;
}
