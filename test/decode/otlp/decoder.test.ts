import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { decodeOtlp } from "../../../src/decode/otlp/decoder.ts";
import { type InvalidReason, WireError } from "../../../src/decode/wire-error.ts";
import { readBincode } from "../support/bincode-reference.ts";
import { decodeResource, decodeSpan } from "../support/decode-span.ts";
import { fixture, FIXTURES } from "../support/fixtures.ts";
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
} from "../support/otlp-message.ts";
import { readFields } from "../support/protobuf-reader.ts";
import { RandomSpans } from "../support/random-span.ts";
import { expressible, serializeRecords } from "../support/readable-span.ts";
import { asOtlp, type OtlpRecord } from "../support/span-record.ts";

/** For what takes a second or so: a busy machine takes many. Milliseconds. */
const SLOW = { timeout: 60_000 };

const spans = new EncodedSpans();

interface Part {
  readonly span: string;
  readonly scope: string;
  readonly resource: string;
}

/** What a request was taken apart into, in hexadecimal. */
function decode(payload: Uint8Array): Part[] {
  spans.clear();
  decodeOtlp(payload, 0, payload.length, spans);
  const { buffer } = spans.writer;
  const hex = (start: number, end: number) => Buffer.from(buffer.subarray(start, end)).toString("hex");
  return Array.from({ length: spans.count }, (_, i) => ({
    span: hex(spans.spanStart(i), spans.spanEnd(i)),
    scope: hex(spans.scopeStart(i), spans.scopeEnd(i)),
    resource: hex(spans.resourceStart(i), spans.resourceEnd(i)),
  }));
}

function hex(...parts: Uint8Array[]): string {
  return Buffer.from(join(...parts)).toString("hex");
}

