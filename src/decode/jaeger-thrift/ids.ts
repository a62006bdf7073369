import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";

/** The halves of an integer of 64 bits, which is what an ID is in jaeger.thrift: two for a trace, one for a span. */
export class Int64 {
  low = 0;
  high = 0;

  set(low: number, high: number): void {
    this.low = low;
    this.high = high;
  }

  get isZero(): boolean {
    return this.low === 0 && this.high === 0;
  }

  equals(other: Int64): boolean {
    return this.low === other.low && this.high === other.high;
  }

  /** Appends the eight bytes of an ID, the most significant first. */
  writeBytes(writer: ProtobufWriter): void {
    writer.reserve(8);
    writer.view.setInt32(writer.position, this.high);
    writer.view.setInt32(writer.position + 4, this.low);
    writer.position += 8;
  }
}

/** What addresses a span: the ID of its trace, in two, and its own. */
export class SpanAddress {
  readonly traceHigh: Int64 = new Int64();
  readonly traceLow: Int64 = new Int64();
  readonly span: Int64 = new Int64();

  /** Whether both IDs are IDs: zeros are none. */
  get isValid(): boolean {
    return !this.span.isZero && !(this.traceHigh.isZero && this.traceLow.isZero);
  }

  isInTraceOf(other: SpanAddress): boolean {
    return this.traceHigh.equals(other.traceHigh) && this.traceLow.equals(other.traceLow);
  }

  /** Appends both IDs as fields with these tags, of one byte each. */
  write(writer: ProtobufWriter, traceTag: number, spanTag: number): void {
    writer.byte(traceTag);
    writer.byte(16);
    this.traceHigh.writeBytes(writer);
    this.traceLow.writeBytes(writer);
    writeSpanId(writer, spanTag, this.span);
  }
}

/** Appends a span's ID as a field. */
export function writeSpanId(writer: ProtobufWriter, tag: number, id: Int64): void {
  writer.byte(tag);
  writer.byte(8);
  id.writeBytes(writer);
}
