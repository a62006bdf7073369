/**
 * Writes protobuf wire format into one growing, reusable buffer.
 *
 * Specification: https://protobuf.dev/programming-guides/encoding/
 */
export class ProtobufWriter {
  /** The bytes written so far are `buffer[0 … position)`. Replaced when it grows: do not keep it. */
  buffer: Uint8Array;
  position = 0;

  constructor(initialBytes = 4096) {
    this.buffer = new Uint8Array(initialBytes);
  }

  /** Forgets what was written, keeps the buffer. */
  clear(): void {
    this.position = 0;
  }

  /** Makes room for `bytes` more bytes, so that the writes that follow need no check of their own. */
  reserve(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, this.buffer.length * 2));
    grown.set(this.buffer.subarray(0, this.position));
    this.buffer = grown;
  }

  /** Appends raw bytes. */
  bytes(source: Uint8Array): void {
    this.reserve(source.length);
    this.buffer.set(source, this.position);
    this.position += source.length;
  }

  /** Appends an unsigned varint of up to 2^53 - 1. */
  varint(value: number): void {
    this.reserve(8);
    while (value > 0x7f) {
      this.buffer[this.position++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.buffer[this.position++] = value;
  }

  /** Appends a field of wire type 2 (length-delimited): tag, length, bytes. */
  lengthDelimited(field: number, source: Uint8Array): void {
    this.varint((field << 3) | 2);
    this.varint(source.length);
    this.bytes(source);
  }
}
