import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../src/wire/bincode.ts";
import { WireError } from "../../src/wire/wire-error.ts";
import { encodeBincode } from "./support/bincode-encoder.ts";
import { readBincode } from "./support/bincode-reference.ts";
import { decodeEncodedSpans } from "./support/decode-span.ts";
import { fixture, FIXTURE_FOLDERS, FIXTURES } from "./support/fixtures.ts";
import { readFields } from "./support/protobuf-reader.ts";
import { RandomSpans } from "./support/random-span.ts";
import { asOtlp, asRecorded } from "./support/span-record.ts";
import type { OtlpRecord, SpanRecord, ValueRecord } from "./support/span-record.ts";

const spans = new EncodedSpans();

function decode(payload: Uint8Array): OtlpRecord {
  spans.clear();
  decodeBincode(payload, 0, payload.length, spans);
  const [record, ...more] = decodeEncodedSpans(spans);
  assert.ok(record !== undefined && more.length === 0);
  return record;
}

function refusal(payload: Uint8Array, start = 0, end = payload.length): WireError {
  try {
    spans.clear();
    decodeBincode(payload, start, end, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return error;
  }
  return assert.fail("it was taken");
}

/** A span with nothing in it, and what is to be in it. */
function span(parts: Partial<SpanRecord> = {}): SpanRecord {
  return {
    attributes: [],
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
    endTimeUnixNano: "2",
    events: [],
    isRemote: false,
    kind: 1,
    links: [],
    name: "",
    parentSpanId: "",
    resource: null,
    spanId: "0102030405060708",
    startTimeUnixNano: "1",
    status: { code: 0, message: "" },
    traceFlags: 0,
    traceId: "000102030405060708090a0b0c0d0e0f",
    traceState: "",
    ...parts,
  };
}

/** Where things are in the payload of `span()`. */
const AT = {
  flags: 24,
  isRemote: 25,
  traceState: 26,
  kind: 35,
  nameLength: 39,
  startTime: 47,
  attributes: 71,
  statusCode: 113,
  resource: 125,
} as const;

function patched(payload: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = payload.slice();
  copy.set(bytes, at);
  return copy;
}

describe("recorded payloads", () => {
  for (const folder of FIXTURE_FOLDERS) {
    for (const name of FIXTURES) {
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

  test("a double keeps its bits, those of a NaN too", () => {
    const payload = encodeBincode(
      span({ attributes: [{ key: "k", value: { doubleValue: "NaN" } }] }),
    );
    const bits = [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0xf3, 0xff];
    decode(patched(payload, AT.attributes + 8 + 8 + 1 + 4, ...bits));
    const written = Buffer.from(spans.writer.buffer.subarray(0, spans.writer.position));
    assert.ok(written.includes(Buffer.from([0x21, ...bits])));
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

describe("times", () => {
  function withStart(seconds: bigint, nanoseconds: bigint): Uint8Array {
    const payload = encodeBincode(span());
    const view = new DataView(payload.buffer);
    view.setBigUint64(AT.startTime, seconds, true);
    view.setUint32(AT.startTime + 8, Number(nanoseconds), true);
    return payload;
  }

  test("come out exact, nanoseconds beyond a second included", () => {
    const seconds = [
      0n,
      1n,
      65_535n,
      65_536n,
      1_767_000_000n,
      4_294_967_295n,
      4_294_967_296n,
      18_446_744_069n,
    ];
    const nanoseconds = [0n, 1n, 65_536n, 999_999_999n, 1_000_000_000n, 4_294_967_295n];
    for (const second of seconds) {
      for (const nanosecond of nanoseconds) {
        const record = decode(withStart(second, nanosecond));
        assert.equal(record.startTimeUnixNano, String(second * 1_000_000_000n + nanosecond));
      }
    }
    assert.equal(
      decode(withStart(18_446_744_073n, 709_551_615n)).startTimeUnixNano,
      String((1n << 64n) - 1n),
    );
  });

  test("far beyond 64 bits are refused, as what overflows a SystemTime is", () => {
    for (const seconds of [18_446_744_074n, 5n << 32n, 1n << 63n, (1n << 64n) - 1n]) {
      for (const nanoseconds of [0n, 4_294_967_295n]) {
        const { reason, offset } = refusal(withStart(seconds, nanoseconds));
        assert.deepEqual([reason, offset], ["time-out-of-range", AT.startTime]);
      }
    }
  });

  test("in the last seconds, where seconds and nanoseconds decide together", () => {
    for (let second = 18_446_744_068n; second <= 18_446_744_074n; second++) {
      for (
        const nanosecond of [
          0n,
          709_551_615n,
          709_551_616n,
          3_709_551_615n,
          3_709_551_616n,
          4_294_967_295n,
        ]
      ) {
        const total = second * 1_000_000_000n + nanosecond;
        const payload = withStart(second, nanosecond);
        if (total < 1n << 64n) assert.equal(decode(payload).startTimeUnixNano, String(total));
        else assert.equal(refusal(payload).reason, "time-out-of-range");
      }
    }
  });
});

describe("refusals say why and where", () => {
  const empty = encodeBincode(span());
  const cases: readonly [string, Uint8Array, string, number][] = [
    ["nothing", new Uint8Array(0), "truncated", 0],
    ["a byte after the span", Uint8Array.of(...empty, 0), "trailing-bytes", 126],
    ["is_remote neither 0 nor 1", patched(empty, AT.isRemote, 2), "invalid-tag", AT.isRemote],
    ["a tag of an Option", patched(empty, AT.traceState, 0xff), "invalid-tag", AT.traceState],
    ["a span kind too many", patched(empty, AT.kind, 5), "invalid-tag", AT.kind],
    ["a span kind of four bytes", patched(empty, AT.kind, 0, 0, 0, 0x80), "invalid-tag", AT.kind],
    ["a status code too many", patched(empty, AT.statusCode, 3), "invalid-tag", AT.statusCode],
    ["a resource's tag", patched(empty, AT.resource, 2), "invalid-tag", AT.resource],
    [
      "a name longer than the payload",
      patched(empty, AT.nameLength, 80),
      "truncated",
      AT.nameLength,
    ],
    [
      "a name of 2^63 bytes",
      patched(empty, AT.nameLength, 0, 0, 0, 0, 0, 0, 0, 0x80),
      "truncated",
      AT.nameLength,
    ],
    [
      "a value's variant",
      patched(
        encodeBincode(span({ attributes: [{ key: "k", value: { boolValue: true } }] })),
        AT.attributes + 17,
        5,
      ),
      "invalid-tag",
      AT.attributes + 17,
    ],
    [
      "an array of arrays",
      patched(
        encodeBincode(span({ attributes: [{ key: "k", value: { arrayValue: { values: [] } } }] })),
        AT.attributes + 21,
        4,
      ),
      "invalid-tag",
      AT.attributes + 21,
    ],
    [
      "a name that is no UTF-8",
      patched(encodeBincode(span({ name: "abcdefgh" })), AT.nameLength + 8 + 5, 0xc3),
      "invalid-utf8",
      AT.nameLength + 8 + 5,
    ],
    [
      "an evicted key that is no UTF-8",
      patched(encodeBincode(span(), { evictList: ["abc"] }), AT.attributes + 8 + 16 + 2, 0x80),
      "invalid-utf8",
      AT.attributes + 8 + 16 + 2,
    ],
  ];
  for (const [name, payload, reason, offset] of cases) {
    test(name, () => {
      const error = refusal(payload);
      assert.deepEqual([error.reason, error.offset], [reason, offset]);
      assert.ok(error.message.endsWith(` at byte ${offset}`), error.message);
    });
  }

  test("offsets count from the payload's first byte", () => {
    const around = new Uint8Array(300);
    around.set(patched(empty, AT.kind, 9), 100);
    assert.equal(refusal(around, 100, 226).offset, AT.kind);
  });

  test("a payload is not read beyond its end, though the chunk goes on", () => {
    for (let end = 0; end < empty.length; end++) {
      assert.equal(refusal(empty, 0, end).reason, "truncated");
    }
  });

  test("after a refusal the next payload comes out whole", () => {
    const random = new RandomSpans(5);
    for (let i = 0; i < 200; i++) {
      const record = random.span();
      const payload = encodeBincode(record);
      refusal(payload.subarray(0, random.random.below(payload.length)));
      assert.deepEqual(decode(payload), asOtlp(record));
    }
  });
});

describe("large payloads", () => {
  const MIB = 1024 * 1024;

  test("whatever grows most fits the room made for it", () => {
    const array = (values: ValueRecord[]) => [{ key: "a", value: { arrayValue: { values } } }];
    const many = (count: number, value: ValueRecord) => Array.from({ length: count }, () => value);
    const grow: SpanRecord[] = [
      span({ attributes: array(many(200_000, { boolValue: true })) }),
      span({ attributes: array(many(50_000, { intValue: "-1" })) }),
      span({ attributes: array(many(50_000, { doubleValue: 1 })) }),
      span({ attributes: array(many(50_000, { stringValue: "" })) }),
      span({
        links: Array.from({ length: 10_000 }, () => ({
          attributes: [],
          droppedAttributesCount: 0xffff_ffff,
          isRemote: true,
          spanId: "ffffffffffffffff",
          traceFlags: 255,
          traceId: "f".repeat(32),
          traceState: "",
        })),
      }),
      span({
        events: Array.from({ length: 10_000 }, () => ({
          attributes: [],
          droppedAttributesCount: 0xffff_ffff,
          name: "",
          timeUnixNano: "1",
        })),
      }),
      span({ traceState: Array.from({ length: 10_000 }, () => "=").join(",") }),
    ];
    for (const record of grow) {
      // A fresh writer: its buffer is no larger than what is made room for.
      const fresh = new EncodedSpans();
      const payload = encodeBincode(record, { evictList: [] });
      decodeBincode(payload, 0, payload.length, fresh);
      assert.deepEqual(decodeEncodedSpans(fresh), [asOtlp(record)]);
    }
  });

  test("250,000 attributes in 4 MiB, all keys different", () => {
    const attributes = Array.from({ length: 250_000 }, (_, i) => ({
      key: String.fromCharCode(97 + (i >> 12), 48 + ((i >> 6) & 63), 48 + (i & 63)),
      value: { boolValue: i % 3 === 0 },
    }));
    const record = span({ attributes });
    const payload = encodeBincode(record, { evictList: [] });
    assert.ok(payload.length > 3.8 * MIB && payload.length < 4 * MIB);
    assert.deepEqual(decode(payload), asOtlp(record));
  });

  test("the same key 300,000 times", () => {
    const attributes = Array.from({ length: 300_000 }, (_, i) => ({
      key: "",
      value: { intValue: String(i) },
    }));
    const payload = encodeBincode(span({ attributes }), { evictList: [] });
    assert.deepEqual(decode(payload).attributes, [{ key: "", value: { intValue: "299999" } }]);
  });
});
