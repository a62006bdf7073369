import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { AT, decode, patched, refusal, span } from "../support/bincode-decode.ts";
import { encodeBincode } from "../support/bincode-encoder.ts";
import { decodeEncodedSpans } from "../support/decode-span.ts";
import { RandomSpans } from "../support/random-span.ts";
import { asOtlp } from "../support/span-record.ts";
import type { SpanRecord, ValueRecord } from "../support/span-record.ts";

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

test("a span that becomes much larger in OTLP than its payload is refused", () => {
  const bools = (count: number): SpanRecord =>
    span({
      attributes: [{
        key: "k",
        value: { arrayValue: { values: Array.from({ length: count }, () => ({ boolValue: true })) } },
      }],
    });
  // A bool takes one byte in the payload, and three more in OTLP.
  assert.equal(decode(encodeBincode(bools(349_000))).attributes.length, 1);
  assert.equal(refusal(encodeBincode(bools(350_000))).reason, "too-large");
});