function refuses(payload: Uint8Array, reason: InvalidReason, offset?: number): void {
  spans.clear();
  try {
    decodeOtlp(payload, 0, payload.length, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    assert.equal(error.reason, reason, error.message);
    if (offset !== undefined) assert.equal(error.offset, offset, error.message);
    return;
  }
  assert.fail("it was taken");
}

const TRACE_ID = bytesField(1, new Uint8Array(16).fill(1));
const SPAN_ID = bytesField(2, new Uint8Array(8).fill(2));
const IDS = join(TRACE_ID, SPAN_ID);

/** A request with one span, with those fields besides its ids. */
function requestOf(...fields: Uint8Array[]): Uint8Array {
  return bytesField(1, bytesField(2, bytesField(2, IDS, ...fields)));
}

/** Where the first of those fields begins. */
function fieldOffset(...fields: Uint8Array[]): number {
  return requestOf(...fields).length - join(...fields).length;
}

describe("requests of OpenTelemetry's own serializer", () => {
  for (const name of FIXTURES) {
    test(
      `${name}: the spans come through untouched, and are those of the other encodings`,
      SLOW,
      () => {
        const { bincode } = fixture(name);
        const records = bincode.map((payload) => expressible(readBincode(payload).record));
        const parts = decode(serializeRecords(records));
        assert.equal(parts.length, records.length);
        const outcomes = new Set(parts.map((part) => JSON.stringify(recordOf(part))));
        for (const record of records) {
          assert.ok(outcomes.has(JSON.stringify(recordOf(reference(asOtlp(record))))));
        }
      },
    );
  }

  /** One record by itself. */
  function reference(record: OtlpRecord): Part {
    const [part, ...more] = decode(serializeRecords([{ ...record, isRemote: false }]));
    assert.ok(part !== undefined && more.length === 0);
    assert.deepEqual(recordOf(part), record);
    return part;
  }

  function recordOf(part: Part): OtlpRecord {
    const [span, ...more] = readFields(Buffer.from(part.span, "hex"));
    assert.ok(span?.number === 2 && more.length === 0);
    return {
      ...decodeSpan(span.bytes, "lenient"),
      resource: decodeResource(Buffer.from(part.resource, "hex"), "lenient"),
    };
  }

  test("random spans", SLOW, () => {
    const made = new RandomSpans(81);
    const finite = new RandomSpans(82, { nonFinite: false });
    for (let i = 0; i < 500; i++) {
      const nonFinite = i % 2 === 0;
      const record = expressible((nonFinite ? made : finite).span());
      const payload = serializeRecords([record]);
      const [part] = decode(payload);
      assert.ok(part !== undefined);
      assert.deepEqual(recordOf(part), asOtlp(record));
      if (!nonFinite) assert.ok(Buffer.from(payload).toString("hex").includes(part.span));
    }
  });
});

test("a request of other encodings' spans comes out as the same bytes", SLOW, () => {
  for (const name of FIXTURES) {
    for (const payload of fixture(name).bincode) {
      const fromBincode = new EncodedSpans();
      decodeBincode(payload, 0, payload.length, fromBincode);
      const { buffer } = fromBincode.writer;
      const span = buffer.slice(fromBincode.spanStart(0), fromBincode.spanEnd(0));
      const resource = buffer.slice(fromBincode.resourceStart(0), fromBincode.resourceEnd(0));
      assert.deepEqual(decode(bytesField(1, resource, bytesField(2, span))), [
        { span: hex(span), scope: "", resource: hex(resource) },
      ]);
    }
  }
});

describe("a request is taken apart", () => {
  const span = (name: string) => bytesField(2, IDS, textField(5, name));
  const resource = (key: string) => bytesField(1, keyValue(1, key, textField(1, "v")));
  const scope = (name: string) => bytesField(1, textField(1, name), textField(2, "1.0"));
  const url = textField(3, "https://opentelemetry.io/schemas/1.9.0");

  test("with each span's scope and resource, wherever they stand", () => {
    const payload = join(
      bytesField(
        1,
        bytesField(2, span("a"), scope("s1"), span("b"), url),
        resource("r1"),
        bytesField(2, span("c")),
        url,
      ),
      bytesField(1, resource("r2"), bytesField(2, scope("s2"), span("d"))),
    );
    const r1 = hex(resource("r1"), url);
    const s1 = hex(scope("s1"), url);
    assert.deepEqual(decode(payload), [
      { span: hex(span("a")), scope: s1, resource: r1 },
      { span: hex(span("b")), scope: s1, resource: r1 },
      { span: hex(span("c")), scope: "", resource: r1 },
      { span: hex(span("d")), scope: hex(scope("s2")), resource: hex(resource("r2")) },
    ]);
    assert.equal(spans.scopeStart(0), spans.scopeStart(1));
    assert.equal(spans.resourceStart(0), spans.resourceStart(2));
  });

  test("from the middle of a Buffer", () => {
    const payload = join(bytesField(1, resource("r1"), bytesField(2, span("a"))));
    const around = Buffer.concat([Buffer.alloc(9, 0x0a), payload, Buffer.alloc(9, 0x0a)]);
    spans.clear();
    decodeOtlp(around, 9, 9 + payload.length, spans);
    const bytes = spans.writer.buffer.subarray(spans.spanStart(0), spans.spanEnd(0));
    assert.equal(hex(bytes), hex(span("a")));
  });

  test("and a span's field whose length has more bytes than it needs gets the usual one", () => {
    const message = join(IDS, textField(5, "a"));
    const longHead = join(varint(0x12), varint(message.length, 3), message);
    const payload = bytesField(1, resource("r1"), bytesField(2, scope("s"), longHead, span("b")));
    assert.deepEqual(decode(payload).map((part) => part.span), [hex(span("a")), hex(span("b"))]);
  });

  test("ten thousand spans", SLOW, () => {
    const names = Array.from({ length: 10_000 }, (_, i) => `span ${i}`);
    const parts = decode(bytesField(1, bytesField(2, ...names.map(span))));
    assert.deepEqual(parts.map((part) => part.span), names.map((name) => hex(span(name))));
  });
});

describe("every known field", () => {
  const attribute = keyValue(9, "k", textField(1, "v"));
  const values = [
    textField(1, ""),
    varintField(2, 1),
    varintField(3, (1n << 64n) - 1n),
    fixed64Field(4, 1n),
    bytesField(5, bytesField(1, textField(1, "a")), bytesField(1)),
    bytesField(6, keyValue(1, "k", varintField(2, 0)), keyValue(1, "k")),
    bytesField(7, Uint8Array.of(0xff)),
  ];
  const link = join(TRACE_ID, SPAN_ID);
  const fields = [
    textField(3, "a=b"),
    bytesField(4, new Uint8Array(8)),
    textField(5, "n"),
    varintField(6, 5),
    fixed64Field(7, 1n),
    fixed64Field(8, 2n),
    ...values.map((value) => keyValue(9, "k", value)),
    varintField(10, 1),
    bytesField(
      11,
      fixed64Field(1, 1n),
      textField(2, "e"),
      keyValue(3, "k", textField(1, "v")),
      varintField(4, 1),
    ),
    varintField(12, 1),
    bytesField(
      13,
      link,
      textField(3, "c=d"),
      keyValue(4, "k"),
      varintField(5, 1),
      fixed32Field(6, 0x300),
    ),
    varintField(14, 1),
    bytesField(15, textField(2, "m"), varintField(3, 2)),
    fixed32Field(16, 0x101),
  ];

  test("may be there", () => {
    const [part] = decode(requestOf(...fields));
    assert.equal(part?.span, hex(bytesField(2, IDS, ...fields)));
    assert.equal(decode(requestOf(bytesField(4))).length, 1);
  });

  test("must have its wire type", () => {
    for (const field of fields) {
      const number = (readFields(field)[0] ?? assert.fail()).number;
      const wireType = (field[0] as number) & 7;
      for (const other of [0, 1, 2, 5]) {
        if (other === wireType) continue;
        const wrong = join(tag(number, other), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0));
        refuses(requestOf(wrong), "invalid-tag", fieldOffset(wrong));
      }
    }
    refuses(requestOf(keyValue(9, "k", join(tag(1, 0), varint(1)))), "invalid-tag");
    refuses(bytesField(1, varintField(2, 1)), "invalid-tag");
    refuses(varintField(1, 1), "invalid-tag", 0);
  });

  test("may come only once, unless it is repeated", () => {
    for (const [i, field] of fields.entries()) {
      const number = (readFields(field)[0] ?? assert.fail()).number;
      if ([9, 11, 13].includes(number)) {
        assert.equal(decode(requestOf(field, attribute, field)).length, 1);
      } else refuses(requestOf(field, ...fields.slice(i)), "duplicate-field");
    }
    refuses(requestOf(TRACE_ID), "duplicate-field");
    for (const value of values) {
      for (const other of values) {
        refuses(requestOf(keyValue(9, "k", value, other)), "duplicate-field");
      }
    }
    const twice = (field: Uint8Array) => join(field, field);
    refuses(requestOf(bytesField(9, twice(textField(1, "k")))), "duplicate-field");
    refuses(requestOf(bytesField(9, twice(bytesField(2, textField(1, "v"))))), "duplicate-field");
    const scopeSpans = bytesField(2, bytesField(2, IDS));
    refuses(bytesField(1, twice(bytesField(1)), scopeSpans), "duplicate-field");
    refuses(
      bytesField(1, bytesField(2, twice(bytesField(1)), bytesField(2, IDS))),
      "duplicate-field",
    );
    refuses(bytesField(1, scopeSpans, twice(textField(3, "u"))), "duplicate-field");
  });

  test("of text is UTF-8", () => {
    const bad = Uint8Array.of(0x61, 0xed, 0xa0, 0x80);
    for (const number of [3, 5]) {
      refuses(requestOf(bytesField(number, bad)), "invalid-utf8", fieldOffset(bad) + 3);
    }
    refuses(requestOf(bytesField(9, bytesField(1, bad))), "invalid-utf8");
    refuses(requestOf(keyValue(9, "k", bytesField(1, bad))), "invalid-utf8");
    refuses(requestOf(bytesField(11, bytesField(2, bad))), "invalid-utf8");
    refuses(requestOf(bytesField(13, link, bytesField(3, bad))), "invalid-utf8");
    refuses(requestOf(bytesField(15, bytesField(2, bad))), "invalid-utf8");
    const scopeSpans = bytesField(2, bytesField(2, IDS));
    refuses(bytesField(1, scopeSpans, bytesField(3, bad)), "invalid-utf8");
    refuses(
      bytesField(1, bytesField(1, bytesField(3, bytesField(1, bad))), scopeSpans),
      "invalid-utf8",
    );
    refuses(
      bytesField(1, bytesField(2, bytesField(1, bytesField(1, bad)), bytesField(2, IDS))),
      "invalid-utf8",
    );
  });

  test("that is an id has its size", () => {
    const spanOf = (...fields: Uint8Array[]) => bytesField(1, bytesField(2, bytesField(2, ...fields)));
    refuses(spanOf(TRACE_ID), "missing-field");
    refuses(spanOf(SPAN_ID), "missing-field");
    refuses(spanOf(), "missing-field");
    for (const size of [0, 8, 15, 17, 32]) {
      refuses(spanOf(bytesField(1, new Uint8Array(size)), SPAN_ID), "invalid-value");
    }
    for (const size of [0, 7, 9, 16]) {
      refuses(spanOf(TRACE_ID, bytesField(2, new Uint8Array(size))), "invalid-value");
    }
    for (const size of [1, 7, 9, 16]) {
      refuses(requestOf(bytesField(4, new Uint8Array(size))), "invalid-value");
    }
    refuses(requestOf(bytesField(13, TRACE_ID)), "missing-field");
    refuses(requestOf(bytesField(13, TRACE_ID, bytesField(2))), "invalid-value");
  });

  test("that is an ID of a span has a bit set", () => {
    const spanOf = (...fields: Uint8Array[]) => bytesField(1, bytesField(2, bytesField(2, ...fields)));
    refuses(spanOf(bytesField(1, new Uint8Array(16)), SPAN_ID), "invalid-value", 8);
    refuses(spanOf(TRACE_ID, bytesField(2, new Uint8Array(8))), "invalid-value", 26);
    for (let bit = 0; bit < 128; bit++) {
      const id = new Uint8Array(16);
      id[bit >> 3] = 1 << (bit & 7);
      assert.equal(decode(spanOf(bytesField(1, id), SPAN_ID)).length, 1);
      if (bit < 64) assert.equal(decode(spanOf(TRACE_ID, bytesField(2, id.subarray(0, 8)))).length, 1);
    }
    const zeros = join(bytesField(1, new Uint8Array(16)), bytesField(2, new Uint8Array(8)));
    assert.equal(decode(requestOf(bytesField(4, new Uint8Array(8)), bytesField(13, zeros))).length, 1);
  });
});

