import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import { decodeJson } from "../../../src/decode/json/decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { decodeEncodedSpans } from "../support/decode-span.ts";
import { fixture, FIXTURES } from "../support/fixtures.ts";
import { encodeJson } from "../support/json-encoder.ts";
import { mutatedJson, replacedValue } from "../support/json-mutations.ts";
import { changedBytes, countOutcomes, cuts, type Outcome, scrambled } from "../support/mutations.ts";
import { tightSpans } from "../support/otlp-tight-spans.ts";
import { RandomSpans } from "../support/random-span.ts";
import type { OtlpRecord } from "../support/span-record.ts";

// Every byte of every payload takes minutes: `KTF_ALL_MUTATIONS=1`.
const ALL = process.env["KTF_ALL_MUTATIONS"] === "1";
/** Milliseconds, for all of them on a busy machine. */
const LIMIT = { timeout: ALL ? 7_200_000 : 60_000 };

let spans = tightSpans();
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * What JavaScript makes of a payload that was taken: it is JSON, and its text is the same. (In a member that nobody
 * reads bytes need not be UTF-8.) What the crates make of it, the differential check tells.
 */
function checkTaken(payload: Uint8Array, span: OtlpRecord): void {
  let text: string;
  try {
    text = utf8.decode(payload);
  } catch {
    text = Buffer.from(payload).toString();
  }
  const value = JSON.parse(text) as { name: string; status_message: string } | unknown[];
  if (Array.isArray(value)) {
    assert.deepEqual([value[3], value[10]], [span.name, span.status.message]);
  } else {
    assert.deepEqual([value.name, value.status_message], [span.name, span.status.message]);
  }
}

/** Whatever the payload is, it is refused with a typed error or is a valid span. */
function check(payload: Uint8Array): Outcome {
  spans = tightSpans();
  try {
    decodeJson(payload, 0, payload.length, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, error instanceof Error ? error.stack ?? "" : "");
    assert.ok(error.offset >= 0 && error.offset <= payload.length, `offset ${error.offset}`);
    return "refused";
  }
  assert.ok(spans.writer.position <= spans.writer.buffer.length);
  const [span, ...more] = decodeEncodedSpans(spans);
  assert.ok(span !== undefined && more.length === 0);
  checkTaken(payload, span);
  return "taken";
}

function checkAll(payloads: Iterable<Uint8Array>): Record<Outcome, number> {
  return countOutcomes(payloads, check);
}

for (const name of FIXTURES) {
  describe(`mutations of ${name}`, () => {
    const recorded = fixture(name).json;
    // Of many payloads, some; of long ones, not every byte.
    const payloads = ALL ? recorded : recorded.filter((_, i) => i % 4 === 0);
    const step = (payload: Uint8Array) => ALL ? 1 : payload.length < 2_000 ? 3 : 41;
    const replacements = [...'"\\{}[],:0-. ', "\0", "\x1f", "\x80", "\xff"];
    let seed = 0;
    const values = (byte: number) => [
      byte ^ 1,
      byte ^ 0x80,
      (replacements[seed++ % replacements.length] as string).charCodeAt(0),
    ];

    test("every byte changed", LIMIT, () => {
      let taken = 0;
      for (const payload of payloads) {
        taken += checkAll(changedBytes(payload, step(payload), values)).taken;
      }
      assert.ok(taken > payloads.length * 10, `${taken} were taken`);
    });

    test("cut at every length", LIMIT, () => {
      for (const payload of payloads) {
        assert.equal(checkAll(cuts(payload, step(payload))).taken, 0);
      }
    });

    test("every value at the edges of its type", LIMIT, () => {
      const { random } = new RandomSpans(55);
      const counts = { taken: 0, refused: 0 };
      for (let i = 0; i < (ALL ? 50_000 : 1_500); i++) {
        const payload = replacedValue(random.pick(payloads), random);
        counts[check(payload)]++;
      }
      assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
    });
  });
}

