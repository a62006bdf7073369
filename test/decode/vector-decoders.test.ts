import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeBincode } from "../../src/decode/bincode/decoder.ts";
import { decodeJson } from "../../src/decode/json/decoder.ts";
import { decodeBincodeFast, decodeJsonFast } from "../../src/decode/payload-decoder.ts";
import { vectorDecoders } from "../../src/decode/vector-decoders.ts";
import { WireError } from "../../src/decode/wire-error.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import {
  checkFrames,
  Differential,
  DifferentialCases,
  type Taken,
  type VectorEncoding,
} from "./support/differential.ts";
import { hostileStreams, repeated } from "../hostile/payloads.ts";
import { frame, splitFrames } from "./support/fixtures.ts";
import {
  bytesField,
  fixed32Field,
  fixed64Field,
  join,
  keyValue,
  tag,
  textField,
  varint,
  varintField,
} from "./support/otlp-message.ts";
import { cutMessages } from "./support/otlp-mutations.ts";
import { Random } from "./support/random.ts";
import { REAL_STREAMS, streamBytes } from "./support/recorded-streams.ts";

const ENCODINGS: readonly VectorEncoding[] = ["bincode", "json", "otlp"];
/** What a megabyte of a copied file takes is decoded in steps, not at once. */
const MOST_BYTES = 512 * 1024;
const CASES = 8_000;

const differential = new Differential();

