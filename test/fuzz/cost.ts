import { spawnSync } from "node:child_process";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Decode } from "../../src/decode/decode.ts";
import { decodeJson } from "../../src/decode/json/decoder.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { WireError } from "../../src/decode/wire-error.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { splitFrames } from "../decode/support/fixtures.ts";
import { encodeJson } from "../decode/support/json-encoder.ts";
import { bytesField, fixed64Field, join, tag, textField, varint, varintField } from "../decode/support/otlp-message.ts";
import type { Random } from "../decode/support/random.ts";
import { RandomSpans } from "../decode/support/random-span.ts";
import { REAL_STREAMS, type RecordedStream, streamBytes } from "../decode/support/recorded-streams.ts";
import type { SpanRecord, ValueRecord } from "../decode/support/span-record.ts";

/**
 * How many times as much a byte of any payload may cost as one of a real agent's JSON does in the decoder that is
 * written in TypeScript: the one in WebAssembly makes usual payloads cheaper, and no other one dearer. The
 * decoder has a third of what such a byte costs on its whole way, and the rest of the way hardly depends on the
 * payload, so this is about four times the whole.
 */
const LIMIT = 12;
/** How much each frame costs besides, as bytes: its header, and what is begun and ended with each payload. */
const FRAME_BYTES = 96;
/** How large a payload is made, so that what is repeated in it decides. */
const TARGET_BYTES = 32 * 1024;
/** Measured at once at least, milliseconds. */
const SLICE_MS = 0.5;
/** So many tries suffice for a cost below the limit. */
const FEW_TRIES = 3;
/**
 * A cost over the limit counts only if so many tries, with a pause before each, agree: machines are busy. They are made
 * in a process that decodes nothing else, because the engine gives code up that thousands of odd payloads have gone
 * through, and is slow to compile it again.
 */
const TRIES = 40;
const PAUSE_MS = 50;
const ALONE = fileURLToPath(new URL("cost-alone.ts", import.meta.url));

/** What all else is compared with: the JSON of a whole session. */
const PLAIN = REAL_STREAMS.find(({ file }) => file.endsWith("4.1.0-session.json-frames")) as RecordedStream;

/** A payload, and what is repeated in it. */
export interface Repetition {
  readonly what: string;
  readonly payload: Uint8Array;
}

/** Measures what payloads cost a byte, as a multiple of what a real agent's JSON costs. */
export class CostMeter {
  readonly #plain = splitFrames(streamBytes(PLAIN));
  readonly #spans = new EncodedSpans();
  #decoder = new PayloadDecoder();
  /** The costliest so far. */
  worst = { ratio: 0, what: "" };

  /** Throws if a payload's cost is over the limit, here and in a process of its own. */
  check({ what, payload }: Repetition): void {
    let ratio = this.#lowest(payload, FEW_TRIES);
    if (ratio > LIMIT) {
      const { status, stdout, stderr, error } = spawnSync(process.execPath, [ALONE], { input: payload });
      if (status !== 0) throw new Error(`cost-alone.ts ended with ${status}: ${stderr}`, { cause: error });
      ratio = Number(stdout);
    }
    if (ratio > this.worst.ratio) this.worst = { ratio, what };
    if (ratio > LIMIT) throw new Error(`${what}: ${ratio.toFixed(1)} times the cost of plain JSON a byte`);
  }

  /** What a payload costs here, the lowest of several measurements with pauses between them if it is over the limit. */
  measure(payload: Uint8Array): number {
    let ratio = Infinity;
    for (let tries = 0; tries < TRIES && ratio > LIMIT; tries++) {
      if (tries > 0) Bun.sleepSync(PAUSE_MS);
      ratio = Math.min(ratio, this.#lowest(payload, FEW_TRIES));
    }
    return ratio;
  }

  #lowest(payload: Uint8Array, tries: number): number {
    let ratio = Infinity;
    for (; tries > 0; tries--) {
      ratio = Math.min(ratio, this.#cost([payload], this.#read) / this.#cost(this.#plain, decodeJson));
    }
    return ratio;
  }

  readonly #read: Decode = (buffer, start, end, spans) => void this.#decoder.decode(buffer, start, end, spans);

  /** Nanoseconds a byte. */
  #cost(payloads: readonly Uint8Array[], decode: Decode): number {
    this.#decoder = new PayloadDecoder();
    const spans = this.#spans;
    let bytes = 0;
    const began = performance.now();
    let taken = 0;
    do {
      for (const payload of payloads) {
        try {
          spans.clear();
          decode(payload, 0, payload.length, spans);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
        bytes += payload.length + FRAME_BYTES;
      }
      taken = performance.now() - began;
    } while (taken < SLICE_MS);
    return taken * 1e6 / bytes;
  }
}

const IDS = join(bytesField(1, new Uint8Array(16).fill(1)), bytesField(2, new Uint8Array(8).fill(2)));

/** A payload in which one small thing comes again and again. */
export function repetition(random: Random): Repetition {
  return random.oneIn(2) ? repeatedInOtlp(random) : repeatedInRecord(random);
}

function times(field: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.alloc(Math.ceil(TARGET_BYTES / field.length) * field.length, field));
}

