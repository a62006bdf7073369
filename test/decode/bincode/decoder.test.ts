import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { AT, decode, patched, refusal, span, spans } from "../support/bincode-decode.ts";
import { encodeBincode } from "../support/bincode-encoder.ts";
import { readBincode } from "../support/bincode-reference.ts";
import { fixture, FIXTURE_FOLDERS, FIXTURES_IN } from "../support/fixtures.ts";
import { readFields } from "../support/protobuf-reader.ts";
import { RandomSpans } from "../support/random-span.ts";
import { asOtlp, asRecorded } from "../support/span-record.ts";
import type { SpanRecord, ValueRecord } from "../support/span-record.ts";

describe("recorded payloads", () => {
  for (const folder of FIXTURE_FOLDERS) {
    for (const name of FIXTURES_IN[folder]) {
      test(`${folder}/${name} means what the crates say`, () => {
        const { bincode, expected } = fixture(name, folder);
        assert.equal(bincode.length, expected.length);
        bincode.forEach((payload, i) => {
          const record = expected[i] as SpanRecord;
          assert.deepEqual(asRecorded(decode(payload), record), asOtlp(record));
          assert.deepEqual(decode(payload), asOtlp(readBincode(payload).record));
        });
      });
    }
  }

  test("the same bytes come out wherever the payload lies, and from a Buffer", () => {
    const { bincode } = fixture("random");
    for (const payload of bincode.slice(0, 50)) {
      decode(payload);
      const alone = spans.writer.buffer.slice(0, spans.writer.position);
      const around = Buffer.alloc(payload.length + 40, 0xff);
      around.set(payload, 17);
      spans.clear();
      decodeBincode(around, 17, 17 + payload.length, spans);
      assert.deepEqual(spans.writer.buffer.slice(0, spans.writer.position), alone);
    }
  });
});

test("random spans come out as they went in", () => {
  const random = new RandomSpans(20260101);
  for (let i = 0; i < 2_000; i++) {
    const record = random.span();
    const payload = encodeBincode(record, {
      emptyAsSome: random.random.oneIn(2),
      evictList: random.random.oneIn(4) ? ["é", "", "key"] : [],
      emptyArrayType: random.random.below(4),
    });
    assert.deepEqual(decode(payload), asOtlp(record));
  }
});

