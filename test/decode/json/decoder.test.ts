import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { decodeJson } from "../../../src/decode/json/decoder.ts";
import { type InvalidReason, WireError } from "../../../src/decode/wire-error.ts";
import { encodeBincode } from "../support/bincode-encoder.ts";
import { readBincode } from "../support/bincode-reference.ts";
import { decodeEncodedSpans } from "../support/decode-span.ts";
import { fixture, FIXTURE_FOLDERS, FIXTURES_IN } from "../support/fixtures.ts";
import { encodeJson } from "../support/json-encoder.ts";
import { Random } from "../support/random.ts";
import { RandomSpans } from "../support/random-span.ts";
import { asOtlp, asRecorded } from "../support/span-record.ts";
import type { OtlpRecord, SpanRecord, ValueRecord } from "../support/span-record.ts";

/** For what takes a second or so: a busy machine takes many. Milliseconds. */
const SLOW = { timeout: 60_000 };

const spans = new EncodedSpans();

function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === "string" ? new TextEncoder().encode(text) : text;
}

function decode(text: string | Uint8Array): OtlpRecord {
  const payload = bytesOf(text);
  spans.clear();
  decodeJson(payload, 0, payload.length, spans);
  const [record, ...more] = decodeEncodedSpans(spans);
  assert.ok(record !== undefined && more.length === 0);
  return record;
}

function refusal(text: string | Uint8Array): WireError {
  const payload = bytesOf(text);
  spans.clear();
  try {
    decodeJson(payload, 0, payload.length, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return error;
  }
  return assert.fail(`it was taken: ${text}`);
}

function refuses(text: string | Uint8Array, reason: InvalidReason, offset?: number): void {
  const error = refusal(text);
  assert.equal(error.reason, reason, `${error.message}: ${text}`);
  if (offset !== undefined) assert.equal(error.offset, offset, error.message);
}

/** The bytes that a payload became: its span's and its resource's. */
function encoded(text: Uint8Array, decoder: typeof decodeJson): [string, string] {
  spans.clear();
  decoder(text, 0, text.length, spans);
  assert.equal(spans.count, 1);
  const hex = (start: number, end: number) => Buffer.from(spans.writer.buffer.subarray(start, end)).toString("hex");
  return [
    hex(spans.spanStart(0), spans.spanEnd(0)),
    hex(spans.resourceStart(0), spans.resourceEnd(0)),
  ];
}

const CONTEXT = '{"trace_id":1,"span_id":2,"trace_flags":0,"is_remote":false,"trace_state":null}';
const TIME = '{"secs_since_epoch":0,"nanos_since_epoch":1}';

/** The members of a span with nothing in it, in the order of their declaration. */
const MEMBERS: Readonly<Record<string, string>> = {
  span_context: CONTEXT,
  parent_span_id: "0",
  span_kind: '"Internal"',
  name: '""',
  start_time: TIME,
  end_time: TIME,
  attributes: '{"map":{},"evict_list":[],"max_len":128,"dropped_count":0}',
  events: '{"queue":null,"max_len":128,"dropped_count":0}',
  links: '{"queue":null,"max_len":128,"dropped_count":0}',
  status_code: '"Unset"',
  status_message: '""',
  resource: "null",
};

function json(members: Readonly<Record<string, string>>): string {
  return `{${Object.entries(members).map(([name, value]) => `"${name}":${value}`).join(",")}}`;
}

/** A span's JSON with some members of another value. */
function span(members: Readonly<Record<string, string>> = {}): string {
  return json({ ...MEMBERS, ...members });
}

function withAttribute(value: string): string {
  return span({
    attributes: `{"map":{"key":${value}},"evict_list":[],"max_len":128,"dropped_count":0}`,
  });
}

/** What an attribute with that JSON comes out as. */
function attribute(value: string): ValueRecord {
  const [first, ...more] = decode(withAttribute(value)).attributes;
  assert.ok(first !== undefined && more.length === 0);
  assert.equal(first.key, "key");
  return first.value;
}

describe("recorded payloads", () => {
  for (const folder of FIXTURE_FOLDERS) {
    for (const name of FIXTURES_IN[folder]) {
      test(`${folder}/${name} means what the crates say`, () => {
        const { json, expected } = fixture(name, folder);
        assert.ok(json.length > 0 && json.length === expected.length);
        json.forEach((payload, i) => {
          const record = expected[i] as SpanRecord;
          assert.deepEqual(asRecorded(decode(payload), record), asOtlp(asJson(record)));
        });
      });

      test(`${folder}/${name} gives the bytes that bincode gives`, () => {
        const { bincode, json } = fixture(name, folder);
        bincode.forEach((payload, i) => {
          // A HashMap has another order each time it is written, so the bincode is written again in JSON's order.
          const [fromJson, resource] = encoded(json[i] as Uint8Array, decodeJson);
          const record = readBincode(payload).record;
          const order = Object.keys(
            JSON.parse(Buffer.from(json[i] as Uint8Array).toString())
              .attributes.map,
          );
          record.attributes.sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key));
          const again = encodeBincode(asJson(record));
          assert.deepEqual(encoded(again, decodeBincode), [fromJson, resource]);
        });
      });
    }
  }

  test("the same bytes come out wherever the payload lies, and from a Buffer", () => {
    for (const payload of fixture("random").json.slice(0, 50)) {
      const alone = encoded(payload, decodeJson);
      const around = Buffer.alloc(payload.length + 40, "9");
      around.set(payload, 17);
      spans.clear();
      decodeJson(around, 17, 17 + payload.length, spans);
      const { buffer } = spans.writer;
      const again = Buffer.from(buffer.subarray(spans.spanStart(0), spans.spanEnd(0)));
      assert.equal(again.toString("hex"), alone[0]);
    }
  });
});

