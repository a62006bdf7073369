import assert from "node:assert/strict";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import type { Decode } from "../../../src/decode/decode.ts";
import { decodeJson } from "../../../src/decode/json/decoder.ts";
import { isLargePayload } from "../../../src/decode/large-payloads.ts";
import { decodeOtlp } from "../../../src/decode/otlp/decoder.ts";
import { vectorDecoders } from "../../../src/decode/vector-decoders.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { encodeBincode } from "./bincode-encoder.ts";
import { concatenate, frame, splitFrames } from "./fixtures.ts";
import { encodeJson } from "./json-encoder.ts";
import { mutatedJson, replacedValue } from "./json-mutations.ts";
import { scrambled } from "./mutations.ts";
import { wrongMessage } from "./otlp-mutations.ts";
import type { Random } from "./random.ts";
import { hostileStreams } from "../../hostile/payloads.ts";
import { RandomOtlp } from "./random-otlp.ts";
import { RandomSpans } from "./random-span.ts";
import { REAL_STREAMS, streamBytes, TRACED_STREAMS } from "./recorded-streams.ts";

export type VectorEncoding = "bincode" | "json" | "otlp";
/** What became of a payload: only the decoders in TypeScript took it, both did, or none. */
export type Taken = "slowly" | "by both" | "by none";

const DEFINITIONS: Readonly<Record<VectorEncoding, Decode>> = {
  bincode: decodeBincode,
  json: decodeJson,
  otlp: decodeOtlp,
};
const MARGIN = 7;
/** A span's field with a length of two bytes. */
const MOST_TOGETHER = 3 + 0x3fff;

/** The bytes of each span, of its scope and of its resource. */
function partsOf(spans: EncodedSpans): string[][] {
  const text = (start: number, end: number) => Buffer.from(spans.writer.buffer.subarray(start, end)).toString("latin1");
  return Array.from({ length: spans.count }, (_, span) => [
    text(spans.spanStart(span), spans.spanEnd(span)),
    text(spans.scopeStart(span), spans.scopeEnd(span)),
    text(spans.resourceStart(span), spans.resourceEnd(span)),
  ]);
}

/** Decodes payloads with both sets of decoders. */
export class Differential {
  readonly #slow = new EncodedSpans();
  readonly #fast = new EncodedSpans();