function json(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A span in JSON as an agent writes it, with one attribute. */
function spanWith(value: string, key = "k"): Uint8Array {
  const time = '{"secs_since_epoch":1795697600,"nanos_since_epoch":1}';
  return json(
    `{"span_context":{"trace_id":1,"span_id":2,"trace_flags":1,"is_remote":false,"trace_state":null},` +
      `"parent_span_id":0,"span_kind":"Internal","name":"n","start_time":${time},"end_time":${time},` +
      `"attributes":{"map":{"${key}":${value}},"evict_list":["k"],"max_len":128,"dropped_count":0},` +
      `"events":{"queue":null,"max_len":128,"dropped_count":0},` +
      `"links":{"queue":null,"max_len":128,"dropped_count":0},` +
      `"status_code":"Unset","status_message":"","resource":null}`,
  );
}

describe("what real agents send", () => {
  for (const stream of REAL_STREAMS) {
    test(`all of ${stream.file} but files that are copied is decoded in WebAssembly, to the same bytes`, () => {
      for (const payload of splitFrames(streamBytes(stream))) {
        if (payload.length > MOST_BYTES) continue;
        assert.equal(differential.check(stream.encoding, payload), "by both");
      }
    });
  }
});

test("a name is taken if and only if it is UTF-8, wherever its bytes lie in a vector", () => {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const isUtf8 = (bytes: Uint8Array): boolean => {
    try {
      decoder.decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
  const [head, tail] = Buffer.from(spanWith('{"I64":1}')).toString("latin1").split('"name":"n"') as [string, string];
  const before = Buffer.from(`${head}"name":"`, "latin1");
  const after = Buffer.from(`"${tail}`, "latin1");
  // The first and the last of each kind of byte.
  const kinds = [
    0x41,
    0x80,
    0x8f,
    0x90,
    0x9f,
    0xa0,
    0xbf,
    0xc1,
    0xc2,
    0xdf,
    0xe0,
    0xec,
    0xed,
    0xef,
    0xf0,
    0xf3,
    0xf4,
    0xf5,
  ];
  const spans = new EncodedSpans();
  const vectors = vectorDecoders();
  let taken = 0;
  for (const offset of [0, 13, 14, 15, 16, 30]) {
    for (let i = 0; i < kinds.length ** 3 * 3; i++) {
      const bytes = [i, i / kinds.length, i / kinds.length ** 2].map((n) =>
        kinds[Math.floor(n) % kinds.length] as number
      );
      // Three bytes end the name, or a fourth one does.
      const last = [[], [0x41], [0x80]][Math.floor(i / kinds.length ** 3)] as number[];
      const name = Uint8Array.from([...Array<number>(offset).fill(0x61), ...bytes, ...last]);
      const payload = new Uint8Array(Buffer.concat([before, name, after]));
      spans.clear();
      const isTaken = vectors?.json(payload, 0, payload.length, spans) === true;
      assert.equal(isTaken, isUtf8(name), Buffer.from(name).toString("hex"));
      if (isTaken) taken++;
    }
  }
  assert.ok(taken > 1000);
});

for (const encoding of ENCODINGS) {
  test(`${CASES} payloads in ${encoding} become the same bytes or the same error`, () => {
    const cases = new DifferentialCases(new Random(encoding.length));
    const counts: Record<Taken, number> = { "slowly": 0, "by both": 0, "by none": 0 };
    for (let i = 0; i < CASES; i++) counts[differential.check(encoding, cases.next(encoding))]++;
    // Otherwise the comparison is about too little.
    assert.ok(counts["by both"] > CASES / 8, JSON.stringify(counts));
    assert.ok(counts["by none"] > CASES / 8, JSON.stringify(counts));
  });
}

describe("texts in JSON", () => {
  const special = ['\\"', "\\\\", "\\n", "\\u00e9", "\\ud83e\\udd80", "é", "🦀", '\\\\\\"', '","', "\\/"];
  for (const text of special) {
    test(`${JSON.stringify(text)} at each place of a vector`, () => {
      for (let before = 0; before < 34; before++) {
        for (const after of [0, 1, 15, 100]) {
          const payload = spanWith(`{"String":"${"a".repeat(before)}${text}${"b".repeat(after)}"}`);
          const expected: Taken = text === '","' ? "by none" : "by both";
          assert.equal(differential.check("json", payload), expected, `after ${before}`);
        }
      }
    });
  }

  test("rows of backslashes of each length, over the edges of vectors", () => {
    for (let before = 0; before < 17; before++) {
      for (let count = 0; count < 36; count++) {
        const payload = spanWith(`{"String":"${"a".repeat(before)}${"\\".repeat(count)}"}`);
        assert.equal(differential.check("json", payload), count % 2 === 0 ? "by both" : "by none");
      }
    }
  });

  const wrong = ["\\ud83e", "\\udd80", "\\ud83e\\u0041", "\\u12g4", "\\u123-", "\\x", "\\\x00", "\x01", "\x1f", "\x00"];
  for (const text of wrong) {
    test(`${JSON.stringify(text)} is refused at each place of a vector`, () => {
      for (let before = 0; before < 34; before++) {
        const payload = spanWith(`{"String":"${"a".repeat(before)}${text}${"b".repeat(40)}"}`);
        assert.equal(differential.check("json", payload), "by none", `after ${before}`);
      }
    });
  }

  test("lengths around those at which a length takes another byte", () => {
    for (
      const length of [0, 1, 95, 96, 97, 110, 111, 112, 113, 118, 124, 125, 126, 127, 128, 129, 16_374, 16_383, 16_384]
    ) {
      for (let more = 0; more < 12; more++) {
        assert.equal(differential.check("json", spanWith(`{"String":"${"a".repeat(length + more)}"}`)), "by both");
      }
    }
    for (let length = 1; length < 140; length++) {
      const taken = differential.check("json", spanWith('{"I64":-1}', "k".repeat(length)));
      assert.equal(taken, length <= 96 ? "by both" : "slowly");
    }
  });
});

describe("numbers in JSON", () => {
  const numbers: readonly [string, Taken][] = [
    ['{"I64":9223372036854775807}', "by both"],
    ['{"I64":-9223372036854775808}', "by both"],
    ['{"I64":9223372036854775808}', "by none"],
    ['{"I64":-9223372036854775809}', "by none"],
    ['{"I64":-0}', "by none"],
    ['{"I64":00}', "by none"],
    ['{"I64":12345678}', "by both"],
    ['{"I64":123456789012345678901}', "by none"],
    ['{"I64":1e2}', "by none"],
    ['{"F64":null}', "by both"],
    ['{"F64":-0.0}', "by both"],
    ['{"F64":0.30000000000000004}', "slowly"],
    ['{"F64":123456789.123456}', "by both"],
    ['{"F64":0.00000001}', "by both"],
    ['{"F64":1e300}', "slowly"],
    ['{"F64":-1.5E+99}', "slowly"],
    ['{"F64":25e-3}', "slowly"],
    ['{"F64":1e}', "by none"],
    ['{"F64":1e+}', "by none"],
    ['{"F64":01e5}', "by none"],
    ['{"F64":1e400}', "by none"],
    ['{"F64":1.}', "by none"],
    ['{"F64":.5}', "by none"],
    ['{"Array":{"I64":[1,-1,5]}}', "by both"],
    ['{"Array":{"F64":[1,null,2.5]}}', "by both"],
    ['{"Array":{"Bool":[]}}', "by both"],
    ['{"Array":{"String":["","é"]}}', "by both"],
    ['{"Array":{"I64":[1,]}}', "by none"],
    ['{"Array":{"Array":[]}}', "by none"],
    // Each becomes fourteen bytes, for which there is room behind few of them.
    [`{"Array":{"I64":[${"-1,".repeat(3000)}-1]}}`, "by both"],
    [`{"Array":{"I64":[${"-1,".repeat(100_000)}-1]}}`, "slowly"],
    [`{"Array":{"F64":[${"0.1,".repeat(3000)}-0.1]}}`, "by both"],
    [`{"Array":{"F64":[${"0.1,".repeat(130_000)}-0.1]}}`, "slowly"],
    [`{"Array":{"Bool":[${"true,".repeat(3000)}true]}}`, "by both"],
  ];
  for (const [value, expected] of numbers) {
    test(`${value.slice(0, 60)} is taken ${expected}`, () => {
      assert.equal(differential.check("json", spanWith(value)), expected);
    });
  }

  test("a trace ID of up to 2^128 - 1", () => {
    const span = new TextDecoder().decode(spanWith('{"Bool":true}'));
    const of = (id: string) => json(span.replace('"trace_id":1,', `"trace_id":${id},`));
    for (let digits = 1; digits < 39; digits++) {
      assert.equal(differential.check("json", of("9".repeat(digits))), "by both");
      assert.equal(differential.check("json", of(`1${"0".repeat(digits)}`)), "by both");
    }
    assert.equal(differential.check("json", of(String((1n << 128n) - 1n))), "by both");
    for (const id of [String(1n << 128n), "9".repeat(39), "1".repeat(40), "0", "01", ""]) {
      assert.equal(differential.check("json", of(id)), "by none");
    }
  });
});

describe("requests in OTLP", () => {
  const ids = join(bytesField(1, new Uint8Array(16).fill(1)), bytesField(2, new Uint8Array(8).fill(2)));
  const span = bytesField(2, ids);
  const of = (...spans: Uint8Array[]) => bytesField(1, bytesField(2, ...spans));

  test("every hostile stream is taken by both or by none", () => {
    const taken = hostileStreams().filter(({ name }) => name.startsWith("OTLP")).map(({ bytes }) =>
      differential.check("otlp", splitFrames(bytes)[0] as Uint8Array)
    );
    assert.ok(taken.length > 30);
    assert.ok(!taken.includes("slowly"));
    assert.ok(taken.filter((what) => what === "by both").length > 25);
  });

  test("what spans share, before, behind, and on both sides of them", () => {
    const resource = bytesField(1, keyValue(1, "k", varintField(3, 5)));
    const scope = bytesField(1, textField(1, "s"));
    const url = textField(3, "https://opentelemetry.io/schemas/1.30.0");
    for (
      const scopeSpans of [[scope, span], [span, scope], [scope, span, url], [url, span, scope, span], [span, url]]
    ) {
      const inner = bytesField(2, ...scopeSpans);
      for (
        const fields of [[resource, inner], [inner, resource], [resource, inner, url], [url, inner, inner, resource]]
      ) {
        assert.equal(differential.check("otlp", join(bytesField(1, ...fields), of(span))), "by both");
      }
    }
  });

  test("a link's flags have a tag of one byte, a span's one of two", () => {
    const link = bytesField(13, ids, fixed32Field(6, 0x301));
    assert.equal(differential.check("otlp", of(bytesField(2, ids, link, fixed32Field(16, 0x101)))), "by both");
  });

  test("messages as deep as they may be, and deeper", () => {
    const taken = Array.from({ length: 30 }, (_, depth) => {
      let value = varintField(2, 1);
      for (let i = 0; i < depth; i++) value = bytesField(5, bytesField(1, value));
      return differential.check("otlp", of(bytesField(2, ids, keyValue(9, "k", value))));
    });
    // The request, its resource, scope and span, the attribute and its value are six; each array has two more.
    assert.deepEqual(taken.map((what) => what === "by both"), taken.map((_, depth) => 6 + 2 * depth <= 60));
    assert.ok(!taken.includes("slowly"));
  });

  test("a message that ends in the middle of a field is refused, whatever follows it", () => {
    // What follows a span is the tag of the next one, which as a number would be a kind and a code that there is not.
    const kind = bytesField(2, ids, varintField(6, 1));
    const status = bytesField(2, ids, bytesField(15, varintField(3, 1)));
    const flags = bytesField(2, ids, fixed32Field(16, 1));
    const values = [
      varintField(2, 1),
      varintField(3, -1n),
      fixed64Field(4, 0x7ff8n << 48n),
      bytesField(5, bytesField(1, textField(1, "é"))),
      bytesField(6, keyValue(1, "k", varintField(3, 300))),
      bytesField(7, Uint8Array.of(0xff)),
    ];
    const attributes = bytesField(2, ids, ...values.map((value) => keyValue(9, "key", value)));
    const wholes = [kind, status, flags, attributes].map((span) => of(span, span));
    for (const whole of wholes) {
      assert.equal(differential.check("otlp", whole), "by both");
      for (const cut of cutMessages(whole)) differential.check("otlp", cut);
    }
  });

  test("everything up to the largest payload is taken, also the smallest spans and what is rewritten", () => {
    const attribute = keyValue(9, "k", fixed64Field(4, 0xfff0n << 48n));
    const room = MOST_BYTES - 100;
    const payloads = [
      of(repeated(span, room)),
      of(repeated(join(tag(2, 2), varint(ids.length, 1), ids), room)),
      of(repeated(bytesField(2, ids, varintField(17, 1)), room)),
      of(bytesField(2, ids, repeated(attribute, room))),
      of(bytesField(2, ids, textField(5, "é".repeat(room / 2)))),
    ];
    for (const payload of payloads) {
      assert.ok(payload.length > MOST_BYTES - 200 && payload.length <= MOST_BYTES, String(payload.length));
      assert.equal(differential.check("otlp", payload), "by both");
    }
    assert.equal(differential.check("otlp", of(repeated(span, MOST_BYTES + 100))), "slowly");
  });

  test("what spans share may lie before and behind them, in payloads of any size", () => {
    const infinity = keyValue(1, "k", fixed64Field(4, 0xfff0n << 48n));
    for (
      const [value, expected] of [[keyValue(1, "k", textField(1, "text")), "by both"], [infinity, "slowly"]] as const
    ) {
      const resource = bytesField(1, repeated(value, 45_000));
      const group = bytesField(1, resource, bytesField(2, bytesField(2, ids)), textField(3, "schema"));
      const largest = repeated(group, MOST_BYTES);
      assert.equal(differential.check("otlp", group), "by both");
      assert.equal(differential.check("otlp", repeated(group, 2 * group.length)), "by both");
      assert.equal(differential.check("otlp", largest), expected);
    }
  });

  test("the limits of resources, of scopes and of what is skipped are those of the definition", () => {
    const counted = (count: number, make: () => Uint8Array) => join(...Array.from({ length: count }, make));
    const resources = (count: number) => counted(count, () => of(span));
    const scopes = (count: number) => bytesField(1, counted(count, () => bytesField(2, span)));
    const unknown = (count: number) => of(bytesField(2, ids, counted(count, () => varintField(17, 1))));
    const padded = (count: number) =>
      of(bytesField(2, ids, counted(count, () => join(tag(9, 2), varint(3, 1), textField(1, "k")))));
    assert.equal(differential.check("otlp", resources(1024)), "by both");
    assert.equal(differential.check("otlp", resources(1025)), "by none");
    assert.equal(differential.check("otlp", scopes(4096)), "by both");
    assert.equal(differential.check("otlp", scopes(4097)), "by none");
    for (const make of [unknown, padded]) {
      const outcomes = Array.from({ length: 200 }, (_, count) => differential.check("otlp", make(count)));
      const most = outcomes.lastIndexOf("by both");
      assert.ok(most >= 32, String(most));
      assert.deepEqual(outcomes, outcomes.map((_, count) => count <= most ? "by both" : "by none"));
    }
  });
});

test("a key that comes twice is left to the decoders that know which one stays", () => {
  const twice = spanWith('{"I64":1},"other":{"Bool":true},"k":{"I64":2}');
  assert.equal(differential.check("json", twice), "slowly");
});

test("a payload is decoded up to its end, whatever lies behind it", () => {
  const whole = spanWith('{"String":"text"}');
  for (let end = 0; end < whole.length; end++) {
    // The rest of the longer payload is still in the memory.
    assert.equal(differential.check("json", whole), "by both");
    assert.equal(differential.check("json", whole.subarray(0, end)), "by none");
  }
});

test("the largest payload that is decoded at once, and one byte more", () => {
  const frame = spanWith('{"String":""}').length;
  for (const [bytes, expected] of [[MOST_BYTES, "by both"], [MOST_BYTES + 1, "slowly"]] as const) {
    const payload = spanWith(`{"String":"${'\\"'.repeat(1000)}${"a".repeat(bytes - frame - 2000)}"}`);
    assert.equal(payload.length, bytes);
    assert.equal(differential.check("json", payload), expected);
  }
});

test("spans outlive the next payload, of the same encoding or another, until they are cleared", () => {
  const [first, second] = [new EncodedSpans(), new EncodedSpans()];
  const bytes = ({ writer }: EncodedSpans, from: number, to: number) => writer.buffer.slice(from, to);
  const both = (spans: EncodedSpans) =>
    Array.from({ length: spans.count }, (_, i) => bytes(spans, spans.spanStart(i), spans.spanEnd(i)));
  const one = spanWith('{"String":"one"}');
  const two = spanWith('{"String":"the other one, which is longer"}');
  decodeJson(one, 0, one.length, second);
  const [expected] = both(second);
  second.clear();
  decodeJson(two, 0, two.length, second);
  const [expectedOther] = both(second);
  second.clear();

  decodeJsonFast(one, 0, one.length, first);
  decodeJsonFast(two, 0, two.length, second);
  assert.deepEqual(both(first), [expected]);
  assert.deepEqual(both(second), [expectedOther]);
  // Another span is added to those that are there.
  decodeJsonFast(two, 0, two.length, first);
  assert.deepEqual(both(first), [expected, expectedOther]);
  // What is refused leaves what was there.
  assert.throws(() => decodeJsonFast(one, 0, 20, second), WireError);
  assert.throws(() => decodeBincodeFast(one, 0, 20, second), WireError);
  assert.deepEqual(both(first), [expected, expectedOther]);
  first.clear();
  first.writer.byte(1);
  assert.equal(first.writer.buffer[0], 1);
});

describe("frames that follow each other", () => {
  for (const stream of REAL_STREAMS) {
    test(`of ${stream.file} become what they become one by one`, () => {
      const payloads = splitFrames(streamBytes(stream)).filter(({ length }) => length <= 8192);
      for (let at = 0; at < payloads.length; at += 40) {
        const some = payloads.slice(at, at + 40);
        assert.equal(checkFrames(stream.encoding, some), some.length);
      }
    });
  }

  for (const encoding of ["bincode", "json"] as const) {
    test(`in ${encoding}, right or wrong, become what they become one by one`, () => {
      const random = new Random(3);
      const cases = new DifferentialCases(random);
      let taken = 0;
      for (let i = 0; i < 2000; i++) {
        taken += checkFrames(encoding, random.many(1 + random.below(5), () => cases.next(encoding)));
      }
      assert.ok(taken > 200, `${taken} were taken`);
    });
  }

  test("end before one that is not whole, and one that is not a span, and leave what they came in alone", () => {
    const one = frame(spanWith(`{"String":"${"one".repeat(50)}"}`));
    const vectors = vectorDecoders();
    const spans = new EncodedSpans();
    const wrong = frame(json("{}"));
    const empty = frame(new Uint8Array(0));
    const long = frame(new Uint8Array(20));
    long.fill(0xff, 0, 8);
    for (const last of [one.slice(0, -1), one.slice(0, 8), one.slice(0, 7), wrong, empty, long]) {
      const stream = new Uint8Array(Buffer.concat([one, one, last]));
      const before = stream.slice();
      spans.clear();
      assert.equal(vectors?.frames(true, stream, 0, stream.length, spans), 2);
      assert.deepEqual(stream, before);
      assert.equal(spans.endOfRun(0), 2);
      const [first, second] = [0, 1].map((i) => spans.writer.buffer.slice(spans.spanStart(i), spans.spanEnd(i)));
      assert.deepEqual(first, second);
      assert.equal(spans.writer.position, spans.spanEnd(1));
    }
  });

  test("are not decoded together with a span that is so long that its length takes three bytes", () => {
    const small = spanWith('{"I64":1}');
    const long = spanWith(`{"String":"${"x".repeat(20_000)}"}`);
    assert.equal(checkFrames("json", [small, long, small]), 1);
    assert.equal(checkFrames("json", [long, small]), 0);
    // Of an array more comes than there was of it.
    const array = spanWith(`{"Array":{"I64":[${"1,".repeat(5000)}1]}}`);
    assert.equal(differential.check("json", array), "by both");
    assert.equal(checkFrames("json", [small, array, small]), 1);
  });

  test("may have resources", () => {
    const without = spanWith('{"I64":1}');
    const text = new TextDecoder().decode(without);
    const [one, other] = ["one", "the other"].map((value) =>
      json(text.replace('"resource":null', `"resource":{"attrs":{"a":{"String":"${value}"}}}`))
    ) as [Uint8Array, Uint8Array];
    assert.equal(checkFrames("json", [without, one, one, other, without, without]), 6);
  });

  test("are left alone where spans are there already", () => {
    const one = frame(spanWith('{"I64":1}'));
    const spans = new EncodedSpans();
    spans.writer.byte(7);
    assert.equal(vectorDecoders()?.frames(true, one, 0, one.length, spans), 0);
    assert.deepEqual([spans.count, spans.writer.position, spans.writer.buffer[0]], [0, 1, 7]);
  });
});

test("an error is the one of the decoders in TypeScript", () => {
  const spans = new EncodedSpans();
  const payload = spanWith('{"String":"\x01"}');
  const message = (decode: typeof decodeJson): string => {
    try {
      decode(payload, 0, payload.length, spans);
    } catch (error) {
      return String(error);
    }
    return assert.fail("it was taken");
  };
  assert.equal(message(decodeJsonFast), message(decodeJson));
  assert.equal(message(decodeBincodeFast), message(decodeBincode));
});

test("the memory does not grow", () => {
  const vectors = vectorDecoders();
  assert.ok(vectors !== null);
  assert.ok(vectors.memoryBytes < 2 * 1024 * 1024);
});
