import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import {
  isLargePayload,
  LONG_OTLP_TEXT_BYTES,
  LONG_TEXT_BYTES,
  MOST_SHORT_BYTES,
  MOST_SHORT_OTLP_BYTES,
  STEP_BYTES,
} from "../../src/decode/large-payloads.ts";
import { type Encoding, PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { WireError } from "../../src/decode/wire-error.ts";
import { span } from "./support/bincode-decode.ts";
import { encodeBincode } from "./support/bincode-encoder.ts";
import { decodeEncodedSpans } from "./support/decode-span.ts";
import { splitFrames } from "./support/fixtures.ts";
import { encodeJson } from "./support/json-encoder.ts";
import { bytesField, fixed64Field, keyValue, textField } from "./support/otlp-message.ts";
import { Random } from "./support/random.ts";
import { RandomSpans } from "./support/random-span.ts";
import { REAL_STREAMS, streamBytes } from "./support/recorded-streams.ts";
import { asOtlp, type OtlpRecord, type SpanRecord } from "./support/span-record.ts";

/** For what takes a second or so: a busy machine takes many. Milliseconds. */
const SLOW = { timeout: 120_000 };

/** What became of a payload in steps; it lies elsewhere at each of them. */
function inSteps(payload: Uint8Array) {
  const records: OtlpRecord[] = [];
  const copies = [new Uint8Array(payload.length + 7), new Uint8Array(payload.length)];
  const place = { buffer: payload, start: 0, end: payload.length };
  const steps = new PayloadDecoder().readLarge(
    place,
    (spans) => records.push(...decodeEncodedSpans(spans, "lenient")),
  );
  for (let count = 0;; count++) {
    const [buffer, other] = count % 2 === 0 ? [copies[0], copies[1]] : [copies[1], copies[0]];
    assert.ok(buffer !== undefined && other !== undefined);
    other.fill(0xee);
    place.start = buffer.length - payload.length;
    buffer.set(payload, place.start);
    Object.assign(place, { buffer, end: buffer.length });
    const step = steps.next();
    if (step.done === true) return { result: step.value, records, steps: count };
  }
}

/** What became of it in one go. */
function atOnce(payload: Uint8Array) {
  const spans = new EncodedSpans();
  const result = new PayloadDecoder().read(payload, 0, payload.length, spans);
  return { result, records: result instanceof WireError ? [] : decodeEncodedSpans(spans, "lenient") };
}

function assertSame(payload: Uint8Array, encoding: Encoding): void {
  const expected = atOnce(payload);
  assert.equal(expected.result, encoding);
  const { result, records } = inSteps(payload);
  assert.deepEqual([result, records], [encoding, expected.records]);
}

function withText(stringValue: string, more: Partial<SpanRecord> = {}): SpanRecord {
  return span({ attributes: [{ key: "k", value: { stringValue } }], ...more });
}

describe("in steps a payload becomes what it becomes in one go", () => {
  test("spans of all kinds", SLOW, () => {
    const made = new RandomSpans(17, { nonFinite: false });
    for (let i = 0; i < 100; i++) {
      const record = made.span();
      assertSame(encodeJson(record), "json");
      assertSame(encodeBincode(record), "bincode");
    }
  });

  test("the file that a real agent copies", SLOW, () => {
    const stream = REAL_STREAMS.find(({ file }) => file.includes("copyfile"));
    assert.ok(stream !== undefined);
    for (const payload of splitFrames(streamBytes(stream))) assertSame(payload, "json");
  });

  test("long texts of any characters, escaped or not, wherever a step ends", SLOW, () => {
    const random = new Random(3);
    const characters = ["a", "é", "人", "🦀", '"', "\\", "\n", "\u0000", "/"];
    const pieces = [
      ...characters,
      ...["\\u0041", "\\ud83e\\udd80", "\\u00e9", "\\/", "\\\\", '\\"', "\\uD83E\\uDD80", "\\u0041\\ud83e\\udd80"],
    ];
    for (let round = 0; round < 40; round++) {
      // Around the lengths at which a text is long, and at which a step ends.
      const bytes = random.pick([LONG_TEXT_BYTES, STEP_BYTES, 2 * STEP_BYTES]) - 20 + random.below(40);
      const some = random.many(1 + random.below(4), () => random.pick(pieces));
      let text = "";
      for (let length = 0; length < bytes; length = text.length * 1.5) text += random.pick(some).repeat(50);
      const json = new TextDecoder().decode(encodeJson(withText("PLACE", { name: "n" })));
      // Pieces with a backslash are JSON's own escapes.
      const escaped = text.replaceAll(
        /["\n\u0000]|\\(?![u\\/"])/g,
        (character) => JSON.stringify(character).slice(1, -1),
      );
      const payload = new TextEncoder().encode(json.replace("PLACE", () => escaped));
      const expected = atOnce(payload);
      const { result, records } = inSteps(payload);
      if (expected.result instanceof WireError) {
        assert.ok(result instanceof WireError, `${escaped.slice(0, 40)} was taken`);
        assert.equal(result.reason, expected.result.reason);
      } else assert.deepEqual([result, records], ["json", expected.records]);
    }
  });

  test("long texts as keys, names, events, evicted keys and unknown members", SLOW, () => {
    const long = "\\n".repeat(LONG_TEXT_BYTES) + "x";
    const text = JSON.parse(`"${long}"`) as string;
    const event = { name: text, timeUnixNano: "1", attributes: [], droppedAttributesCount: 0 };
    const record = span({
      name: text,
      attributes: [{ key: text, value: { arrayValue: { values: [{ stringValue: text }, { stringValue: "s" }] } } }],
      events: [event],
      status: { code: 2, message: text },
      traceState: "",
      resource: [{ key: "r", value: { stringValue: text } }],
    });
    for (const encode of [encodeJson, encodeBincode]) {
      const { result, records } = inSteps(encode(record));
      assert.deepEqual([result, records], [encode === encodeJson ? "json" : "bincode", [asOtlp(record)]]);
    }
    const json = new TextDecoder().decode(encodeJson(span()));
    const unknown = `${json.slice(0, -1)},"${long}":{"${long}":["${long}",{"a":"${long}"}]}}`;
    assertSame(new TextEncoder().encode(unknown), "json");
  });

  test("requests in OTLP, whose parts are taken one after the other", () => {
    const request = otlp(2, 3, 400, 300);
    const { result, records, steps } = inSteps(request);
    assert.equal(result, "otlp");
    assert.deepEqual(records, atOnce(request).records);
    assert.equal(records.length, 2 * 3 * 400);
    assert.ok(steps >= request.length / STEP_BYTES, `${steps} steps`);
  });
});

