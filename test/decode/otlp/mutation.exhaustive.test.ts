import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeOtlp } from "../../../src/decode/otlp/decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { readBincode } from "../support/bincode-reference.ts";
import { fixture } from "../support/fixtures.ts";
import { changedBytes, countOutcomes, cuts, EXTREME_LENGTHS, type Outcome, scrambled } from "../support/mutations.ts";
import { bytesField, join, varint, varintField } from "../support/otlp-message.ts";
import { Random } from "../support/random.ts";
import { expressible, serializeRecords } from "../support/readable-span.ts";

// Every byte of every payload takes minutes: `KTF_ALL_MUTATIONS=1`.
const ALL = process.env["KTF_ALL_MUTATIONS"] === "1";
/** Milliseconds, for all of them on a busy machine. */
const LIMIT = { timeout: ALL ? 7_200_000 : 60_000 };

const spans = new EncodedSpans();
const again = new EncodedSpans();

/** The fields of a message, read plainly; throws where it is none. Unlike the code under test it takes any. */
function* plainFields(message: Uint8Array): Generator<{ number: number; bytes?: Uint8Array }> {
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("cut");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new Error("a varint without an end");
  };
  while (at < message.length) {
    const tag = Number(number());
    const size = [undefined, 8, -1, undefined, undefined, 4][tag & 7];
    if (tag & 7) {
      if (size === undefined) throw new Error(`wire type ${tag & 7}`);
      const length = size < 0 ? Number(number()) : size;
      if (length > message.length - at) throw new Error("cut");
      at += length;
      yield size < 0 ? { number: tag >>> 3, bytes: message.subarray(at - length, at) } : { number: tag >>> 3 };
    } else {
      number();
      yield { number: tag >>> 3 };
    }
  }
}

/** Every span is one as far as its ids go, and a request of what came out is taken apart into the same. */
function checkTaken(): void {
  const { buffer } = spans.writer;
  assert.ok(spans.count > 0);
  for (let i = 0; i < spans.count; i++) {
    const span = buffer.slice(spans.spanStart(i), spans.spanEnd(i));
    const scope = buffer.slice(spans.scopeStart(i), spans.scopeEnd(i));
    const resource = buffer.slice(spans.resourceStart(i), spans.resourceEnd(i));
    const [field, ...more] = [...plainFields(span)];
    assert.ok(span[0] === 0x12 && field?.bytes !== undefined && more.length === 0);
    const sizes = new Map([...plainFields(field.bytes)].map((f) => [f.number, f.bytes?.length]));
    assert.deepEqual([sizes.get(1), sizes.get(2)], [16, 8]);
    assert.ok([...plainFields(scope)].every((f) => f.number !== 2));
    assert.ok([...plainFields(resource)].every((f) => f.number !== 2));
    const request = bytesField(1, resource, bytesField(2, scope, span));
    again.clear();
    decodeOtlp(request, 0, request.length, again);
    assert.equal(again.count, 1);
    assert.deepEqual(again.writer.buffer.slice(again.spanStart(0), again.spanEnd(0)), span);
  }
}

/** Whatever the payload is, it is refused with a typed error or is spans. */
function check(payload: Uint8Array): Outcome {
  spans.clear();
  try {
    decodeOtlp(payload, 0, payload.length, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, error instanceof Error ? error.stack ?? "" : "");
    assert.ok(error.offset >= 0 && error.offset <= payload.length, `offset ${error.offset}`);
    return "refused";
  }
  checkTaken();
  return "taken";
}

function checkAll(payloads: Iterable<Uint8Array>): Record<Outcome, number> {
  return countOutcomes(payloads, check);
}

/**
 * Where lengths are: all bytes of requests whose lengths are below 128 that are followed by that many bytes or more.
 */
function* extremes(payload: Uint8Array, step: number): Generator<Uint8Array> {
  for (let at = 1; at < payload.length; at += step) {
    for (const length of EXTREME_LENGTHS) {
      yield join(payload.subarray(0, at), varint(length), payload.subarray(at + 1));
    }
  }
}

describe("mutations of OpenTelemetry's requests", () => {
  const records = (["random", "session-collated"] as const).flatMap((name) =>
    fixture(name).bincode.map((payload) => expressible(readBincode(payload).record))
  );
  const payloads = records.filter((_, i) => ALL || i % 8 === 0).map((record) => serializeRecords([record]));
  payloads.push(serializeRecords(records.slice(-5)));
  const step = (payload: Uint8Array) => ALL || payload.length < 600 ? 1 : 37;

  test("every byte changed", LIMIT, () => {
    const values = (byte: number) => [byte ^ 1, byte ^ 0x80, 0, 0xff, 0x0b];
    let taken = 0;
    for (const payload of payloads) {
      taken += checkAll(changedBytes(payload, step(payload), values)).taken;
    }
    assert.ok(taken > payloads.length * 10, `${taken} were taken`);
  });

  test("cut at every length", LIMIT, () => {
    for (const payload of payloads) {
      // Between two resources the cut request is one.
      const ends = [...plainFields(payload)].length - 1;
      const { taken } = checkAll(cuts(payload, step(payload)));
      assert.ok(step(payload) === 1 ? taken === ends : taken <= ends, `${taken} were taken`);
    }
  });

  test("an extreme length in every place", LIMIT, () => {
    let refused = 0;
    for (const payload of payloads) refused += checkAll(extremes(payload, step(payload))).refused;
    assert.ok(refused > payloads.length * 100, `${refused} were refused`);
  });

  test("several things wrong at once", LIMIT, () => {
    const random = new Random(707);
    const counts = { taken: 0, refused: 0 };
    for (let i = 0; i < (ALL ? 200_000 : 6_000); i++) {
      counts[check(scrambled(random.pick(payloads), random.pick(payloads), random))]++;
    }
    assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
  });
});

test("what a hostile guest makes large is read once", LIMIT, () => {
  const ids = join(bytesField(1, new Uint8Array(16).fill(1)), bytesField(2, new Uint8Array(8).fill(2)));
  const span = bytesField(2, ids);
  const many = (field: Uint8Array, count: number) => new Uint8Array(Buffer.alloc(field.length * count, field));
  // Attributes without a key, spans with nothing but IDs, and a resource that all of many spans share.
  const attributes = (field: Uint8Array) => bytesField(1, bytesField(2, bytesField(2, ids, many(field, 250_000))));
  assert.equal(check(attributes(bytesField(9, bytesField(2)))), "taken");
  assert.equal(check(attributes(bytesField(9))), "refused");
  const unknown = many(varintField(20, 1), 500_000);
  assert.equal(check(bytesField(1, unknown, bytesField(2, unknown, span))), "refused");
  const large = bytesField(1, many(bytesField(1, bytesField(2)), 38));
  const largeScope = bytesField(1, many(bytesField(3, bytesField(2)), 38));
  for (
    const [payload, count] of [
      [bytesField(1, bytesField(2, many(span, 50_000))), 50_000],
      [
        bytesField(
          1,
          large,
          bytesField(2, largeScope, many(span, 50_000)),
          many(bytesField(2, span), 1000),
        ),
        51_000,
      ],
    ] as const
  ) {
    spans.clear();
    decodeOtlp(payload, 0, payload.length, spans);
    assert.equal(spans.count, count);
    assert.ok(spans.writer.position < payload.length * 3);
  }
});
