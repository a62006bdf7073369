import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { encodeBincode } from "../support/bincode-encoder.ts";
import { readBincode } from "../support/bincode-reference.ts";
import { decodeEncodedSpans, decodeResource, decodeSpan } from "../support/decode-span.ts";
import { fixture, FIXTURES } from "../support/fixtures.ts";
import { readFields } from "../support/protobuf-reader.ts";
import { RandomSpans } from "../support/random-span.ts";
import { expressible, serializeRecords } from "../support/readable-span.ts";
import { asOtlp, type OtlpRecord, type SpanRecord } from "../support/span-record.ts";

const spans = new EncodedSpans();

function fromBincode(record: SpanRecord): OtlpRecord {
  const payload = encodeBincode(record);
  spans.clear();
  decodeBincode(payload, 0, payload.length, spans);
  return decodeEncodedSpans(spans)[0] ?? assert.fail();
}

/**
 * The same span, serialized by OpenTelemetry. Of a span's flags only the low 8 bits are compared: bits 8 and 9 say
 * whether the parent is remote, which OpenTelemetry's SDK knows and an agent does not tell.
 */
function fromOpenTelemetry(record: SpanRecord): OtlpRecord {
  const member = (message: Uint8Array, number: number) =>
    readFields(message).find((field) => field.number === number)?.bytes ?? assert.fail();
  const resourceSpans = member(serializeRecords([record]), 1);
  const resource = member(resourceSpans, 1);
  const span = member(member(resourceSpans, 2), 2);
  const resourceField = Buffer.concat([lengthDelimited(resource.length), resource]);
  return asOtlp({
    ...decodeSpan(span, "lenient"),
    isRemote: false,
    resource: decodeResource(resourceField, "lenient"),
  });
}

/** The head of a field 1 of that length. */
function lengthDelimited(length: number): Uint8Array {
  const bytes = [0x0a];
  for (; length > 0x7f; length >>= 7) bytes.push((length & 0x7f) | 0x80);
  return Uint8Array.of(...bytes, length);
}

describe("OpenTelemetry's own serializer writes the same message", () => {
  for (const name of FIXTURES) {
    test(`for ${name}`, () => {
      for (const payload of fixture(name).bincode) {
        const record = expressible(readBincode(payload).record);
        assert.deepEqual(fromBincode(record), fromOpenTelemetry(record));
      }
    });
  }

  test("for random spans", () => {
    const random = new RandomSpans(31);
    for (let i = 0; i < 1_500; i++) {
      const record = expressible(random.span());
      assert.deepEqual(fromBincode(record), fromOpenTelemetry(record));
    }
  });
});
