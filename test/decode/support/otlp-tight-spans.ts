import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { ProtobufWriter } from "../../../src/otlp/protobuf-writer.ts";

/** Where a decoder finds no room but what it makes itself: a byte too few shows at once. */
export function tightSpans(): EncodedSpans {
  const spans = new EncodedSpans();
  Object.defineProperty(spans, "writer", { value: new ProtobufWriter(0) });
  return spans;
}
