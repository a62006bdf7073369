import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { decodeBincode } from "../../src/decode/bincode/decoder.ts";
import { readBincode } from "../decode/support/bincode-reference.ts";
import { fixture, FIXTURE_FOLDERS, FIXTURES_IN, splitFrames } from "../decode/support/fixtures.ts";
import { mutatedJson } from "../decode/support/json-mutations.ts";
import { EXTREME_LENGTHS, scrambled } from "../decode/support/mutations.ts";
import type { Random } from "../decode/support/random.ts";
import { REAL_STREAMS, streamBytes, TRACED_STREAMS } from "../decode/support/recorded-streams.ts";

/** Payloads that are spans, in each encoding, and what a bincode payload's length fields' offsets are. */
export interface Seeds {
  readonly bincode: readonly {
    readonly payload: Uint8Array;
    readonly lengths: readonly number[];
  }[];
  readonly json: readonly Uint8Array[];
  readonly otlp: readonly Uint8Array[];
}

/** Seeds larger than this are left out: a mutation of 9 kB of one letter finds what one of 200 bytes finds. */
const LARGEST_SEED = 4096;
/** Of each stream of a real agent, one small span in so many: most are alike. */
const REAL_EVERY = 7;

/** Reads the recorded payloads, and makes OTLP payloads of their spans. */
export function loadSeeds(): Seeds {
  const bincode: Uint8Array[] = [];
  const json: Uint8Array[] = [];
  for (const folder of FIXTURE_FOLDERS) {
    for (const name of FIXTURES_IN[folder]) {
      const { bincodeStream, jsonStream } = fixture(name, folder);
      bincode.push(...splitFrames(bincodeStream));
      json.push(...splitFrames(jsonStream));
    }
  }
  const small = (payload: Uint8Array): boolean => payload.length <= LARGEST_SEED;
  for (const stream of [...REAL_STREAMS, ...TRACED_STREAMS]) {
    const payloads = splitFrames(streamBytes(stream)).filter(small).filter((_, i) => i % REAL_EVERY === 0);
    (stream.encoding === "json" ? json : bincode).push(...payloads);
  }
  const kept = bincode.filter(small);
  return {
    bincode: kept.map((payload) => ({ payload, lengths: readBincode(payload).lengthOffsets })),
    json: json.filter(small),
    otlp: kept.map((payload, i) => request([payload, kept[(i + 1) % kept.length] as Uint8Array])),
  };
}

/** The spans of bincode payloads as one `ExportTraceServiceRequest`. */
export function request(payloads: readonly Uint8Array[]): Uint8Array {
  const builder = new RequestBuilder();
  const spans = new EncodedSpans();
  for (const payload of payloads) {
    spans.clear();
    decodeBincode(payload, 0, payload.length, spans);
    const resource = spans.writer.buffer.slice(spans.resourceStart(0), spans.resourceEnd(0));
    builder.append(builder.resource(resource), spans, 0);
  }
  return builder.finish();
}

/** A payload that is nearly one of the seeds. */
export function mutated(seeds: Seeds, random: Random): Uint8Array {
  switch (random.below(4)) {
    case 0: {
      const { payload, lengths } = random.pick(seeds.bincode);
      const copy = payload.slice();
      const view = new DataView(copy.buffer);
      for (let times = 1 + random.below(2); times > 0; times--) {
        const at = random.pick(lengths);
        const extreme = random.pick([...EXTREME_LENGTHS, view.getBigUint64(at, true) + 1n]);
        view.setBigUint64(at, BigInt.asUintN(64, extreme), true);
      }
      return copy;
    }
    case 1: {
      const { payload } = random.pick(seeds.bincode);
      return scrambled(payload, random.pick(seeds.bincode).payload, random);
    }
    case 2: {
      const payload = random.pick(seeds.json);
      return random.oneIn(2) ? mutatedJson(payload, random) : scrambled(payload, random.pick(seeds.json), random);
    }
    default:
      return scrambled(random.pick(seeds.otlp), random.pick(seeds.otlp), random);
  }
}
