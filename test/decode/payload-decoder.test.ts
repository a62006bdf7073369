import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { type Encoding, PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { vectorDecoders } from "../../src/decode/vector-decoders.ts";
import { type InvalidReason, WireError } from "../../src/decode/wire-error.ts";
import { encodeBincode } from "./support/bincode-encoder.ts";
import { readBincode } from "./support/bincode-reference.ts";
import { decodeEncodedSpans } from "./support/decode-span.ts";
import { fixture, FIXTURES } from "./support/fixtures.ts";
import { encodeJson } from "./support/json-encoder.ts";
import { bytesField } from "./support/otlp-message.ts";
import { Random } from "./support/random.ts";
import { RandomSpans } from "./support/random-span.ts";
import { asOtlp, type SpanRecord } from "./support/span-record.ts";

const ENCODINGS = ["bincode", "json", "otlp"] as const;
/** For what takes a second or so: a busy machine takes many. Milliseconds. */
const SLOW = { timeout: 60_000 };

const spans = new EncodedSpans();

function decode(decoder: PayloadDecoder, payload: Uint8Array): Encoding {
  return decoder.decode(payload, 0, payload.length, spans);
}

function refusal(decoder: PayloadDecoder, payload: Uint8Array): WireError {
  try {
    decode(decoder, payload);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return error;
  }
  return assert.fail("it was taken");
}

/** A request with the span as bincode's decoder writes it. */
function encodeOtlp(record: SpanRecord): Uint8Array {
  const payload = encodeBincode(record);
  const own = new EncodedSpans();
  new PayloadDecoder().decode(payload, 0, payload.length, own);
  const part = (start: number, end: number) => own.writer.buffer.slice(start, end);
  return bytesField(
    1,
    part(own.resourceStart(0), own.resourceEnd(0)),
    bytesField(2, part(own.spanStart(0), own.spanEnd(0))),
  );
}

const encode: Readonly<Record<Encoding, (record: SpanRecord) => Uint8Array>> = {
  bincode: (record) => encodeBincode(record),
  json: (record) => encodeJson(record),
  otlp: encodeOtlp,
};

/** The same span with another trace id, of which bincode's first byte is the last. */
function beginningWith(byte: number, record: SpanRecord): SpanRecord {
  return { ...record, traceId: record.traceId.slice(0, 30) + byte.toString(16).padStart(2, "0") };
}

const made = new RandomSpans(91, { nonFinite: false });

for (const name of FIXTURES) {
  test(`${name}: the three encodings give the same bytes`, SLOW, () => {
    const { bincode, json } = fixture(name);
    const decoders = {
      bincode: new PayloadDecoder(),
      json: new PayloadDecoder(),
      otlp: new PayloadDecoder(),
    };
    bincode.forEach((payload, i) => {
      const { record } = readBincode(payload);
      if (name === "nonfinite") {
        // JSON has one word for all of them.
        for (const attribute of record.attributes) attribute.value = { doubleValue: "NaN" };
      }
      // Maps come in another order in each recorded payload: all three are written again in one.
      const ordered: Record<Encoding, Uint8Array> = {
        bincode: encodeBincode(record),
        json: encodeJson(record),
        otlp: encodeOtlp(record),
      };
      const outcomes = ENCODINGS.map((encoding) => {
        assert.equal(decode(decoders[encoding], ordered[encoding]), encoding);
        const part = (start: number, end: number) =>
          Buffer.from(spans.writer.buffer.subarray(start, end)).toString("hex");
        return [
          part(spans.spanStart(0), spans.spanEnd(0)),
          part(spans.scopeStart(0), spans.scopeEnd(0)),
          part(spans.resourceStart(0), spans.resourceEnd(0)),
        ];
      });
      assert.deepEqual(outcomes[1], outcomes[0]);
      assert.deepEqual(outcomes[2], outcomes[0]);
      // And the recorded ones are the same spans.
      for (const recorded of [payload, json[i] as Uint8Array]) {
        decode(new PayloadDecoder(), recorded);
        const expected = recorded === payload ? readBincode(payload).record : record;
        assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(expected)]);
      }
    });
    assert.deepEqual([...decoders.bincode.seen], ["bincode"]);
    assert.deepEqual([...decoders.json.seen], ["json"]);
    assert.deepEqual([...decoders.otlp.seen], ["otlp"]);
  });
}

