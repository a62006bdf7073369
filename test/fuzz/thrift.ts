import { isDeepStrictEqual } from "node:util";
import { WireError } from "../../src/decode/wire-error.ts";
import { decodeBody } from "../decode/support/jaeger-decode.ts";
import { JAEGER_SETS, jaegerBodies, malformedBodies } from "../decode/support/jaeger-fixtures.ts";
import { type JaegerRecord, mapThriftBatch, type Unmapped } from "../decode/support/jaeger-record.ts";
import { scrambled } from "../decode/support/mutations.ts";
import { RandomBatches } from "../decode/support/random-batch.ts";
import type { Random } from "../decode/support/random.ts";
import { encodeThriftBatch } from "../decode/support/thrift-encoder.ts";
import { readThriftBatch } from "../decode/support/thrift-reference.ts";

/** Larger bodies are left out, because what one of them finds a small one finds too. */
const LARGEST_SEED = 8192;

/** Hostile bodies for the decoder of Jaeger Thrift, which is compared with a slow and obvious one. */
export class ThriftFuzzer {
  readonly #seeds = [...JAEGER_SETS.flatMap((set) => jaegerBodies(set)), ...malformedBodies().values()]
    .filter(({ length }) => length <= LARGEST_SEED);

  /** A body that is nearly one that a runtime has sent, or nearly a random one. */
  body(random: Random): Uint8Array {
    const body = random.oneIn(2)
      ? random.pick(this.#seeds)
      : encodeThriftBatch(new RandomBatches(random.below(2 ** 30)).batch());
    return scrambled(body, random.pick(this.#seeds), random);
  }

  /** Throws unless a body is refused with a typed error, or becomes valid OTLP with the other decoder's meaning. */
  check(body: Uint8Array): "thrift" | "refused" {
    const expected = meaningOf(body);
    let records: readonly JaegerRecord[];
    try {
      ({ records } = decodeBody(body));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      // What spans share is bounded, of which the other decoder knows nothing.
      if (expected !== undefined && error.reason !== "too-large") {
        throw new Error("a valid body is refused", { cause: error });
      }
      return "refused";
    }
    // The logs of what is left out as noise are not looked at, so nothing in them can be wrong.
    if (expected === undefined && isRefused(body)) return "thrift";
    const spans = expected?.filter((record) => typeof record === "object");
    if (!isDeepStrictEqual(records, spans)) throw new Error("the two decoders differ");
    return "thrift";
  }
}

/** Whether a body is refused if nothing in it is left out. */
function isRefused(body: Uint8Array): boolean {
  try {
    decodeBody(body, true);
    return false;
  } catch (error) {
    if (error instanceof WireError) return true;
    throw error;
  }
}

/** Undefined for a body that is not valid. */
function meaningOf(body: Uint8Array): (JaegerRecord | Unmapped)[] | undefined {
  try {
    return mapThriftBatch(readThriftBatch(body));
  } catch {
    return undefined;
  }
}