  /** Throws unless both do the same with a payload, or the decoders in WebAssembly leave it to the others. */
  check(encoding: VectorEncoding, payload: Uint8Array): Taken {
    const vectors = vectorDecoders();
    if (vectors === null) throw new Error("this runtime has no WebAssembly with vectors");
    this.#fast.clear();
    const around = new Uint8Array(payload.length + 2 * MARGIN).fill(0x22);
    around.set(payload, MARGIN);
    const isFast = vectors[encoding](around, MARGIN, MARGIN + payload.length, this.#fast);
    this.#slow.clear();
    try {
      DEFINITIONS[encoding](payload, 0, payload.length, this.#slow);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      if (isFast) throw new Error(`WebAssembly took what is refused: ${error.message}`, { cause: error });
      return "by none";
    }
    if (!isFast) {
      // A guest that was refused often has its requests judged by this decoder alone.
      const isJudged = encoding === "otlp" && !isLargePayload(payload, 0, payload.length);
      const isRefused = isJudged && vectors.isOtlp(payload, 0, payload.length, this.#fast) === false;
      if (isRefused) throw new Error("WebAssembly refuses what is taken");
      return "slowly";
    }
    assert.deepEqual(partsOf(this.#fast), partsOf(this.#slow));
    return "by both";
  }
}

/**
 * Decodes payloads as frames that follow each other, and throws unless those up to the first that WebAssembly leaves to
 * TypeScript become what they become one by one. Returns how many those are.
 */
export function checkFrames(encoding: "bincode" | "json", payloads: readonly Uint8Array[]): number {
  const vectors = vectorDecoders();
  if (vectors === null) throw new Error("this runtime has no WebAssembly with vectors");
  const expected: string[][] = [];
  const spans = new EncodedSpans();
  for (const payload of payloads) {
    spans.clear();
    if (!vectors[encoding](payload, 0, payload.length, spans)) break;
    const [parts] = partsOf(spans) as [string[]];
    // A span that is much longer than its payload is decoded alone.
    if ((parts[0] as string).length > MOST_TOGETHER) break;
    expected.push(parts);
  }
  const stream = concatenate([Uint8Array.of(0x22), ...payloads.map(frame), new Uint8Array(MARGIN).fill(0x22)]);
  spans.clear();
  const count = vectors.frames(encoding === "json", stream, 1, stream.length - MARGIN, spans);
  assert.equal(count, expected.length);
  if (count > 0) assert.deepEqual(partsOf(spans), expected);
  return count;
}

/** Larger payloads find nothing that smaller ones do not, but long texts. */
const MOST_BYTES = 8192;
/** What breaks a vector: texts in which something stands at any of its places. */
const PIECES = [
  ...'"\\/\b\f\n\r\t\0\x1f\x7f éß人🦀\u07ff\u0800\ud7ff\ue000\uffff\u{10ffff}',
  "\\\\",
  '\\"',
  '"'.repeat(5),
  "\\".repeat(17),
  "a".repeat(15),
  "b".repeat(16),
  "c".repeat(33),
  "d".repeat(130),
  "é".repeat(40),
] as const;

/** Payloads that are spans, or nearly so. */
export class DifferentialCases {
  readonly #seeds: Readonly<Record<VectorEncoding, readonly Uint8Array[]>>;
  readonly #random: Random;
  readonly #made: RandomSpans;
  readonly #requests: RandomOtlp;

  constructor(random: Random) {
    this.#random = random;
    this.#made = new RandomSpans(random.uint32(), { nonFinite: false });
    this.#requests = new RandomOtlp(random);
    const otlp = hostileStreams().filter(({ name }) => name.startsWith("OTLP"));
    const seeds: Record<VectorEncoding, Uint8Array[]> = {
      bincode: [],
      json: [],
      // Of large payloads with the same thing again and again there are some that fit.
      otlp: otlp.map(({ bytes }) => splitFrames(bytes)[0] as Uint8Array).filter(({ length }) => length <= MOST_BYTES),
    };
    for (const stream of [...REAL_STREAMS, ...TRACED_STREAMS]) {
      seeds[stream.encoding].push(...splitFrames(streamBytes(stream)).filter(({ length }) => length <= MOST_BYTES));
    }
    this.#seeds = seeds;
  }

  next(encoding: VectorEncoding): Uint8Array {
    const random = this.#random;
    const payload = random.oneIn(2) ? random.pick(this.#seeds[encoding]) : this.#span(encoding);
    const other = () => random.pick(this.#seeds[encoding]);
    switch (random.below(6)) {
      case 0:
        return payload;
      case 1:
        return scrambled(payload, other(), random);
      case 2:
        if (encoding === "json") return mutatedJson(payload, random);
        return encoding === "otlp" ? wrongMessage(payload, random) : scrambled(payload, payload, random);
      case 3:
        if (encoding === "json") return replacedValue(payload, random);
        return encoding === "otlp" ? wrongMessage(payload, random) : changedByte(payload, random);
      case 4:
        return changedByte(payload, random);
      default:
        return this.#span(encoding);
    }
  }

  /** A span as agents send them, but for its texts and numbers; in OTLP a request of several. */
  #span(encoding: VectorEncoding): Uint8Array {
    if (encoding === "otlp") return this.#requests.request();
    const random = this.#random;
    const span = this.#made.span();
    const text = () => random.many(random.below(random.pick([2, 6, 40])), () => random.pick(PIECES)).join("");
    const texts = random.many(random.below(4), () => ({
      key: `${random.pick(["req", "code.filepath", "k"])}${text().slice(0, random.below(40))}`,
      value: { stringValue: text() },
    }));
    const unusual = random.oneIn(8) ? {} : { links: [], traceState: "" };
    const attributes = [...new Map([...span.attributes, ...texts].map((each) => [each.key, each])).values()];
    const record = { ...span, ...unusual, attributes, name: random.oneIn(2) ? text() : span.name };
    return encoding === "json" ? encodeJson(record) : encodeBincode(record);
  }
}

/** The payload with one byte changed: one bit of it, or to one that means something. */
export function changedByte(payload: Uint8Array, random: Random): Uint8Array {
  const copy = payload.slice();
  const at = random.below(copy.length);
  copy[at] = random.oneIn(2)
    ? random.pick([0, 0x1f, 0x20, 0x22, 0x2c, 0x30, 0x39, 0x5c, 0x7d, 0x7f, 0x80, 0xbf, 0xc2, 0xe0, 0xed, 0xf4, 0xff])
    : (copy[at] as number) ^ (1 << random.below(8));
  return copy;
}
