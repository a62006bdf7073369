import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { countSpans, halve } from "../../src/otlp/request.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { ResourceOverlay } from "../../src/otlp/resource.ts";
import { FRAME_HEADER_BYTES, FrameReader, TAKEN } from "../../src/decode/frame-reader.ts";
import { type Encoding, PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { WireError } from "../../src/decode/wire-error.ts";
import { dumpJsonPieces } from "../../src/record/dump-json-pieces.ts";
import { decodeEncodedSpans } from "../decode/support/decode-span.ts";
import { frame } from "../decode/support/fixtures.ts";
import type { Random } from "../decode/support/random.ts";

const MAX_FRAME_BYTES = 64 * 1024;

/** Tells what may be a payload in any encoding: it has seen none. */
const RESEMBLING = new PayloadDecoder();

/** What one case came to. */
export type Outcome = Encoding | "refused" | "oversized";

/**
 * Runs one hostile payload through everything that a guest's bytes pass: between two good frames, in random chunks,
 * through the frame reader, the decoders, the resource overlay, a request and its parts, and the records that people
 * see. Throws where anything but a typed error or valid OTLP comes of it, or where a good frame does not arrive.
 */
export class Checker {
  readonly #good: Uint8Array;
  readonly #spans = new EncodedSpans();
  readonly #overlay = new ResourceOverlay({
    forced: new Map<string, string | number>([["service.name", "fuzz"], ["k", "v"], ["kata.vsock.cid", 3]]),
    reservedPrefix: "kata.",
  });
  readonly #builder = new RequestBuilder();

  /** @param good a payload that is a span. */
  constructor(good: Uint8Array) {
    this.#good = good;
  }

  check(payload: Uint8Array, random: Random): Outcome {
    const outcomes: Outcome[] = [];
    const reader = new FrameReader(MAX_FRAME_BYTES, {
      // The middle frame is the case; of the good ones it is enough that they are spans.
      payload: (buffer, start, end) => {
        const outcome = outcomes.length === 1 ? this.#take(buffer, start, end) : this.#decode(buffer, start, end);
        outcomes.push(outcome);
        return outcome === "refused" ? end - start : TAKEN;
      },
      resembles: (buffer, start, end, length) => RESEMBLING.resembles(buffer, start, end, length),
      begun: () => TAKEN,
      isText: false,
      oversized: () => outcomes.push("oversized"),
      givenUp: () => outcomes.push("refused"),
      turnIsOver: () => random.oneIn(2),
    });
    const stream = new Uint8Array(
      Buffer.concat([frame(this.#good), frame(payload), frame(this.#good)]),
    );
    const largest = random.pick([16, 100, stream.length, 2 * stream.length]);
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + random.below(largest);
      reader.push(stream.subarray(at, end));
      while (reader.isStopped) reader.proceed();
      at = end;
    }
    while (!reader.finish()) reader.proceed();
    const [first, middle, ...others] = outcomes;
    const last = others.pop();
    // After a payload that is refused, something in it may be taken for another one's beginning.
    const isAlone = others.every((outcome) => outcome === "refused" && middle !== "bincode");
    if (first !== "bincode" || last !== "bincode" || !isAlone) {
      throw new Error(`the frames around it came out as ${outcomes.join(", ")}`);
    }
    return middle as Outcome;
  }

  /** Any bytes at all as a stream: frames with any length. */
  checkStream(stream: Uint8Array, random: Random): void {
    let taken = 0;
    const reader = new FrameReader(MAX_FRAME_BYTES, {
      payload: (_buffer, start, end) => {
        if (end < start || end - start > MAX_FRAME_BYTES) {
          throw new Error("a payload over the limit");
        }
        if (random.oneIn(2)) return random.below(end - start + 1);
        taken += end - start;
        return TAKEN;
      },
      takesTogether: true,
      payloads: (_buffer, start, end, frames) => {
        const some = random.below(frames + 1);
        if (some === frames) taken += end - start - frames * FRAME_HEADER_BYTES;
        return some;
      },
      resembles: () => random.oneIn(4),
      begun: (_buffer, start, end) => random.oneIn(2) ? end - start : TAKEN,
      isText: random.oneIn(2),
      givenUp: () => {},
      turnIsOver: () => false,
      oversized: (length) => {
        if (length <= BigInt(MAX_FRAME_BYTES)) throw new Error("a small frame was skipped");
      },
    });
    const largest = random.pick([2, 20, stream.length]);
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + random.below(largest);
      reader.push(stream.subarray(at, end));
      at = end;
    }
    if (taken > stream.length) throw new Error("more came out than went in");
    if (reader.heldBytes > 2 * stream.length + 4096) throw new Error("more is held than came");
  }

  #decode(buffer: Uint8Array, start: number, end: number): Encoding | "refused" {
    try {
      return new PayloadDecoder().decode(buffer, start, end, this.#spans);
    } catch (error) {
      if (error instanceof WireError) return "refused";
      throw error;
    }
  }

  #take(buffer: Uint8Array, start: number, end: number): Outcome {
    const encoding = this.#decode(buffer, start, end);
    if (encoding === "refused") return encoding;
    const spans = this.#spans;
    // What an OTLP payload says passes through as it is: only its structure is ours to vouch for.
    if (encoding !== "otlp") decodeEncodedSpans(spans);
    const { writer } = spans;
    for (let i = 0; i < spans.count; i++) {
      const resource = this.#overlay.apply(
        writer.buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i)),
      );
      this.#builder.append(this.#builder.resource(resource), spans, i);
      const part = {
        resource,
        scope: writer.buffer.subarray(spans.scopeStart(i), spans.scopeEnd(i)),
        span: writer.buffer.subarray(spans.spanStart(i), spans.spanEnd(i)),
      };
      const line = [...dumpJsonPieces(part)].join("");
      // deno-lint-ignore no-control-regex
      if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(line)) {
        throw new Error("a control character reached a record");
      }
      JSON.parse(line);
    }
    const request = this.#builder.finish();
    this.#builder.clear();
    if (countSpans(request) !== spans.count) throw new Error("a request lost spans");
    if (spans.count > 1) {
      const [left, right] = halve(request);
      if (countSpans(left) + countSpans(right) !== spans.count) {
        throw new Error("halving a request lost spans");
      }
    }
    return encoding;
  }
}
