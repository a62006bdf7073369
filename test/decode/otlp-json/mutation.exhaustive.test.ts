import assert from "node:assert/strict";
import { test } from "node:test";
import { requestToRecords } from "../../../src/otlp/json-record.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { mutatedJson } from "../support/json-mutations.ts";
import { changedBytes, cuts, scrambled } from "../support/mutations.ts";
import { decodeJsonRequest, jsonRequest } from "../support/otlp-json.ts";
import { RandomSpans } from "../support/random-span.ts";
import { expressible, serializeRecords } from "../support/readable-span.ts";

const random = new RandomSpans(99);
const requests = random.random.many(40, () => {
  const records = [random.span(), random.span()].filter(expressible);
  return new TextEncoder().encode(JSON.stringify(jsonRequest(requestToRecords(serializeRecords(records)))));
}).filter(({ length }) => length < 6_000);

/** Whatever the bytes are, they are refused with a typed error, or what comes of them can be written again and read. */
function check(bytes: Uint8Array): "taken" | "refused" {
  let decoded;
  try {
    decoded = decodeJsonRequest(new TextDecoder("latin1").decode(bytes));
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return "refused";
  }
  const again = decodeJsonRequest(jsonRequest(decoded.records));
  assert.deepEqual(again.rejected, {});
  assert.deepEqual(again.records, decoded.records);
  return "taken";
}

test("every byte changed, and cut at every length", () => {
  const counts = { taken: 0, refused: 0 };
  for (const request of requests.slice(0, 6)) {
    for (const bytes of changedBytes(request, 1, (byte) => [byte ^ 1, 0x22, 0x7b])) counts[check(bytes)]++;
    for (const bytes of cuts(request, 1)) assert.equal(check(bytes), "refused");
  }
  assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});

test("several things wrong at once", () => {
  const counts = { taken: 0, refused: 0 };
  for (let i = 0; i < 5_000; i++) {
    const request = random.random.pick(requests);
    const bytes = random.random.oneIn(2)
      ? mutatedJson(request, random.random)
      : scrambled(request, random.random.pick(requests), random.random);
    counts[check(bytes)]++;
  }
  assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});
