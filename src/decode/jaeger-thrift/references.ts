import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import * as otlp from "../../otlp/trace-fields.ts";
import { type Int64, SpanAddress } from "./ids.ts";
import * as thrift from "./thrift-input.ts";

const REF_TYPE = 1;
const TRACE_ID_LOW = 2;
const TRACE_ID_HIGH = 3;
const SPAN_ID = 4;
const SPAN_REF = new thrift.Struct("SpanRef", {
  [REF_TYPE]: thrift.I32,
  [TRACE_ID_LOW]: thrift.I64,
  [TRACE_ID_HIGH]: thrift.I64,
  [SPAN_ID]: thrift.I64,
});

/** `SpanRefType.CHILD_OF`. */
const CHILD_OF = 0;

/**
 * A span's references, which are links in OTLP. Read from the body each time they are needed, because most spans have
 * none.
 *
 * OpenTracing's clients also name a span's parent so, as `CHILD_OF`. The Go exporter up to 0.15 says `CHILD_OF` of
 * links.
 */
export class References {
  readonly #input: thrift.ThriftInput;
  readonly #address = new SpanAddress();
  #type = 0;

  constructor(input: thrift.ThriftInput) {
    this.#input = input;
  }

  /**
   * Reads the references that begin at `at`, and sets `parent` to the first that names a parent in the span's trace.
   */
  findParent(at: number, span: SpanAddress, parent: Int64): void {
    const input = this.#input;
    const address = this.#address;
    input.at = at;
    for (let left = input.structs("references"); left > 0; left--) {
      this.#read();
      if (this.#type !== CHILD_OF || !parent.isZero || !address.isInTraceOf(span)) continue;
      parent.set(address.span.low, address.span.high);
    }
  }

  /**
   * Reads the references that begin at `at`, and appends them as links, without those that name the parent. Returns how
   * many were left out because an ID is zero.
   *
   * @param parent undefined where no reference can be the parent's.
   */
  write(writer: ProtobufWriter, at: number, span: SpanAddress, parent: Int64 | undefined): number {
    const input = this.#input;
    const address = this.#address;
    let dropped = 0;
    input.at = at;
    for (let left = input.structs("references"); left > 0; left--) {
      this.#read();
      if (
        parent !== undefined && this.#type === CHILD_OF && address.span.equals(parent) && address.isInTraceOf(span)
      ) continue;
      if (!address.isValid) {
        dropped++;
        continue;
      }
      const link = writer.openMessage(otlp.SPAN_LINKS);
      address.write(writer, otlp.LINK_TRACE_ID, otlp.LINK_SPAN_ID);
      writer.closeMessage(link);
    }
    return dropped;
  }

  #read(): void {
    const input = this.#input;
    const address = this.#address;
    for (let seen = 0; (seen = input.next(SPAN_REF, seen)) !== thrift.END;) {
      if (input.id === REF_TYPE) {
        this.#type = input.i32();
        continue;
      }
      input.i64();
      const id = input.id === TRACE_ID_LOW
        ? address.traceLow
        : input.id === TRACE_ID_HIGH
        ? address.traceHigh
        : address.span;
      id.set(input.low, input.high);
    }
  }
}
