import { FRAME_HEADER_BYTES } from "../../src/decode/frame-reader.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import type { Frame } from "./frames.ts";

/** A request with the spans of `count` frames. */
export function requestOf(frames: readonly Frame[], count: number): Uint8Array<ArrayBuffer> {
  const builder = new RequestBuilder();
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  for (let i = 0; i < count; i++) {
    const { bytes } = frames[i % frames.length] as Frame;
    decoder.decode(bytes, FRAME_HEADER_BYTES, bytes.length, spans);
    const resource = spans.writer.buffer.slice(spans.resourceStart(0), spans.resourceEnd(0));
    builder.append(builder.resource(resource), spans, 0);
  }
  return builder.finish();
}