test("what is decoded in steps: payloads of more than 512 KiB, and requests in OTLP of more than 128 KiB", () => {
  const large = (size: number, first: number): boolean => {
    const buffer = new Uint8Array(size + 3);
    buffer[3] = first;
    return isLargePayload(buffer, 3, buffer.length);
  };
  const [json, request] = [0x7b, 0x0a];
  assert.deepEqual([large(512 * 1024, json), large(512 * 1024 + 1, json)], [false, true]);
  assert.deepEqual([large(128 * 1024, request), large(128 * 1024 + 1, request)], [false, true]);
});

/** A request of so many resources of so many scopes of so many spans with a text of so many bytes. */
function otlp(resources: number, scopes: number, count: number, bytes: number): Uint8Array {
  const one = bytesField(
    2,
    bytesField(1, new Uint8Array(16).fill(1)),
    bytesField(2, new Uint8Array(8).fill(2)),
    textField(5, "name"),
    fixed64Field(7, 1n),
    fixed64Field(8, 2n),
    keyValue(9, "k", textField(1, "x".repeat(bytes))),
  );
  const all = Array<Uint8Array>(count).fill(one);
  return new Uint8Array(Buffer.concat(Array.from({ length: resources }, (_, r) =>
    bytesField(
      1,
      bytesField(1, keyValue(1, "resource", textField(1, `r${r}`))),
      ...Array.from({ length: scopes }, (_, s) => bytesField(2, bytesField(1, textField(1, `scope ${s}`)), ...all)),
    ))));
}