describe("what is no request is refused", () => {
  test("fields that OTLP does not have, where there are more than one for 32 bytes", () => {
    const unknown = varintField(17, 1);
    const withUnknown = (count: number) => requestOf(...Array.from({ length: count }, () => unknown));
    assert.equal(decode(withUnknown(32)).length, 1);
    refuses(withUnknown(100), "too-large");
    // In each attribute of a span there may be one.
    const attribute = bytesField(
      9,
      textField(1, "a.key.of.some.length"),
      bytesField(2, textField(1, "value")),
      unknown,
    );
    assert.equal(decode(requestOf(...Array.from({ length: 1000 }, () => attribute))).length, 1);
  });

  test("nothing, and no span", () => {
    refuses(new Uint8Array(0), "missing-field", 0);
    refuses(bytesField(1), "missing-field", 2);
    refuses(bytesField(1, bytesField(1), bytesField(2, bytesField(1))), "missing-field", 6);
    const good = bytesField(2, bytesField(2, IDS));
    refuses(bytesField(1, good, bytesField(2)), "missing-field");
    refuses(join(bytesField(1, good), bytesField(1, bytesField(1))), "missing-field");
  });

  test("more resources or scopes than anyone has", () => {
    const scope = bytesField(2, bytesField(2, IDS));
    const times = (count: number, bytes: Uint8Array) => join(...Array.from({ length: count }, () => bytes));
    assert.equal(decode(times(1024, bytesField(1, scope))).length, 1024);
    refuses(times(1025, bytesField(1, scope)), "too-large");
    assert.equal(decode(bytesField(1, times(4096, scope))).length, 4096);
    refuses(bytesField(1, times(4097, scope)), "too-large");
    refuses(times(3, bytesField(1, times(1366, scope))), "too-large");
  });

  test("other fields in the request", () => {
    const request = requestOf();
    refuses(join(request, bytesField(2)), "invalid-tag", request.length);
    refuses(join(request, varintField(1000, 1)), "invalid-tag", request.length);
  });

  test("spans where only old collectors would see them", () => {
    refuses(
      bytesField(1, bytesField(2, bytesField(2, IDS)), bytesField(1000, bytesField(2, IDS))),
      "invalid-tag",
    );
  });

  test("groups, at any depth", () => {
    for (const wireType of [3, 4, 6, 7]) {
      for (const number of [5, 100]) {
        const group = tag(number, wireType);
        refuses(requestOf(group), "invalid-tag", fieldOffset(group));
        refuses(requestOf(bytesField(15, group)), "invalid-tag");
        refuses(bytesField(1, bytesField(2, bytesField(2, IDS), group)), "invalid-tag");
        refuses(bytesField(1, bytesField(2, bytesField(2, IDS)), group), "invalid-tag");
      }
      refuses(tag(1, wireType), "invalid-tag", 0);
    }
  });

  test("field numbers that are none", () => {
    for (const bytes of [varint(0), varint(7), varint(1n << 32n), varint((1n << 64n) - 1n)]) {
      const wrong = join(bytes, varint(0));
      refuses(requestOf(wrong), "invalid-tag", fieldOffset(wrong));
    }
  });

  test("varints that are cut, or longer than 64 bits", () => {
    const over = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    for (const number of [6, 100]) {
      assert.equal(decode(requestOf(varintField(number, (1n << 64n) - 1n))).length, 1);
      refuses(requestOf(tag(number, 0), over, Uint8Array.of(2)), "invalid-value");
      refuses(requestOf(tag(number, 0), over, Uint8Array.of(0x81, 0)), "invalid-value");
      refuses(requestOf(tag(number, 0)), "truncated");
      refuses(requestOf(tag(number, 0), Uint8Array.of(0x80)), "truncated");
      refuses(requestOf(bytesField(15, tag(number, 0)), varintField(6, 1)), "invalid-value");
    }
  });

  test("tags and numbers with more bytes than they need, which no encoder writes", () => {
    for (const padding of [1, 4, 8]) {
      const text = join(varint(0x2a, padding), varint(1), Uint8Array.of(0x61));
      refuses(requestOf(text), "invalid-value", fieldOffset(text));
      for (const number of [6, 10, 100]) {
        const padded = join(tag(number, 0), varint(1, padding));
        refuses(requestOf(padded), "invalid-value", fieldOffset(padded) + tag(number, 0).length);
      }
      refuses(requestOf(keyValue(9, "k", join(tag(2, 0), varint(1, padding)))), "invalid-value");
      refuses(requestOf(keyValue(9, "k", join(tag(3, 0), varint(1, padding)))), "invalid-value");
    }
  });

  test("bools that are neither true nor false", () => {
    for (const value of [2n, 128n, 1n << 32n, 1n << 63n]) {
      refuses(requestOf(keyValue(9, "k", varintField(2, value))), "invalid-value");
    }
  });

  test("lengths of more than five bytes, and very many that have more than they need", () => {
    refuses(requestOf(join(tag(5, 2), varint(0, 5))), "invalid-value");
    for (const length of [2 ** 53, 2n ** 63n, 2n ** 64n - 1n]) {
      for (const number of [5, 11, 100]) refuses(requestOf(join(tag(number, 2), varint(length))), "invalid-value");
    }
    const padded = join(tag(9, 2), varint(2, 1), bytesField(2));
    const attributes = (count: number) => join(...Array.from({ length: count }, () => padded));
    assert.equal(decode(requestOf(attributes(32))).length, 1);
    refuses(requestOf(attributes(500)), "too-large");
  });

  test("attributes and events with nothing in them", () => {
    refuses(requestOf(bytesField(9)), "missing-field");
    refuses(requestOf(bytesField(11)), "missing-field");
    refuses(requestOf(bytesField(11, bytesField(3))), "missing-field");
    refuses(requestOf(bytesField(13, IDS, bytesField(4))), "missing-field");
    refuses(requestOf(keyValue(9, "k", bytesField(6, bytesField(1)))), "missing-field");
    refuses(bytesField(1, bytesField(1, bytesField(1)), bytesField(2, bytesField(2, IDS))), "missing-field");
    // What is left of it would be empty.
    refuses(requestOf(bytesField(9, textField(3, "x"))), "missing-field");
    // A value may be nothing, and so may one of a list.
    assert.equal(decode(requestOf(bytesField(9, bytesField(2)))).length, 1);
    assert.equal(decode(requestOf(keyValue(9, "k", bytesField(5, bytesField(1))))).length, 1);
  });

  test("lengths beyond the end, of the payload or only of the message", () => {
    for (const length of [1, 2 ** 31, 2 ** 32 - 1]) {
      for (const number of [5, 11, 100]) {
        const wrong = join(tag(number, 2), varint(length));
        refuses(requestOf(wrong), "truncated");
        refuses(requestOf(bytesField(15, wrong), textField(5, "and more")), "invalid-value");
      }
    }
    refuses(requestOf(fixed64Field(7, 1n).subarray(0, 8)), "truncated");
    refuses(
      requestOf(bytesField(13, IDS, fixed32Field(6, 1).subarray(0, 4)), varintField(6, 1)),
      "invalid-value",
    );
  });

  test("a resource or a scope that is too large to repeat", () => {
    const span = bytesField(2, IDS);
    // Its field has four bytes more.
    const text = (bytes: number) => bytesField(1, new Uint8Array(bytes - 4));
    const scope = (bytes: number) => bytesField(1, text(bytes - 4));
    assert.equal(decode(bytesField(1, bytesField(2, scope(65_536), span))).length, 1);
    refuses(bytesField(1, bytesField(2, scope(65_537), span)), "too-large", 4);
    const resource = (bytes: number) => bytesField(1, bytesField(1, text(bytes - 8)));
    assert.equal(decode(bytesField(1, resource(65_536), bytesField(2, span))).length, 1);
    refuses(bytesField(1, resource(65_537), bytesField(2, span)), "too-large", 0);
    // 256 times 64 KiB are 16 MiB, and no more is repeated.
    const spansOf = (count: number) => join(...Array.from({ length: count }, () => span));
    const repeated = (count: number) => bytesField(1, resource(65_536), bytesField(2, spansOf(count)));
    assert.equal(decode(repeated(256)).length, 256);
    refuses(repeated(257), "too-large");
  });

  test("messages that nest too deep", () => {
    // Five are around a value of an attribute: the request, its resource, its scope, the span and the attribute.
    const nested = (depth: number, wrap: (value: Uint8Array) => Uint8Array) => {
      let value = varintField(2, 1);
      for (let i = 1; i < depth; i++) value = wrap(value);
      return requestOf(keyValue(9, "k", value));
    };
    const inArray = (value: Uint8Array) => bytesField(5, bytesField(1, value));
    const inList = (value: Uint8Array) => bytesField(6, keyValue(1, "k", value));
    for (const [wrap, deepest] of [[inArray, 28], [inList, 19]] as const) {
      assert.equal(decode(nested(deepest, wrap)).length, 1);
      refuses(nested(deepest + 1, wrap), "too-deep");
      refuses(nested(3_000, wrap), "too-deep");
    }
  });
});