test("random spans with several things wrong at once", LIMIT, () => {
  const made = new RandomSpans(606, { nonFinite: false });
  const recorded = fixture("session-isolated").json;
  const counts = { taken: 0, refused: 0 };
  for (let i = 0; i < (ALL ? 200_000 : 6_000); i++) {
    const payload = made.random.oneIn(2) ? encodeJson(made.span(), { vary: made.random }) : made.random.pick(recorded);
    const wrong = made.random.oneIn(2)
      ? scrambled(payload, made.random.pick(recorded), made.random)
      : mutatedJson(payload, made.random);
    counts[check(wrong)]++;
  }
  assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});

describe("what a hostile guest makes large is read once", () => {
  const [before, after] = Buffer.from(encodeJson(new RandomSpans(1).span())).toString()
    .match(/^(\{)(.*)$/s)?.slice(1) as [string, string];
  const span = `${before}${after}`;
  const size = 1_000_000;

  function taken(text: string): OtlpRecord {
    const payload = new TextEncoder().encode(text);
    assert.equal(check(payload), "taken");
    return decodeEncodedSpans(spans)[0] as OtlpRecord;
  }

  test("unknown members", LIMIT, () => {
    const unknown = Array.from({ length: size / 10 }, (_, i) => `"u${i}":[{}]`).join();
    taken(`${before}${unknown},${after}`);
    taken(`${span.slice(0, -1)},${unknown}}`);
  });

  test("white space", LIMIT, () => {
    const space = " ".repeat(size);
    taken(`${space}${span.replace(",", `${space},${space}`)}${space}`);
  });

  test(
    "events whose members are in no order, in a queue that is in none, in a span that is in none",
    LIMIT,
    () => {
      const event = '{"dropped_attributes_count":1,"attributes":[{"value":{"I64":1},"key":"k"}],"timestamp":' +
        '{"nanos_since_epoch":1,"secs_since_epoch":2},"name":"e"}';
      const { events } = taken(
        `{"events":{"dropped_count":0,"queue":[${
          Array.from({ length: size / 200 }, () => event).join()
        }],"max_len":1},${span.replace(/"events":/, '"ev":').slice(1)}`,
      );
      assert.equal(events.length, size / 200);
      assert.deepEqual(events.at(-1), {
        attributes: [{ key: "k", value: { intValue: "1" } }],
        droppedAttributesCount: 1,
        name: "e",
        timeUnixNano: "2000000001",
      });
    },
  );

  test("keys, all alike but for their middle, and all the same", LIMIT, () => {
    for (const distinct of [size / 20, 1]) {
      const map = Array.from(
        { length: size / 20 },
        (_, i) => `"key ${i % distinct} with an end":{"I64":${i}}`,
      ).join();
      const text = span.replace(/"resource":.*$/, `"resource":{"attrs":{${map}}}}`);
      const { resource } = taken(text);
      assert.equal(resource.length, distinct);
      assert.deepEqual(resource.find(({ key }) => key === `key ${distinct - 1} with an end`), {
        key: `key ${distinct - 1} with an end`,
        value: { intValue: String(size / 20 - 1) },
      });
    }
  });

  test("numbers", LIMIT, () => {
    const digits = "1".repeat(size);
    const text = (value: string) => span.replace(/"map":\{/, `"map":{"n":${value},`);
    assert.equal(check(new TextEncoder().encode(text(`{"I64":${digits}}`))), "refused");
    assert.equal(check(new TextEncoder().encode(text(`{"F64":${digits}}`))), "refused");
    assert.equal(
      check(new TextEncoder().encode(span.replace(/"trace_id":/, `$&${digits}`))),
      "refused",
    );
    const { attributes } = taken(text(`{"F64":0.${digits}}`));
    assert.deepEqual(attributes.find(({ key }) => key === "n")?.value, { doubleValue: 1 / 9 });
  });
});