describe("a large payload is refused", () => {
  function refuses(payload: Uint8Array, reason: string, detail: RegExp): WireError {
    const { result, records } = inSteps(payload);
    assert.ok(result instanceof WireError, `it was taken as ${String(result)}`);
    assert.equal(result.reason, reason);
    assert.match(result.message, detail);
    assert.deepEqual(records, []);
    return result;
  }

  test("with too much beside its long texts", SLOW, () => {
    const beside = /more than 524288 bytes beside its long texts/;
    const attributes = Array.from(
      { length: MOST_SHORT_BYTES / 100 },
      (_, i) => ({ key: `k${i}`, value: { stringValue: "x".repeat(100) } }),
    );
    const values = Array(MOST_SHORT_BYTES / 4).fill({ intValue: "12345" });
    for (
      const record of [span({ attributes }), span({ attributes: [{ key: "k", value: { arrayValue: { values } } }] })]
    ) {
      refuses(encodeJson(record), "too-large", beside);
      refuses(encodeBincode(record), "too-large", beside);
    }
    const ids = [bytesField(1, new Uint8Array(16).fill(1)), bytesField(2, new Uint8Array(8).fill(2))];
    const otlp = (count: number, bytes: number) =>
      bytesField(
        1,
        bytesField(
          2,
          bytesField(
            2,
            ...ids,
            keyValue(9, "req", textField(1, "x".repeat(MOST_SHORT_BYTES))),
            ...Array.from({ length: count }, (_, i) => keyValue(9, `k${i}`, textField(1, "x".repeat(bytes)))),
          ),
        ),
      );
    const most = MOST_SHORT_OTLP_BYTES;
    refuses(otlp(most / 100, 100), "too-large", /more than 131072 bytes beside its long texts/);
    assertSame(otlp(most / 200, 100), "otlp");
    assertSame(otlp(2 * most / LONG_OTLP_TEXT_BYTES, LONG_OTLP_TEXT_BYTES), "otlp");
  });

  test("for what is wrong in a long text, and says where", () => {
    const text = "x".repeat(2 * STEP_BYTES);
    const json = new TextDecoder().decode(encodeJson(withText(text)));
    const at = json.indexOf("xxx") + STEP_BYTES + 100;
    for (
      const [wrong, reason] of [["\u0001", "invalid-value"], ["\\x", "invalid-value"], ["\\ud83e!", "invalid-value"]]
    ) {
      const payload = new TextEncoder().encode(json.slice(0, at) + wrong + json.slice(at));
      const { offset } = refuses(payload, reason as string, /long text/);
      assert.ok(offset >= at && offset <= at + 8, `${offset} for ${at}`);
    }
    const bytes = new TextEncoder().encode(json);
    bytes[at] = 0xff;
    refuses(bytes, "invalid-utf8", /long text/);
    refuses(new TextEncoder().encode(json.slice(0, at)), "truncated", /./);
  });

  test("for what is wrong behind a long text, and says where", () => {
    const json = new TextDecoder().decode(encodeJson(withText("x".repeat(10_000))));
    const at = json.indexOf('"status_code":') + 14;
    const { offset } = refuses(
      new TextEncoder().encode(`${json.slice(0, at)}7${json.slice(at)}`),
      "invalid-value",
      /./,
    );
    assert.equal(offset, at);
  });

  test("for bytes that would be taken for a mark of a long text", () => {
    const json = new TextDecoder().decode(encodeJson(withText("PLACE")));
    const long = `"${"x".repeat(5000)}"`;
    for (const mark of ["\u0001\u0000\u0000\u0000\u0000", "\u0001"]) {
      refuses(new TextEncoder().encode(json.replace('"PLACE"', () => mark)), "invalid-value", /./);
      const twice = json.replace('"PLACE"', () => mark).replace('"name":""', () => `"name":${long}`);
      refuses(new TextEncoder().encode(twice), "invalid-value", /./);
    }
  });

  test("in OTLP for what a request may not have; the parts before it have been taken", () => {
    const good = otlp(1, 1, 1000, 1000);
    const { result, records } = inSteps(new Uint8Array(Buffer.concat([good, bytesField(1, bytesField(2))])));
    assert.ok(result instanceof WireError);
    assert.deepEqual([result.reason, records.length], ["missing-field", 1000]);
    for (
      const [request, reason, detail] of [
        [otlp(1025, 1, 1, 1), "too-large", /more than 1024 resources/],
        [otlp(1, 4097, 1, 1), "too-large", /more than 4096 scopes/],
        [Buffer.concat([bytesField(1, bytesField(2, bytesField(2, new Uint8Array(40).fill(0xff))))]), "invalid-", /./],
        [bytesField(1, bytesField(1, new Uint8Array(100_000)), bytesField(2)), "too-large", /resource or scope/],
        [good.subarray(0, good.length - 1), "invalid-value", /longer than its message/],
      ] as const
    ) {
      const refused = inSteps(new Uint8Array(request)).result;
      assert.ok(refused instanceof WireError && refused.reason.startsWith(reason), String(refused));
      assert.match(refused.message, detail);
    }
  });
});
