import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import {
  SPAN_END_TIME,
  SPAN_PARENT_SPAN_ID,
  SPAN_SPAN_ID,
  SPAN_START_TIME,
  SPAN_TRACE_ID,
} from "../../otlp/trace-fields.ts";
import { idOf } from "./span-id.ts";

/**
 * What joining has to know of a span, reused for one span after the other. IDs are what `idOf` makes. Times are
 * halves of 64-bit Unix nanoseconds.
 */
export class SpanHead {
  traceId = "";
  spanId = "";
  /** Empty if there is none, or if it consists of zeros, by which some writers mean the same. */
  parentSpanId = "";
  startHigh = 0;
  startLow = 0;
  endHigh = 0;
  endLow = 0;
  readonly #reader = new ProtobufReader(new Uint8Array(0));

  /** Reads a `Span` message, `buffer[start … end)`. */
  read(buffer: Uint8Array, start: number, end: number): void {
    this.traceId = this.spanId = this.parentSpanId = "";
    this.startHigh =
      this.startLow =
      this.endHigh =
      this.endLow =
        0;
    const reader = this.#reader;
    reader.load(buffer, start, end);
    while (reader.next()) {
      switch (reader.tag) {
        case SPAN_TRACE_ID:
          this.traceId = idOf(buffer, reader.start, reader.end);
          break;
        case SPAN_SPAN_ID:
          this.spanId = idOf(buffer, reader.start, reader.end);
          break;
        case SPAN_PARENT_SPAN_ID:
          this.parentSpanId = isZero(reader) ? "" : idOf(buffer, reader.start, reader.end);
          break;
        case SPAN_START_TIME:
          this.startHigh = reader.high;
          this.startLow = reader.low;
          break;
        case SPAN_END_TIME:
          this.endHigh = reader.high;
          this.endLow = reader.low;
          break;
      }
    }
  }
}

function isZero({ buffer, start, end }: ProtobufReader): boolean {
  for (let at = start; at < end; at++) if (buffer[at] !== 0) return false;
  return true;
}