/** The record without what JSON cannot say: it has one word, null, for all doubles that are not finite. */
function asJson(record: SpanRecord): SpanRecord {
  const text = JSON.stringify(record, (_, value) => Object.is(value, -0) ? "-0" : value);
  return JSON.parse(
    text.replace(/"doubleValue":"-?Infinity"/g, '"doubleValue":"NaN"'),
    (key, value) => key === "doubleValue" && value === "-0" ? -0 : value,
  ) as SpanRecord;
}

describe("random spans", () => {
  test("as agents write them give the bytes that bincode gives", SLOW, () => {
    const made = new RandomSpans(11, { nonFinite: false });
    for (let i = 0; i < 1_500; i++) {
      const record = made.span();
      const payload = encodeJson(record);
      assert.deepEqual(decode(payload), asOtlp(record));
      assert.deepEqual(
        encoded(payload, decodeJson),
        encoded(encodeBincode(record), decodeBincode),
      );
    }
  });

  test("in every other way that serde_json takes give them too", SLOW, () => {
    const made = new RandomSpans(12, { nonFinite: false });
    const vary = new Random(13);
    for (let i = 0; i < 1_500; i++) {
      const record = made.span();
      const payload = encodeJson(record, { vary });
      assert.deepEqual(
        encoded(payload, decodeJson),
        encoded(encodeBincode(record), decodeBincode),
        Buffer.from(payload).toString(),
      );
    }
  });
});

describe("integers", () => {
  const context = (members: Record<string, string>) =>
    span({
      span_context: json({ ...(JSON.parse(CONTEXT) as object), trace_state: "null", ...members }),
    });

  for (
    const [text, hex] of [
      ["1", "1".padStart(32, "0")],
      ["999999999", "3b9ac9ff".padStart(32, "0")],
      ["1000000000", "3b9aca00".padStart(32, "0")],
      ["18446744073709551615", "f".repeat(16).padStart(32, "0")],
      ["18446744073709551616", `1${"0".repeat(16)}`.padStart(32, "0")],
      ["79228162514264337593543950335", "f".repeat(24).padStart(32, "0")],
      ["79228162514264337593543950336", `1${"0".repeat(24)}`.padStart(32, "0")],
      ["340282366920938463463374607431768211455", "f".repeat(32)],
    ] as const
  ) {
    test(`a trace id of ${text}`, () => {
      assert.equal(decode(context({ trace_id: text })).traceId, hex);
    });
  }

  test("a trace or span ID of 0 is refused, but for a link's", () => {
    refuses(context({ trace_id: "0" }), "invalid-value");
    refuses(context({ span_id: "0" }), "invalid-value");
    const zeros = CONTEXT.replace('"trace_id":1,"span_id":2', '"trace_id":0,"span_id":0');
    const links = `{"queue":[{"span_context":${zeros},"attributes":[],"dropped_attributes_count":0}],` +
      '"max_len":128,"dropped_count":0}';
    assert.deepEqual(decode(span({ links })).links.map(({ traceId, spanId }) => [traceId, spanId]), [
      ["0".repeat(32), "0".repeat(16)],
    ]);
  });

  test("trace and span ids of every length", SLOW, () => {
    const random = new Random(5);
    for (let bits = 1n; bits <= 128n; bits++) {
      for (let i = 0; i < 8; i++) {
        const id = ((random.uint64() << 64n) | random.uint64() | (1n << 127n)) >> (128n - bits);
        const traceId = id.toString(16).padStart(32, "0");
        assert.equal(decode(context({ trace_id: String(id) })).traceId, traceId);
        if (bits > 64n) continue;
        const record = decode(context({ span_id: String(id) }));
        assert.equal(record.spanId, id.toString(16).padStart(16, "0"));
      }
    }
  });

  for (
    const [member, texts] of [
      ["trace_id", [
        "340282366920938463463374607431768211456",
        "999999999999999999999999999999999999999",
        "1000000000000000000000000000000000000000",
        "-1",
        "-0",
        "1.0",
        "1e3",
        "00",
        "01",
        '"1"',
        "null",
        "",
      ]],
      ["span_id", [
        "18446744073709551616",
        "18446744074000000000",
        "99999999999999999999",
        "100000000000000000000",
        "-1",
        "-0",
        "0.0",
        "1E0",
        "007",
        "[1]",
      ]],
      ["trace_flags", ["256", "-1", "1.5", "true", "1000000000000", "00"]],
    ] as const
  ) {
    for (const text of texts) {
      test(`a ${member} of ${text || "nothing"} is refused`, () => {
        refuses(context({ [member]: text }), "invalid-value");
      });
    }
  }

  test("i64 at its ends, beyond 2^53, and around each power of ten", () => {
    const values = [-(1n << 63n), (1n << 63n) - 1n, (1n << 53n) + 1n, -(1n << 53n) - 1n, 0n, -1n];
    for (let power = 1n; power < 10n ** 19n; power *= 10n) {
      for (const value of [power - 1n, power, power + 1n]) values.push(value, -value);
    }
    for (const value of values) {
      if (BigInt.asIntN(64, value) !== value) continue;
      assert.deepEqual(attribute(`{"I64":${value}}`), { intValue: String(value) });
    }
  });

  for (
    const text of [
      "9223372036854775808",
      "-9223372036854775809",
      "-18446744073709551615",
      "18446744073709551615",
      "-0",
      "- 1",
      "--1",
      "+1",
      "1.0",
      "1e1",
      "-",
      "01",
      "-01",
      "null",
      "true",
    ]
  ) {
    test(`an i64 of ${text} is refused`, () => {
      refuses(withAttribute(`{"I64":${text}}`), "invalid-value");
    });
  }

  test("u32 at its ends, and beyond", () => {
    const events = (count: string) => span({ events: `{"queue":[],"max_len":0,"dropped_count":${count}}` });
    assert.equal(decode(events("4294967295")).droppedEventsCount, 4_294_967_295);
    for (const count of ["4294967296", "10000000000", "-1", "1.0"]) {
      refuses(events(count), "invalid-value");
      refuses(
        span({ links: `{"queue":[],"max_len":${count},"dropped_count":0}` }),
        "invalid-value",
      );
    }
  });

  test("a number that stops being an integer is refused wherever its member stands", () => {
    const last = { ...MEMBERS } as Record<string, string>;
    delete last["parent_span_id"];
    refuses(json({ parent_span_id: "1.5", ...last }), "invalid-value");
    refuses(json({ ...last, parent_span_id: "1e5" }), "invalid-value");
  });
});

