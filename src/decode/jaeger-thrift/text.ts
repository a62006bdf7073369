import { copyBytes } from "../../otlp/put-bytes.ts";
import { type ProtobufWriter, varintSize } from "../../otlp/protobuf-writer.ts";
import { invalidUtf8At } from "../utf8.ts";

const LENIENT = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });
const UTF8 = new TextEncoder();
const NO_BYTES = new Uint8Array(0);

/**
 * A text on its way from a body into a message: a range of bytes that are UTF-8, because OTLP's strings have to be.
 *
 * Thrift's strings are bytes, and Go's too, so the Go exporter sends whatever a path or an error holds. What is not
 * UTF-8 becomes U+FFFD, as every lenient decoder has it.
 */
export class Text {
  bytes: Uint8Array = NO_BYTES;
  start = 0;
  length = 0;

  /** Takes the text that is `bytes[start … start + length)`. */
  take(bytes: Uint8Array, start: number, length: number): void {
    if (invalidUtf8At(bytes, start, start + length) < 0) {
      this.bytes = bytes;
      this.start = start;
      this.length = length;
      return;
    }
    this.bytes = UTF8.encode(LENIENT.decode(bytes.subarray(start, start + length)));
    this.start = 0;
    this.length = this.bytes.length;
  }

  /** How many bytes a field with this text takes. */
  get fieldSize(): number {
    return 1 + varintSize(this.length) + this.length;
  }

  /** Appends a field with this text; `tag` is of one byte. */
  write(writer: ProtobufWriter, tag: number): void {
    writer.byte(tag);
    writer.varint(this.length);
    this.append(writer);
  }

  /** Appends a field with this text unless it is empty, which is the same as no field. */
  writeUnlessEmpty(writer: ProtobufWriter, tag: number): void {
    if (this.length > 0) this.write(writer, tag);
  }

  /** Appends the bytes alone. */
  append(writer: ProtobufWriter): void {
    writer.reserve(this.length);
    copyBytes(this.bytes, this.start, this.start + this.length, writer.buffer, writer.position);
    writer.position += this.length;
  }

  /** Lets go of the body. */
  release(): void {
    this.bytes = NO_BYTES;
    this.start = this.length = 0;
  }
}