test("JSON comes out the same after much that the decoder in WebAssembly leaves to the other one", () => {
  const decoder = new PayloadDecoder();
  const record = made.span();
  const usual = encodeJson(record);
  const unusual = new TextEncoder().encode(`${new TextDecoder().decode(usual)} `);
  const invalid = new TextEncoder().encode(`${new TextDecoder().decode(usual)}]`);
  const expected = [asOtlp(record)];
  for (const payload of [usual, unusual, invalid, usual, unusual]) {
    // More than that may leave, and then so much that it is tried again.
    for (let bytes = 0; bytes < 256 * 1024; bytes += payload.length) {
      if (payload === invalid) assert.equal(refusal(decoder, payload).offset, usual.length);
      else {
        assert.equal(decode(decoder, payload), "json");
        assert.deepEqual(decodeEncodedSpans(spans), expected);
      }
    }
  }
});

describe("an encoding is told apart", () => {
  test("whatever byte bincode begins with", SLOW, () => {
    for (let byte = 0; byte < 256; byte++) {
      const record = beginningWith(byte, made.span());
      const payload = encodeBincode(record);
      assert.equal(payload[0], byte);
      for (const before of [undefined, ...ENCODINGS]) {
        const decoder = new PayloadDecoder();
        if (before !== undefined) decode(decoder, encode[before](record));
        assert.equal(decode(decoder, payload), "bincode");
        assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(record)]);
      }
    }
  });

  test("though JSON begins with white space, and with OTLP's first byte", () => {
    const record = made.span();
    const payload = new TextEncoder().encode(
      `\n \t${new TextDecoder().decode(encodeJson(record))}`,
    );
    assert.equal(decode(new PayloadDecoder(), payload), "json");
    assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(record)]);
  });

  test("of guests that change it as they like", SLOW, () => {
    const random = new Random(92);
    const decoder = new PayloadDecoder();
    const seen = new Set<Encoding>();
    for (let i = 0; i < 600; i++) {
      const encoding = random.pick(ENCODINGS);
      const record = random.oneIn(3) ? beginningWith(0x7b, made.span()) : made.span();
      assert.equal(decode(decoder, encode[encoding](record)), encoding);
      assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(record)]);
      seen.add(encoding);
      assert.deepEqual(decoder.seen, seen);
      if (random.oneIn(4)) refusal(decoder, random.bytes(random.below(300)));
      assert.deepEqual(decoder.seen, seen);
    }
  });

  test("from the smallest of spans", () => {
    const smallest: SpanRecord = {
      attributes: [],
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
      endTimeUnixNano: "0",
      events: [],
      isRemote: false,
      kind: 1,
      links: [],
      name: "",
      parentSpanId: "",
      resource: null,
      spanId: "1".padStart(16, "0"),
      startTimeUnixNano: "0",
      status: { code: 0, message: "" },
      traceFlags: 0,
      traceId: "1".padStart(32, "0"),
      traceState: "",
    };
    for (const encoding of ENCODINGS) {
      assert.equal(decode(new PayloadDecoder(), encode[encoding](smallest)), encoding);
      assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(smallest)]);
    }
    const array = '[[1,1,0,false,null],0,"Internal","",[0,0],[0,0],[{},[],0,0],[null,0,0],[null,0,0],"Unset","",null]';
    assert.equal(decode(new PayloadDecoder(), new TextEncoder().encode(array)), "json");
    assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(smallest)]);
  });

  test("inside a larger buffer, of whose other bytes nothing is read", () => {
    const record = made.span();
    for (const encoding of ENCODINGS) {
      const payload = encode[encoding](record);
      for (const around of [0x20, 0x7b, 0x0a, 0xff]) {
        const buffer = Buffer.alloc(payload.length + 64, around);
        buffer.set(payload, 32);
        const decoder = new PayloadDecoder();
        assert.equal(decoder.decode(buffer, 32, 32 + payload.length, spans), encoding);
        assert.deepEqual(decodeEncodedSpans(spans), [asOtlp(record)]);
        assert.throws(() => new PayloadDecoder().decode(buffer, 32, 31 + payload.length, spans));
      }
    }
  });
});