describe("integers of an array", () => {
  const array = (text: string) => `{"Array":{"I64":[${text}]}}`;

  test("of any number of digits", () => {
    const values = [];
    for (let power = 1n; power < 1n << 63n; power *= 2n) {
      values.push(power - 1n, power, power + 1n, -power, -power - 1n);
    }
    for (let power = 1n; power < 10n ** 18n; power *= 10n) values.push(power - 1n, power, 1n - power, -power);
    const expected = { arrayValue: { values: values.map((value) => ({ intValue: String(value) })) } };
    for (const separator of [",", " ,", ",\n", "\t,\r"]) {
      assert.deepEqual(attribute(array(`${values.join(separator)} `)), expected);
    }
  });

  test("that are none are refused", () => {
    for (
      const text of ["-0", "00", "01", "-01", "-", "1.0", "1e1", "1-", "1a", "1;", "- 1", "1 1", '"1"', "9".repeat(19)]
    ) {
      refuses(withAttribute(array(text)), "invalid-value");
      refuses(withAttribute(array(`1,${text},1`)), "invalid-value");
    }
  });
});

describe("doubles", () => {
  for (
    const [text, value] of [
      ["0.0", 0],
      ["-0.0", -0],
      ["-0", -0],
      ["0", 0],
      ["-0e5", -0],
      ["0e999", 0],
      ["1", 1],
      ["-17", -17],
      ["0.1", 0.1],
      ["0.30000000000000004", 0.30000000000000004],
      ["123456789012345.6", 123456789012345.6],
      ["1e251", 1e251],
      ["-5e-320", -5e-320],
      ["1e-999", 0],
      ["1e22", 1e22],
      ["1e23", 1e23],
      ["9007199254740993", 9007199254740992],
      ["9007199254740993.0000000000000000000000000000000000000000000001", 9007199254740994],
      ["18446744073709551616", 18446744073709551616],
      ["123456789012345678901234567890", 123456789012345678901234567890],
      ["5e-324", 5e-324],
      ["2.4703282292062327e-324", 0],
      ["2.4703282292062328e-324", 5e-324],
      ["1.7976931348623157e308", Number.MAX_VALUE],
      ["1.7976931348623158e+308", Number.MAX_VALUE],
      ["1E-7", 1e-7],
      ["0.000000000000000000000012345", 1.2345e-23],
      ["1e-99999999999999999999", 0],
      ["-1e-400", -0],
    ] as const
  ) {
    test(text, () => {
      assert.deepEqual(attribute(`{"F64":${text}}`), { doubleValue: value });
      assert.deepEqual(attribute(`{"Array":{"F64":[${text}]}}`), {
        arrayValue: { values: [{ doubleValue: value }] },
      });
    });
  }

  test("any double, as JavaScript writes it", SLOW, () => {
    const random = new Random(21);
    const double = new Float64Array(1);
    const bits = new BigUint64Array(double.buffer);
    for (let i = 0; i < 5_000; i++) {
      bits[0] = random.uint64();
      const value = double[0] as number;
      if (!Number.isFinite(value)) continue;
      const texts = [String(value), value.toExponential(20), value.toPrecision(7)];
      // Few digits and a small exponent, which take another way.
      const exponent = random.pick(["e", "E+", "e-", "e-0", "e00"]) + random.below(50);
      texts.push(
        `${(value % 1e6).toPrecision(1 + random.below(15)).replace(/e.*/, "")}${exponent}`,
      );
      for (const text of texts) {
        assert.deepEqual(attribute(`{"F64":${text}}`), { doubleValue: Number(text) });
      }
    }
  });

  test("of more than 19 digits, only a few and one for 64 bytes", () => {
    const array = (count: number, digits: number) =>
      withAttribute(`{"Array":{"F64":[${Array(count).fill("1".repeat(digits)).join(",")}]}}`);
    assert.equal(decode(array(32, 20)).attributes.length, 1);
    assert.equal(decode(array(1000, 19)).attributes.length, 1);
    assert.equal(decode(array(1000, 65)).attributes.length, 1);
    refuses(array(1000, 20), "too-large");
    // Those of one payload do not count for the next.
    assert.equal(decode(array(32, 20)).attributes.length, 1);
  });

  test('null, which serde_json writes for what is not finite, is the string "NaN"', () => {
    assert.deepEqual(attribute('{"F64":null}'), { stringValue: "NaN" });
    assert.deepEqual(attribute('{"Array":{"F64":[1.5,null, null ]}}'), {
      arrayValue: {
        values: [{ doubleValue: 1.5 }, { stringValue: "NaN" }, { stringValue: "NaN" }],
      },
    });
  });

  for (
    const text of [
      "1e999",
      "-1e999",
      "1.7976931348623159e308",
      "1e99999999999999999999",
      "1.",
      ".5",
      "01.5",
      "1e",
      "1e+",
      "1.e5",
      "NaN",
      "Infinity",
      "-Infinity",
      "0x10",
      '"1"',
      "-null",
    ]
  ) {
    test(`${text} is refused`, () => {
      refuses(withAttribute(`{"F64":${text}}`), "invalid-value");
      refuses(withAttribute(`{"Array":{"F64":[${text}]}}`), "invalid-value");
    });
  }
});

