import assert from "node:assert/strict";
import { describe, test } from "node:test";
import process from "node:process";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { encodeBincode } from "../support/bincode-encoder.ts";
import { readBincode } from "../support/bincode-reference.ts";
import { decodeEncodedSpans } from "../support/decode-span.ts";
import { fixture, FIXTURES } from "../support/fixtures.ts";
import { changedBytes, countOutcomes, cuts, extremeLengths, type Outcome, scrambled } from "../support/mutations.ts";
import { RandomSpans } from "../support/random-span.ts";
import { asOtlp } from "../support/span-record.ts";
import type { OtlpRecord } from "../support/span-record.ts";

// Every byte of every payload takes minutes: `KTF_ALL_MUTATIONS=1`.
const ALL = process.env["KTF_ALL_MUTATIONS"] === "1";

const spans = new EncodedSpans();

function expectedOf(payload: Uint8Array): OtlpRecord | undefined {
  try {
    return asOtlp(readBincode(payload).record);
  } catch (error) {
    assert.ok(error instanceof Error);
    return undefined;
  }
}

/** Whatever the payload is, it is refused with a typed error or is a valid span, just as the reference reads it. */
function check(payload: Uint8Array): Outcome {
  const expected = expectedOf(payload);
  spans.clear();
  try {
    decodeBincode(payload, 0, payload.length, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    assert.ok(error.offset >= 0 && error.offset <= payload.length, `offset ${error.offset}`);
    assert.equal(expected, undefined, `refused though it is a span: ${error.message}`);
    return "refused";
  }
  assert.deepEqual(decodeEncodedSpans(spans), [expected]);
  return "taken";
}

function checkAll(payloads: Iterable<Uint8Array>): Record<Outcome, number> {
  return countOutcomes(payloads, check);
}

for (const name of FIXTURES) {
  describe(`mutations of ${name}`, () => {
    const recorded = fixture(name).bincode;
    // Of many payloads, some; of long ones, not every byte.
    const payloads = ALL || name !== "random" ? recorded : recorded.filter((_, i) => i % 4 === 0);
    const step = (payload: Uint8Array) => ALL || payload.length < 1_000 ? 1 : 37;
    let seed = 0;
    const values = (byte: number) =>
      ALL ? [byte ^ 1, byte ^ 0x80, 0, 0xff] : [[byte ^ 1, byte ^ 0x80, 0, 0xff][seed++ & 3] as number];

    test("every byte changed", () => {
      let taken = 0;
      for (const payload of payloads) {
        taken += checkAll(changedBytes(payload, step(payload), values)).taken;
      }
      // Most bytes of ids, numbers and texts may be anything.
      assert.ok(taken > payloads.length * 50, `${taken} were taken`);
    });

    test("cut at every length", () => {
      for (const payload of payloads) {
        assert.equal(checkAll(cuts(payload, step(payload))).taken, 0);
      }
    });

    test("every length an extreme", () => {
      for (const payload of payloads) {
        const { lengthOffsets } = readBincode(payload);
        assert.ok(lengthOffsets.length >= 4);
        checkAll(extremeLengths(payload, lengthOffsets));
      }
    });
  });
}

test("random spans with several things wrong at once", () => {
  const random = new RandomSpans(404);
  const recorded = fixture("session-isolated").bincode;
  const counts = { taken: 0, refused: 0 };
  for (let i = 0; i < (ALL ? 200_000 : 8_000); i++) {
    const payload = random.random.oneIn(2) ? encodeBincode(random.span()) : random.random.pick(recorded);
    counts[check(scrambled(payload, random.random.pick(recorded), random.random))]++;
  }
  assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});
