import assert from "node:assert/strict";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { CERTAIN_BYTES, FrameReader, TAKEN, type UnfinishedFrame } from "../../../src/decode/frame-reader.ts";
import { PayloadDecoder } from "../../../src/decode/payload-decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { splitFrames } from "./fixtures.ts";

/** One guest's stream, read and decoded as the forwarder does it. */
export class GuestStream {
  readonly #decoder = new PayloadDecoder();
  readonly #spans = new EncodedSpans();
  readonly reader: FrameReader;
  /** The payloads that were spans. */
  readonly taken: Uint8Array[] = [];
  /** What was wrong with others. */
  readonly refused: (WireError | UnfinishedFrame | bigint)[] = [];
  /** Bytes that decoders have examined of payloads that were refused, and how many those were. */
  examined = 0;
  failures = 0;

  constructor(maxFrameBytes = 8 * 1024 * 1024, turnIsOver: () => boolean = () => false) {
    const decoder = this.#decoder;
    let isCertain = false;
    this.reader = new FrameReader(maxFrameBytes, {
      payload: (buffer, start, end, isFound) => this.#payload(buffer, start, end, isFound),
      get takesTogether() {
        return decoder.readsFrames;
      },
      payloads: (buffer, start, end, frames) => this.#payloads(buffer, start, end, frames),
      resembles: (buffer, start, end, length) => decoder.resembles(buffer, start, end, length),
      begun: (buffer, start, end) => {
        const error = decoder.checkBeginning(buffer, start, end);
        isCertain = error === undefined || error.offset >= CERTAIN_BYTES;
        if (error === undefined || error.reason === "truncated") return TAKEN;
        this.failures++;
        this.examined += error.offset;
        if (isCertain) this.refused.push(error);
        return error.offset;
      },
      get isText() {
        return decoder.isText;
      },
      oversized: (length) => this.refused.push(length),
      givenUp: (frame, isFound) => {
        if (!isFound || isCertain) this.refused.push(frame);
      },
      turnIsOver,
    });
  }

  /** Reads a stream to its end, in pieces of the sizes given. */
  read(stream: Uint8Array, size: () => number = () => stream.length): this {
    for (let at = 0; at < stream.length;) {
      const end = Math.min(at + size(), stream.length);
      // A copy that is spoiled afterwards: a chunk is the reader's only until `push` returns.
      const chunk = stream.slice(at, end);
      this.reader.push(chunk);
      chunk.fill(0xee);
      while (this.reader.isStopped) this.reader.proceed();
      at = end;
    }
    while (!this.reader.finish()) this.reader.proceed();
    return this;
  }

  #payloads(buffer: Uint8Array, start: number, end: number, frames: number): number {
    const taken = this.#decoder.readFrames(buffer, start, end, frames, this.#spans);
    if (taken > 0) assert.equal(this.#spans.count, taken);
    this.taken.push(...splitFrames(buffer.slice(start, end)).slice(0, taken));
    return taken;
  }

  #payload(buffer: Uint8Array, start: number, end: number, isFound: boolean): number {
    try {
      this.#decoder.decode(buffer, start, end, this.#spans);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.failures++;
      this.examined += error.offset;
      if (!isFound || this.#decoder.isText || error.offset >= CERTAIN_BYTES) this.refused.push(error);
      return error.offset;
    }
    this.taken.push(buffer.slice(start, end));
    return TAKEN;
  }
}