describe("mapping", () => {
  test("a span with nothing is its ids, its kind and its times", () => {
    const payload = encodeBincode(span());
    assert.equal(payload.length, 126);
    decode(payload);
    const message = spans.writer.buffer.slice(spans.spanStart(0), spans.spanEnd(0));
    const expected = "1230" + "0a10000102030405060708090a0b0c0d0e0f" + "12080102030405060708" +
      "3001" +
      "390100000000000000" + "410200000000000000";
    assert.equal(Buffer.from(message).toString("hex"), expected);
    assert.equal(spans.scopeStart(0), spans.scopeEnd(0));
    assert.equal(spans.resourceStart(0), spans.resourceEnd(0));
  });

  test("flags: a span's are its trace flags alone, a link's say whether it is remote", () => {
    const link = {
      attributes: [],
      droppedAttributesCount: 0,
      spanId: "1111111111111111",
      traceFlags: 0x81,
      traceId: "22222222222222222222222222222222",
      traceState: "",
    };
    const links = [{ ...link, isRemote: true }, { ...link, isRemote: false }];
    const payload = encodeBincode(span({ traceFlags: 0xff, isRemote: true, links }));
    decode(payload);
    const [field] = readFields(
      spans.writer.buffer.subarray(spans.spanStart(0), spans.spanEnd(0)),
    );
    const fields = readFields(field?.bytes ?? assert.fail());
    const flags = (message: Uint8Array, number: number) =>
      readFields(message).find((candidate) => candidate.number === number)?.value;
    assert.equal(fields.find(({ number }) => number === 16)?.value, 0xffn);
    assert.deepEqual(
      fields.filter(({ number }) => number === 13).map(({ bytes }) => flags(bytes, 6)),
      [0x381n, 0x181n],
    );
  });

  test("values of every type, and the extremes of each", () => {
    const values: ValueRecord[] = [
      { boolValue: false },
      { boolValue: true },
      { stringValue: "" },
      { stringValue: "é人🦀" },
      { doubleValue: "NaN" },
      { doubleValue: "-Infinity" },
      { doubleValue: -0 },
      { doubleValue: 5e-324 },
      { arrayValue: { values: [] } },
    ];
    for (let bits = 0n; bits < 64n; bits++) {
      for (const near of [-1n, 0n, 1n]) {
        values.push({ intValue: String(BigInt.asIntN(64, (1n << bits) + near)) });
        values.push({ intValue: String(BigInt.asIntN(64, -(1n << bits) + near)) });
      }
    }
    const events = values.map((value) => ({
      attributes: [
        { key: "", value },
        {
          key: "array",
          value: "arrayValue" in value ? value : { arrayValue: { values: [value, value] } },
        },
      ],
      droppedAttributesCount: 0,
      name: "",
      timeUnixNano: "0",
    }));
    const record = span({ events });
    assert.deepEqual(decode(encodeBincode(record)), asOtlp(record));
    const negativeZero = decode(encodeBincode(record)).events[6]?.attributes[0]?.value;
    assert.ok(negativeZero !== undefined && "doubleValue" in negativeZero);
    assert.ok(Object.is(negativeZero.doubleValue, -0));
  });

  test("a double keeps its bits, but what JSON has no number for is a string", () => {
    const payload = encodeBincode(
      span({ attributes: [{ key: "k", value: { doubleValue: "NaN" } }] }),
    );
    const value = (...bits: number[]) =>
      decode(patched(payload, AT.attributes + 8 + 8 + 1 + 4, ...bits)).attributes[0]?.value;
    assert.deepEqual(value(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0x7f), { doubleValue: Number.MAX_VALUE });
    assert.deepEqual(value(0, 0, 0, 0, 0, 0, 0, 0x80), { doubleValue: -0 });
    assert.deepEqual(value(0, 0, 0, 0, 0, 0, 0xf0, 0x7f), { stringValue: "Infinity" });
    assert.deepEqual(value(0, 0, 0, 0, 0, 0, 0xf0, 0xff), { stringValue: "-Infinity" });
    for (const bits of [[0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0xf3, 0xff], [1, 0, 0, 0, 0, 0, 0xf0, 0x7f]]) {
      assert.deepEqual(value(...bits), { stringValue: "NaN" });
    }
  });

  test("non-finite doubles are strings everywhere, and the lengths around them fit", () => {
    const values = ["NaN", "Infinity", "-Infinity", 1.5].map((doubleValue) => ({ doubleValue }));
    const attributes = [
      ...values.map((value, i) => ({ key: `k${i}`, value })),
      {
        key: "list",
        value: { arrayValue: { values: Array.from({ length: 40 }, (_, i) => values[i % 4] ?? values[0]!) } },
      },
    ];
    const record = span({
      attributes,
      events: [{ attributes, droppedAttributesCount: 0, name: "e", timeUnixNano: "1" }],
      resource: attributes,
    });
    assert.deepEqual(decode(encodeBincode(record)), asOtlp(record));
  });

  test("a trace or span ID of 0 is refused, but for a link's", () => {
    for (const ids of [{ traceId: "0".repeat(32) }, { spanId: "0".repeat(16) }]) {
      const error = refusal(encodeBincode(span(ids)));
      assert.equal(error.reason, "invalid-value", error.message);
    }
    const link = {
      attributes: [],
      droppedAttributesCount: 0,
      isRemote: false,
      spanId: "0".repeat(16),
      traceFlags: 0,
      traceId: "0".repeat(32),
      traceState: "",
    };
    assert.deepEqual(decode(encodeBincode(span({ links: [link] }))).links, [link]);
  });

  test("every length of text around the steps of a varint and of a copy", () => {
    for (
      const length of [
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        9,
        107,
        ...around(128),
        ...around(16_384),
        ...around(2_097_152),
      ]
    ) {
      const text = "x".repeat(length);
      const record = span({
        name: text,
        attributes: [
          { key: "k", value: { stringValue: text } },
          { key: "l", value: { arrayValue: { values: [{ stringValue: text }] } } },
        ],
        status: { code: 2, message: text },
      });
      assert.deepEqual(decode(encodeBincode(record, { evictList: [] })), asOtlp(record));
    }
  });

  test("a key that comes twice has its last value, in the last place", () => {
    const value = (text: string): ValueRecord => ({ stringValue: text });
    const entries = [["a", "1"], ["b", "2"], ["a", "3"], ["", "4"], ["b", "5"], ["", "6"]] as const;
    const attributes = entries.map(([key, text]) => ({ key, value: value(text) }));
    const left = [{ key: "", value: value("6") }, { key: "a", value: value("3") }, {
      key: "b",
      value: value("5"),
    }];
    const record = decode(encodeBincode(span({ attributes, resource: attributes })));
    assert.deepEqual(record.attributes, left);
    assert.deepEqual(record.resource, left);
    const resource = spans.writer.buffer.subarray(spans.resourceStart(0), spans.resourceEnd(0));
    const order = readFields(readFields(resource)[0]?.bytes ?? assert.fail()).map(({ bytes }) =>
      readFields(bytes).map((field) => Buffer.from(field.bytes).toString()).join("")
    );
    assert.deepEqual(order, ["a\n\x013", "b\n\x015", "\n\x016"]);
  });

  test("an event's attributes may repeat a key", () => {
    const attributes = [{ key: "a", value: { intValue: "1" } }, {
      key: "a",
      value: { intValue: "2" },
    }];
    const event = { attributes, droppedAttributesCount: 0, name: "e", timeUnixNano: "5" };
    assert.deepEqual(decode(encodeBincode(span({ events: [event] }))).events, [event]);
  });
});

function around(limit: number): number[] {
  // With what is in front of a text, several lengths pass the limit at different texts.
  return [-9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1].map((difference) => limit + difference);
}
