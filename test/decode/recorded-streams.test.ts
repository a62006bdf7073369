import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { decodeEncodedSpans } from "./support/decode-span.ts";
import {
  expectedRecords,
  readPayload,
  REAL_STREAMS,
  streamBytes,
  TORN_STREAMS,
  TRACED_STREAMS,
  wholePayloads,
} from "./support/recorded-streams.ts";
import { splitFrames } from "./support/fixtures.ts";
import { asOtlp, asRecorded, type OtlpRecord } from "./support/span-record.ts";

const spans = new EncodedSpans();

/** What a guest's decoder makes of its payloads, in order. */
function decodeAll(encoding: string, payloads: readonly Uint8Array[]): OtlpRecord[] {
  const decoder = new PayloadDecoder();
  return payloads.map((payload) => {
    assert.equal(decoder.decode(payload, 0, payload.length, spans), encoding);
    const [record, ...more] = decodeEncodedSpans(spans);
    assert.ok(record !== undefined && more.length === 0);
    return record;
  });
}

describe("streams of the real agent come out as an independent reader reads them", () => {
  for (const stream of REAL_STREAMS) {
    test(stream.file, () => {
      const payloads = splitFrames(streamBytes(stream));
      assert.equal(payloads.length, stream.spans);
      decodeAll(stream.encoding, payloads).forEach((record, i) =>
        assert.deepEqual(record, asOtlp(readPayload(stream.encoding, payloads[i] as Uint8Array)))
      );
    });
  }
});

describe("streams of the agents' crates through `tracing` mean what was recorded with them", () => {
  for (const stream of TRACED_STREAMS) {
    test(stream.file, () => {
      const payloads = splitFrames(streamBytes(stream));
      const expected = expectedRecords(stream.expected ?? assert.fail());
      assert.equal(payloads.length, stream.spans);
      assert.equal(expected.length, stream.spans);
      decodeAll(stream.encoding, payloads).forEach((record, i) => {
        const recorded = expected[i] ?? assert.fail();
        assert.deepEqual(asRecorded(record, recorded), asOtlp(recorded));
        assert.deepEqual(record, asOtlp(readPayload(stream.encoding, payloads[i] as Uint8Array)));
      });
    });
  }
});

describe("the whole frames of torn streams come out as an independent reader reads them", () => {
  for (const stream of TORN_STREAMS) {
    test(stream.file, () => {
      const payloads = wholePayloads(stream.encoding, streamBytes(stream));
      assert.equal(payloads.length, stream.spans);
      decodeAll(stream.encoding, payloads).forEach((record, i) =>
        assert.deepEqual(record, asOtlp(readPayload(stream.encoding, payloads[i] as Uint8Array)))
      );
    });
  }
});