describe("strings", () => {
  const name = (text: string | Uint8Array) => {
    const [before, after] = span({ name: '"|"' }).split("|") as [string, string];
    return new Uint8Array(Buffer.concat([bytesOf(before), bytesOf(text), bytesOf(after)]));
  };

  test("every escape", () => {
    assert.equal(decode(name('\\"\\\\\\/\\b\\f\\n\\r\\t')).name, '"\\/\b\f\n\r\t');
    assert.equal(
      decode(name("\\u0000\\u001F\\u007f\\u0080\\u07ff\\u0800\\uFFFF\\ufeff")).name,
      "\0\x1f\x7f\x80\u07ff\u0800\uffff\ufeff",
    );
    assert.equal(
      decode(name("\\ud83e\\uDD80\\uD800\\udc00\\udBFF\\udfff")).name,
      "🦀\u{10000}\u{10ffff}",
    );
    assert.equal(decode(name("a\\u0062c\\n\\n\\u0064")).name, "abc\n\nd");
  });

  test("every code point, as it is and escaped", SLOW, () => {
    for (let first = 0x20; first < 0x11_0000; first += 0x400) {
      let text = "";
      let escaped = "";
      for (let point = first; point < first + 0x400; point += 0x11) {
        if ((point >= 0xd800 && point <= 0xdfff) || point > 0x10ffff) continue;
        const character = String.fromCodePoint(point);
        text += character;
        for (let i = 0; i < character.length; i++) {
          escaped += `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
        }
      }
      assert.equal(decode(name(JSON.stringify(text).slice(1, -1))).name, text);
      assert.equal(decode(name(escaped)).name, text);
    }
  });

  test("each length, each position of what is special", SLOW, () => {
    for (let length = 0; length < 40; length++) {
      for (let at = 0; at < length; at++) {
        for (const special of ["é", "🦀", "\\n", "\\u00e9", "\x7f"]) {
          const text = "x".repeat(at) + special + "x".repeat(length - at - 1);
          assert.equal(decode(name(text)).name, JSON.parse(`"${text}"`));
        }
      }
    }
    for (const length of [126, 127, 128, 129, 16_383, 16_384, 2_100_000]) {
      assert.equal(decode(name("y".repeat(length))).name.length, length);
    }
  });

  for (
    const [text, reason] of [
      ["\\ud83e", "invalid-value"],
      ["\\udd80", "invalid-value"],
      ["\\udd80\\ud83e", "invalid-value"],
      ["\\ud83e\\ud83e", "invalid-value"],
      ["\\ud83e\\u0041", "invalid-value"],
      ["\\ud83ex", "invalid-value"],
      ["\\ud83e\\n", "invalid-value"],
      ["\\u12", "invalid-value"],
      ["\\u12g4", "invalid-value"],
      ["\\u 123", "invalid-value"],
      ["\\U0041", "invalid-value"],
      ["\\x41", "invalid-value"],
      ["\\'", "invalid-value"],
      ["\\0", "invalid-value"],
      ["\0", "invalid-value"],
      ["\n", "invalid-value"],
      ["\x1f", "invalid-value"],
    ] as const
  ) {
    test(`${JSON.stringify(text)} is refused`, () => {
      refuses(name(text), reason);
      refuses(name(`é${text}`), reason);
    });
  }

  for (
    const hex of [
      "80",
      "c3",
      "c328",
      "c080",
      "e28228",
      "eda080",
      "f0288cbc",
      "f4908080",
      "f5",
      "ff",
    ]
  ) {
    test(`bytes ${hex} are no UTF-8`, () => {
      const bytes = Buffer.from(hex, "hex");
      refuses(name(bytes), "invalid-utf8");
      refuses(name(Buffer.concat([bytes, bytesOf("\\u0041")])), "invalid-utf8");
      refuses(name(Buffer.concat([bytesOf("plain text and "), bytes])), "invalid-utf8");
    });
  }

  test("an escape does not complete bytes that are cut", () => {
    refuses(name(Buffer.concat([Uint8Array.of(0xc3), bytesOf("\\u00a9")])), "invalid-utf8");
    refuses(
      name(Buffer.concat([Uint8Array.of(0xc3), bytesOf("\\n"), Uint8Array.of(0xa9)])),
      "invalid-utf8",
    );
  });

  test("are checked in the eviction list too", () => {
    const list = (text: string) =>
      span({ attributes: `{"map":{},"evict_list":${text},"max_len":1,"dropped_count":0}` });
    assert.deepEqual(decode(list('["a","\\n"]')).attributes, []);
    refuses(list('["\\ud800"]'), "invalid-value");
    refuses(list("[1]"), "invalid-value");
    refuses(list("null"), "invalid-value");
  });
});

describe("times", () => {
  const start = (seconds: string | bigint, nanos: string | bigint) =>
    span({ start_time: `{"secs_since_epoch":${seconds},"nanos_since_epoch":${nanos}}` });

  test("in 64 bits of nanoseconds, and carried over as SystemTime carries them", SLOW, () => {
    for (
      const [seconds, nanos, expected] of [
        ["0", "0", "0"],
        ["1767000000", "636485099", "1767000000636485099"],
        ["4", "294967295", "4294967295"],
        ["4", "294967296", "4294967296"],
        ["0", "4294967295", "4294967295"],
        ["1", "1000000000", "2000000000"],
        ["18446744073", "709551615", "18446744073709551615"],
        ["18446744072", "1709551615", "18446744073709551615"],
        ["18446744069", "4294967295", "18446744073294967295"],
      ] as const
    ) {
      assert.equal(decode(start(seconds, nanos)).startTimeUnixNano, expected);
    }
    const random = new Random(33);
    for (let i = 0; i < 2_000; i++) {
      const time = random.uint64() >> BigInt(random.below(40));
      const text = start(time / 1_000_000_000n, time % 1_000_000_000n);
      assert.equal(decode(text).startTimeUnixNano, String(time));
    }
  });

  test("beyond that are out of range", () => {
    for (
      const [seconds, nanos] of [
        ["18446744073", "709551616"],
        ["18446744074", "0"],
        ["18446744072", "1709551616"],
        ["18446744070", "4294967295"],
        ["4294967296000000000", "0"],
        ["9223372036854775807", "0"],
        ["18446744073709551615", "0"],
        ["18446744073709551615", "4294967295"],
      ] as const
    ) refuses(start(seconds, nanos), "time-out-of-range");
  });

  test("have these members and no others", () => {
    refuses(start("18446744073709551616", "0"), "invalid-value");
    refuses(start("1", "4294967296"), "invalid-value");
    refuses(span({ end_time: '{"secs_since_epoch":1}' }), "missing-field");
    refuses(span({ end_time: "{}" }), "missing-field");
    const members = '"secs_since_epoch":1,"nanos_since_epoch":2';
    refuses(span({ end_time: `{${members},"picos":3}` }), "invalid-value");
    refuses(span({ end_time: `{"picos":3,${members}}` }), "invalid-value");
    refuses(span({ end_time: `{${members},${members}}` }), "duplicate-field");
    const exchanged = '{"nanos_since_epoch":2,"secs_since_epoch":1}';
    assert.equal(decode(span({ end_time: exchanged })).endTimeUnixNano, "1000000002");
    assert.equal(decode(span({ end_time: "[1,2]" })).endTimeUnixNano, "1000000002");
  });
});

describe("members", () => {
  const expected = decode(span());

  test("in any order", () => {
    const random = new Random(44);
    for (let i = 0; i < 200; i++) {
      const entries = Object.entries(MEMBERS).map((entry) => ({ entry, key: random.uint32() }));
      entries.sort((a, b) => a.key - b.key);
      const text = json(Object.fromEntries(entries.map(({ entry }) => entry)));
      assert.deepEqual(decode(text), expected, text);
    }
  });

  test("in the wrong order at every level, and with others between them", () => {
    const reversed = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(reversed);
      if (typeof value !== "object" || value === null) return value;
      const members = Object.entries(value).reverse().map(([name, member]) => [name, reversed(member)]);
      // A variant has nothing but its value, and a time may have no other members.
      const isOpen = members.length > 1 && !("secs_since_epoch" in value);
      return Object.fromEntries(isOpen ? [...members, ["unknown", { list: [[], {}, [{}]] }]] : members);
    };
    const context = { trace_id: 1, span_id: 2, trace_flags: 1, is_remote: true, trace_state: [["a", "b"]] };
    const attributes = [{ key: "k", value: { Array: { String: ["é", "", "n".repeat(126)] } } }];
    const event = {
      name: "e",
      timestamp: { secs_since_epoch: 1, nanos_since_epoch: 2 },
      attributes,
      dropped_attributes_count: 3,
    };
    const queue = (element: unknown) => ({ queue: [element, element], max_len: 128, dropped_count: 4 });
    const members = {
      ...JSON.parse(span()) as object,
      span_context: context,
      events: queue(event),
      links: queue({ span_context: context, attributes, dropped_attributes_count: 5 }),
    };
    const text = JSON.stringify(reversed(members));
    assert.deepEqual(decode(text), decode(JSON.stringify(members)), text);
  });

  for (const missing of Object.keys(MEMBERS)) {
    test(`without ${missing}`, () => {
      const rest = Object.fromEntries(Object.entries(MEMBERS).filter(([name]) => name !== missing));
      // serde takes a member that is an `Option` for absent.
      if (missing === "resource") assert.deepEqual(decode(json(rest)), expected);
      else refuses(json(rest), "missing-field");
    });

    test(`${missing} twice`, () => {
      const twice = `"${missing}":${MEMBERS[missing]}`;
      const text = span();
      const start = text.indexOf(twice);
      refuses(`${text.slice(0, -1)},${twice}}`, "duplicate-field", text.length);
      refuses(`${text.slice(0, start)}${twice},${text.slice(start)}`, "duplicate-field");
      refuses(`{${twice},${text.slice(1)}`, "duplicate-field");
    });
  }

  test("that are unknown are skipped", () => {
    for (
      const value of [
        "null",
        "-1.5E+3",
        "1e999",
        '"\\ud800 \xff"',
        '[[],[1,{"a":{}}],"]"]',
        '{"span_context":{"}":[]}}',
        `${"[".repeat(128)}${"]".repeat(128)}`,
      ]
    ) {
      const text = span();
      assert.deepEqual(decode(`${text.slice(0, -1)},"later":${value}}`), expected);
      assert.deepEqual(decode(`{"earlier": ${value} ,${text.slice(1)}`), expected);
      assert.deepEqual(decode(text.replace(',"name":', `,"":${value},"name":`)), expected);
    }
  });

  test("that are unknown are well-formed", SLOW, () => {
    for (
      const value of [
        "",
        "nul",
        "truefalse",
        "01",
        "1.",
        "[1,]",
        "[,1]",
        "[1 2]",
        '{"a"}',
        '{"a":1,}',
        "{1:2}",
        '"\\q"',
        '"\\u00g0"',
        '"\n"',
        "[}",
        "]",
      ]
    ) {
      refuses(`{"earlier":${value},${span().slice(1)}`, "invalid-value");
    }
    const deep = `${"[".repeat(129)}${"]".repeat(129)}`;
    refuses(`{"earlier":${deep},${span().slice(1)}`, "too-deep");
    refuses(`{"earlier":${'[{"a":'.repeat(2_000_000)}`, "too-deep");
  });

  test("with white space around everything", () => {
    const text = span({ trace_state: "[]", resource: '{"attrs":{"a":{"Array":{"I64":[1,2]}}}}' });
    const spaced = ` \n${text.replace(/[{}[\]:,]/g, " \r\n\t$& ")}\t`;
    assert.deepEqual(decode(spaced), decode(text));
    for (const other of ["\v", "\f", "\xa0", "\ufeff", "\0"]) {
      assert.equal(refusal(`${other}${text}`).offset, 0);
      refuses(text.replace(',"name"', `,${other}"name"`), "invalid-value");
      refuses(`${text}${other}`, "trailing-bytes", text.length);
    }
  });

  test("as an array of values", () => {
    assert.deepEqual(decode(`[${Object.values(MEMBERS).join(",")}]`), expected);
    const all = Object.values(MEMBERS);
    refuses(`[${all.slice(0, -1).join(",")}]`, "missing-field");
    refuses(`[${[...all, "null"].join(",")}]`, "invalid-value");
    refuses("[]", "missing-field");
    refuses(span({ start_time: "[1]" }), "missing-field");
    refuses(span({ start_time: '[1,"nanos_since_epoch":2]' }), "invalid-value");
    refuses(span({ start_time: "[1,2,]" }), "invalid-value");
    assert.deepEqual(
      decode(span({ span_context: "[1,2,0,false,null]", resource: "[{}]" })),
      expected,
    );
  });

  test("queues may be null, empty or absent", () => {
    for (const events of ['{"queue":[],"max_len":1,"dropped_count":0}', "[null,1,0]", "[[],1,0]"]) {
      assert.deepEqual(decode(span({ events, links: events })), expected);
    }
    assert.deepEqual(decode(span({ events: '{"max_len":1,"dropped_count":0}' })), expected);
    // What follows a struct is not taken for its members.
    const { events: _, ...others } = MEMBERS;
    for (const usual of ['"max_len":128,"dropped_count":0', '"max_len":9,"dropped_count":9']) {
      const text = json({ ...others, events: '{"dropped_count":5,"max_len":1}' });
      const record = decode(`${text.slice(0, -1)},${usual}}`);
      assert.deepEqual(record, { ...expected, droppedEventsCount: 5 });
    }
    refuses(span({ events: "null" }), "invalid-value");
    refuses(span({ events: "[null,1]" }), "missing-field");
    refuses(span({ events: "[1,0]" }), "invalid-value");
    // What agents write between the members of an object is nothing that an array may have.
    refuses(span({ events: '[null,"max_len":128,"dropped_count":0}' }), "invalid-value");
    refuses(span({ events: "[null,1,0,0]" }), "invalid-value");
  });

  test("something else than an object is no span", () => {
    for (const text of ["null", "1", '"span"', "true", "}", "{,}", '{"a" 1}']) {
      refuses(text, "invalid-value");
    }
    refuses("{}", "missing-field");
    refuses("", "truncated");
    refuses("  ", "truncated");
    refuses(`${span()}{}`, "trailing-bytes", span().length);
  });
});

describe("enums", () => {
  test("by their names, and as objects without a value", () => {
    const kinds = ["Internal", "Server", "Client", "Producer", "Consumer"];
    kinds.forEach((name, i) => {
      for (const text of [`"${name}"`, `{"${name}":null}`, ` { "${name}" : null } `]) {
        assert.equal(decode(span({ span_kind: text })).kind, i + 1);
      }
    });
    ["Unset", "Ok", "Error"].forEach((name, code) => {
      for (
        const text of [
          `"${name}"`,
          `{"${name}":null}`,
          `"\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}"`,
        ]
      ) {
        assert.deepEqual(decode(span({ status_code: text })).status, { code, message: "" });
      }
    });
  });

  test("that do not exist are refused", () => {
    for (const text of ['"internal"', '""', '"Internal "', '{"Unknown":null}']) {
      refuses(span({ span_kind: text }), "invalid-tag");
    }
    for (const text of ["0", "null", '{"Ok":1}', '{"Ok":null,"Ok":null}', "{}", '["Ok"]']) {
      refuses(span({ status_code: text }), "invalid-value");
    }
    for (const text of ['{"U64":1}', '{"":1}', '{"Array":{"Array":{"I64":[]}}}', '{"array":[]}']) {
      refuses(withAttribute(text), "invalid-tag");
    }
    for (
      const text of [
        '"I64"',
        "1",
        "null",
        "{}",
        '{"I64":1,}',
        '{"I64":1,"I64":1}',
        '{"Array":[1]}',
        '{"Array":{"I64":1}}',
        '{"Array":{"I64":[1,]}}',
        '{"Array":{"I64":[1 2]}}',
        '{"Array":{"Bool":[1]}}',
        '{"Bool":"true"}',
        '{"String":1}',
      ]
    ) refuses(withAttribute(text), "invalid-value");
  });
});

describe("attributes", () => {
  test("of each type", () => {
    assert.deepEqual(attribute('{"Bool":true}'), { boolValue: true });
    assert.deepEqual(attribute('{"Bool":false}'), { boolValue: false });
    assert.deepEqual(attribute('{"String":""}'), { stringValue: "" });
    assert.deepEqual(attribute('{ "String" : "a" }'), { stringValue: "a" });
    for (const type of ["Bool", "I64", "F64", "String"]) {
      assert.deepEqual(attribute(`{"Array":{"${type}":[]}}`), { arrayValue: { values: [] } });
    }
    assert.deepEqual(attribute('{"Array":{"Bool":[true,false]}}'), {
      arrayValue: { values: [{ boolValue: true }, { boolValue: false }] },
    });
    assert.deepEqual(attribute('{"Array":{"String":["","é"]}}'), {
      arrayValue: { values: [{ stringValue: "" }, { stringValue: "é" }] },
    });
  });

  test("of one key: the last one stays", () => {
    const map = '{"a":{"I64":1},"b":{"I64":2},"\\u0061":{"Bool":true},"":{"I64":3},"":{"I64":4}}';
    const text = span({
      attributes: `{"map":${map},"evict_list":[],"max_len":1,"dropped_count":0}`,
      resource: `{"attrs":${map}}`,
    });
    const { attributes, resource } = decode(text);
    const expected = [
      { key: "", value: { intValue: "4" } },
      { key: "a", value: { boolValue: true } },
      { key: "b", value: { intValue: "2" } },
    ];
    assert.deepEqual(attributes, expected);
    assert.deepEqual(resource, expected);
  });

  test("an event's may have one key twice", () => {
    const [event] = decode(span({
      events: '{"queue":[{"name":"e","timestamp":[0,0],"attributes":[{"value":{"I64":1},"key":"k"},["k",{"I64":2}]],' +
        '"dropped_attributes_count":7}],"max_len":1,"dropped_count":0}',
    })).events;
    assert.deepEqual(event, {
      attributes: [{ key: "k", value: { intValue: "1" } }, { key: "k", value: { intValue: "2" } }],
      droppedAttributesCount: 7,
      name: "e",
      timeUnixNano: "0",
    });
  });

  test("elements that grow most on their way", SLOW, () => {
    const values = (type: string, element: string) => {
      const list = `${`${element},`.repeat(50_000)}${element}`;
      const value = attribute(`{"Array":{"${type}":[${list}]}}`);
      assert.ok("arrayValue" in value && value.arrayValue.values.length === 50_001);
      return value.arrayValue.values.at(-1);
    };
    assert.deepEqual(values("F64", "0"), { doubleValue: 0 });
    assert.deepEqual(values("I64", "-1"), { intValue: "-1" });
    assert.deepEqual(values("String", '""'), { stringValue: "" });
    assert.deepEqual(values("Bool", "true"), { boolValue: true });
  });

  test(
    "elements that grow, before text that is read after them and stands before them",
    SLOW,
    () => {
      for (let elements = 1_000; elements < 30_000; elements = Math.floor(elements * 1.3)) {
        // Eleven bytes of output for two of input, and then as much as was thought to be left.
        for (const length of [2, 3, 3.5, 4, 8]) {
          const { status_message: _, attributes: __, ...others } = MEMBERS;
          const message = "m".repeat(elements * length);
          const text = json({
            status_message: `"${message}"`,
            ...others,
            attributes: `{"max_len":1,"dropped_count":0,"evict_list":[],"map":{"a":{"Array":{"F64":[${
              "0,".repeat(elements)
            }0]}}}}`,
          });
          // A buffer that has not grown before.
          const fresh = new EncodedSpans();
          const payload = bytesOf(text);
          decodeJson(payload, 0, payload.length, fresh);
          const { buffer, position } = fresh.writer;
          assert.ok(position <= buffer.length);
          const span = Buffer.from(buffer.subarray(fresh.spanStart(0), fresh.spanEnd(0)));
          assert.ok(span.indexOf(message) > elements * 11);
        }
      }
    },
  );

  test("trace state", () => {
    const state = (text: string) => decode(span({ span_context: CONTEXT.replace("null", text) })).traceState;
    assert.equal(state("[]"), "");
    assert.equal(state('[["a","b"],["c","d"]]'), "a=b,c=d");
    assert.equal(state('[ [ "" , "" ] ]'), "=");
    for (
      const text of [
        '[["a"]]',
        '[["a","b","c"]]',
        '["a"]',
        '{"a":"b"}',
        '[["a",1]]',
        "[[]]",
        '[["a",]]',
      ]
    ) {
      const error = refusal(span({ span_context: CONTEXT.replace("null", text) }));
      assert.match(error.reason, /^(invalid-value|missing-field)$/);
    }
  });

  test("a resource, and none", () => {
    for (const resource of ["null", '{"attrs":{}}', "[{}]", '{"attrs":{},"more":1}']) {
      assert.deepEqual(decode(span({ resource })).resource, []);
      assert.equal(spans.resourceStart(0), spans.resourceEnd(0));
    }
    assert.deepEqual(decode(span({ resource: '{"attrs":{"a":{"Bool":false}}}' })).resource, [
      { key: "a", value: { boolValue: false } },
    ]);
    refuses(span({ resource: "{}" }), "missing-field");
    refuses(span({ resource: '{"attrs":[]}' }), "invalid-value");
    refuses(span({ resource: '{"attrs":null}' }), "invalid-value");
  });
});

test("after a refusal the next span is read as if nothing had been", () => {
  const good = fixture("random").json.slice(0, 20);
  const alone = good.map((payload) => encoded(payload, decodeJson));
  good.forEach((payload, i) => {
    refusal(payload.subarray(0, Math.floor(payload.length * 0.7)));
    assert.deepEqual(encoded(payload, decodeJson), alone[i]);
  });
});

test("a span that becomes much larger in OTLP than its payload is refused", () => {
  const doubles = (count: number) => withAttribute(`{"Array":{"F64":[${"1,".repeat(count)}1]}}`);
  // A double of one digit takes two bytes in the payload, and eleven in OTLP.
  assert.equal(decode(doubles(116_000)).attributes.length, 1);
  refuses(doubles(117_000), "too-large");
});
