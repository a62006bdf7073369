import assert from "node:assert/strict";
import { describe, test } from "node:test";
import process from "node:process";
import { WireError } from "../../../src/decode/wire-error.ts";
import { decodeBody, spans } from "../support/jaeger-decode.ts";
import { jaegerBodies, malformedBodies } from "../support/jaeger-fixtures.ts";
import { type JaegerRecord, mapThriftBatch, type Unmapped } from "../support/jaeger-record.ts";
import { changedBytes, countOutcomes, cuts, type Outcome, scrambled } from "../support/mutations.ts";
import { RandomBatches } from "../support/random-batch.ts";
import { encodeThriftBatch } from "../support/thrift-encoder.ts";
import { readThriftBatch } from "../support/thrift-reference.ts";

// Every byte of every body takes minutes: `KTF_ALL_MUTATIONS=1`.
const ALL = process.env["KTF_ALL_MUTATIONS"] === "1";

function expectedOf(body: Uint8Array): (JaegerRecord | Unmapped)[] | undefined {
  try {
    return mapThriftBatch(readThriftBatch(body));
  } catch (error) {
    assert.ok(error instanceof Error);
    return undefined;
  }
}

/** Whatever the body is, it is refused with a typed error or becomes valid OTLP, just as the second decoder has it. */
function check(body: Uint8Array): Outcome {
  const expected = expectedOf(body);
  let decoded;
  try {
    decoded = decodeBody(body);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    assert.ok(error.offset >= 0 && error.offset <= body.length, `offset ${error.offset}`);
    // What spans share is bounded, of which the second decoder knows nothing.
    if (error.reason !== "too-large") assert.equal(expected, undefined, `refused though valid: ${error.message}`);
    return "refused";
  }
  assert.ok(expected !== undefined, "taken though invalid");
  const { batch, records } = decoded;
  assert.deepEqual(records, expected.filter((record) => typeof record === "object"));
  assert.equal(batch.noise, expected.filter((record) => record === "noise").length);
  for (const reason of ["invalid-value", "time-out-of-range"] as const) {
    assert.equal(batch.invalid.get(reason) ?? 0, expected.filter((record) => record === reason).length);
  }
  return "taken";
}

function checkAll(bodies: Iterable<Uint8Array>): Record<Outcome, number> {
  return countOutcomes(bodies, check);
}

test("random batches are what the second decoder makes of them", () => {
  const random = new RandomBatches(11);
  for (let i = 0; i < (ALL ? 50_000 : 3_000); i++) {
    assert.equal(check(encodeThriftBatch(random.batch())), "taken");
  }
});

test("the same bytes come out wherever the body lies", () => {
  const random = new RandomBatches(12);
  for (let i = 0; i < 50; i++) {
    const body = encodeThriftBatch(random.batch());
    const alone = decodeBody(body);
    const bytes = spans.writer.buffer.slice(0, spans.writer.position);
    const around = Buffer.alloc(body.length + 40, 0xff);
    around.set(body, 17);
    assert.deepEqual(decodeBody(around.subarray(17, 17 + body.length)), alone);
    assert.deepEqual(spans.writer.buffer.slice(0, spans.writer.position), bytes);
  }
});

describe("mutations", () => {
  const session = jaegerBodies("go-session");
  const bodies = [
    ...ALL ? session : session.filter((_, i) => i % 8 === 0),
    ...jaegerBodies("go-overrides").filter((_, i) => ALL || i % 6 === 0),
    ...jaegerBodies("go-random").filter((_, i) => ALL || i % 20 === 0),
    ...jaegerBodies("go-invalid-utf8"),
  ];

  test("every byte changed", () => {
    let seed = 0;
    const values = (byte: number) =>
      ALL
        ? [byte ^ 1, byte ^ 0x80, 0, 0xff, 0x0c, 0x0f]
        : [[byte ^ 1, byte ^ 0x80, 0, 0xff, 0x0c, 0x0f][seed++ % 6] as number];
    let taken = 0;
    for (const body of bodies) taken += checkAll(changedBytes(body, 1, values)).taken;
    assert.ok(taken > bodies.length * 50, `${taken} were taken`);
  });

  test("cut at every length", () => {
    for (const body of bodies) assert.equal(checkAll(cuts(body, 1)).taken, 0);
  });

  test("several things wrong at once", () => {
    const random = new RandomBatches(13);
    const others = [...session, ...malformedBodies().values()].filter(({ length }) => length < 10_000);
    const counts = { taken: 0, refused: 0 };
    for (let i = 0; i < (ALL ? 200_000 : 6_000); i++) {
      const body = random.random.oneIn(2) ? encodeThriftBatch(random.batch()) : random.random.pick(others);
      counts[check(scrambled(body, random.random.pick(others), random.random))]++;
    }
    assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
  });
});