function repeatedInOtlp(random: Random): Repetition {
  const [valueName, value] = random.pick(
    [
      ["nothing", new Uint8Array(0)],
      ["an empty string", textField(1, "")],
      ["a letter", textField(1, "a")],
      ["text that is not ASCII", textField(1, "é".repeat(1 + random.below(40)))],
      ["a bool", varintField(2, 1)],
      ["a bool of 10 bytes", varintField(2, (1n << 64n) - 1n)],
      ["an integer", varintField(3, random.uint64() >> BigInt(random.below(64)))],
      ["a double", fixed64Field(4, 0x3ff0n << 48n)],
      ["NaN", fixed64Field(4, 0x7ff8n << 48n)],
      ["an empty array", bytesField(5)],
      ["a list of one", bytesField(6, bytesField(1))],
    ] as const,
  );
  const key = random.pick([new Uint8Array(0), textField(1, "k"), textField(1, "kata.vsock.cid")]);
  const anyValue = random.oneIn(4) ? new Uint8Array(0) : bytesField(2, value);
  const attribute = (number: number) => bytesField(number, key, anyValue);
  const odd = random.pick([
    new Uint8Array(0),
    varintField(17, 1),
    join(tag(17, 0), varint(1, 8)),
    fixed64Field(100, 1n),
    bytesField(31, new Uint8Array(random.below(20))),
  ]);
  const array = () => bytesField(5, times(bytesField(1, value)));
  const span = (...fields: Uint8Array[]) => bytesField(2, IDS, ...fields);
  const scopeSpans = (...fields: Uint8Array[]) => bytesField(2, ...fields, span());
  const request = (...fields: Uint8Array[]) => bytesField(1, ...fields);
  const shapes: readonly (readonly [string, () => Uint8Array])[] = [
    ["attributes of a span", () => request(scopeSpans(span(times(attribute(9)), odd)))],
    ["attributes of a resource", () => request(bytesField(1, times(attribute(1)), odd), scopeSpans())],
    ["attributes of a scope", () => request(scopeSpans(bytesField(1, times(attribute(3)), odd)))],
    ["events", () => request(scopeSpans(span(times(bytesField(11, attribute(3))), odd)))],
    ["links", () => request(scopeSpans(span(times(bytesField(13, IDS, attribute(4))), odd)))],
    ["values of an array", () => request(scopeSpans(span(bytesField(9, bytesField(2, array()), odd))))],
    ["unknown fields", () => request(scopeSpans(span(times(odd.length > 0 ? odd : varintField(17, 1)))))],
    ["spans", () => request(scopeSpans(times(span(attribute(9), odd))))],
    ["scopes", () => request(times(scopeSpans(bytesField(1, attribute(3)), odd)))],
    ["resources", () => times(request(bytesField(1, attribute(1)), scopeSpans(), odd))],
    ["small payloads", () => request(bytesField(1, attribute(1)), scopeSpans(span(odd)))],
    ["what is refused at its end", () => request(scopeSpans(span(times(attribute(9)), Uint8Array.of(0x0b))))],
  ];
  const [shapeName, make] = random.pick(shapes);
  return { what: `OTLP: ${shapeName}, with ${valueName}, ${odd.length} bytes of unknown fields`, payload: make() };
}

function repeatedInRecord(random: Random): Repetition {
  const made = new RandomSpans(random.uint32());
  const record = made.span();
  const template = made.span();
  const copies = <T>(item: T | undefined, count: number): T[] => item === undefined ? [] : Array<T>(count).fill(item);
  const count = random.pick([0, 1, 300, 2_000]);
  const list: ValueRecord = {
    arrayValue: {
      values: copies(
        random.pick<ValueRecord>([
          { boolValue: true },
          { intValue: random.pick(["0", "1", "-1", String(1n << 62n)]) },
          { doubleValue: random.pick([1, 0.1, 5e-324]) },
          { stringValue: random.pick(["", "a", "é", '"'.repeat(10)]) },
        ]),
        count * 4,
      ),
    },
  };
  const shapes: readonly (readonly [string, Partial<SpanRecord>])[] = [
    ["values of an array", { attributes: [{ key: "k", value: list }] }],
    [
      "attributes",
      { attributes: Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value: { boolValue: true } })) },
    ],
    [
      "attributes of a resource",
      { resource: Array.from({ length: count }, (_, i) => ({ key: `${i}`, value: { stringValue: "" } })) },
    ],
    ["events", { events: copies(template.events[0], count) }],
    ["links", { links: copies(template.links[0], count) }],
    ["escapes", { name: '"\\\n'.repeat(count * 3) }],
    ["control characters", { name: "\0\u2028".repeat(count * 3) }],
    ["text that is not ASCII", { name: "é人🦀".repeat(count * 3) }],
  ];
  const [what, parts] = random.pick(shapes);
  const span = { ...record, ...parts };
  const isJson = random.oneIn(2);
  return {
    what: `${isJson ? "JSON" : "bincode"}: ${count} ${what}`,
    payload: isJson ? encodeJson(span, random.oneIn(2) ? {} : { vary: random }) : encodeBincode(span),
  };
}
