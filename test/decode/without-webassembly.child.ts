/** Decodes recorded streams in a runtime without WebAssembly, and writes a hash of what came of them. */
import { createHash } from "node:crypto";
import process from "node:process";

if (process.argv[2] === "without") Reflect.deleteProperty(globalThis, "WebAssembly");
const { vectorDecoders } = await import("../../src/decode/vector-decoders.ts");
const { PayloadDecoder } = await import("../../src/decode/payload-decoder.ts");
const { EncodedSpans } = await import("../../src/otlp/encoded-spans.ts");
const { splitFrames } = await import("./support/fixtures.ts");
const { REAL_STREAMS, streamBytes } = await import("./support/recorded-streams.ts");

const hash = createHash("sha256");
const take = (spans: InstanceType<typeof EncodedSpans>) => {
  for (let i = 0; i < spans.count; i++) {
    hash.update(spans.writer.buffer.subarray(spans.spanStart(i), spans.spanEnd(i)));
    hash.update(spans.writer.buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i)));
  }
};
for (const stream of REAL_STREAMS) {
  const decoder = new PayloadDecoder();
  for (const buffer of splitFrames(streamBytes(stream))) {
    const steps = decoder.readLarge({ buffer, start: 0, end: buffer.length }, take);
    while (steps.next().done !== true);
    const spans = new EncodedSpans();
    decoder.decode(buffer, 0, buffer.length, spans);
    take(spans);
  }
}
process.stdout.write(JSON.stringify({ hasVectors: vectorDecoders() !== null, hash: hash.digest("hex") }));