describe("a payload that is no span is refused", () => {
  function refuses(
    decoder: PayloadDecoder,
    payload: Uint8Array,
    reason: InvalidReason,
    offset?: number,
  ): void {
    const error = refusal(decoder, payload);
    assert.equal(error.reason, reason, error.message);
    if (offset !== undefined) assert.equal(error.offset, offset);
  }
  const after = (encoding: Encoding) => {
    const decoder = new PayloadDecoder();
    decode(decoder, encode[encoding](made.span()));
    return decoder;
  };
  const session = fixture("session-isolated");
  const json = session.json[0] as Uint8Array;
  const bincode = session.bincode[0] as Uint8Array;
  const text = (source: string) => new TextEncoder().encode(source);

  test("for being empty", () => {
    for (const decoder of [new PayloadDecoder(), ...ENCODINGS.map(after)]) {
      refuses(decoder, new Uint8Array(0), "truncated", 0);
    }
  });

  test("with the reason of the encoding that the guest used before", () => {
    refuses(after("bincode"), bincode.subarray(0, 100), "truncated");
    refuses(after("bincode"), bincode.subarray(0, 20), "truncated");
    refuses(after("bincode"), json.subarray(0, json.length - 1), "invalid-tag", 25);
    refuses(after("json"), json.subarray(0, 100), "truncated", 100);
    refuses(after("json"), bincode.subarray(0, bincode.length - 1), "invalid-value", 0);
    refuses(after("otlp"), text("nothing"), "invalid-tag", 0);
  });

  test("with the reason of what it looks like, where there was none", () => {
    for (const cut of [1, 2, 10, 100, json.length - 1]) {
      refuses(new PayloadDecoder(), json.subarray(0, cut), "truncated", cut);
    }
    refuses(new PayloadDecoder(), text("{} "), "missing-field");
    const otlp = encodeOtlp(made.span());
    refuses(new PayloadDecoder(), otlp.subarray(0, otlp.length - 1), "truncated");
    for (const byte of [0x00, 0x0a, 0x20, 0x7b, 0x80]) {
      const payload = encodeBincode(beginningWith(byte, made.span()));
      refuses(new PayloadDecoder(), payload.subarray(0, payload.length - 1), "truncated");
      const extended = new Uint8Array(payload.length + 1);
      extended.set(payload);
      refuses(new PayloadDecoder(), extended, "trailing-bytes", payload.length);
    }
  });

  test("and for looking like nothing", () => {
    for (const payload of [text("GET / HTTP/1.1\r\n\r\n"), new Uint8Array(4_000).fill(0xff)]) {
      refuses(new PayloadDecoder(), payload, "unknown-encoding", 0);
    }
    refuses(new PayloadDecoder(), text(" \n\t "), "unknown-encoding", 0);
    refuses(new PayloadDecoder(), Uint8Array.of(0), "unknown-encoding", 0);
  });

  test("after many others without a diagnosis, if it is a large request in OTLP", () => {
    const decoder = after("otlp");
    const request = encodeOtlp({ ...made.span(), name: "n".repeat(2_000) });
    const cut = request.subarray(0, request.length - 1);
    const small = { ...made.span(), name: "", traceState: "", attributes: [], events: [], links: [], resource: null };
    const smallCut = encodeOtlp(small).subarray(0, -1);
    const read = (payload: Uint8Array, isCertain: boolean) => {
      const result = decoder.read(payload, 0, payload.length, new EncodedSpans(), isCertain);
      return result instanceof WireError ? result.reason : result;
    };
    for (let i = 0; i < 16; i++) assert.equal(read(cut, true), "truncated");
    assert.equal(read(cut, true), vectorDecoders() === null ? "truncated" : "invalid-value");
    // Of what may be no payload it has to be known where it goes wrong.
    assert.equal(read(cut, false), "truncated");
    assert.equal(read(smallCut, true), "truncated");
    assert.equal(read(request, true), "otlp");
    // One that is taken makes up for one that is not.
    assert.equal(read(cut, true), "truncated");
    assert.notEqual(read(cut, true), "otlp");
  });

  test("and forgotten: the guest's encoding stays the first guess", () => {
    const decoder = after("json");
    for (let i = 0; i < 3; i++) {
      refuses(decoder, text("{"), "truncated", 1);
      assert.equal(decode(decoder, json), "json");
    }
    assert.deepEqual([...decoder.seen], ["json"]);
  });
});
