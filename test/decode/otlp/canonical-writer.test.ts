import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeOtlp } from "../../../src/decode/otlp/decoder.ts";
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
import { tightSpans } from "../support/otlp-tight-spans.ts";
import { readFields } from "../support/protobuf-reader.ts";
import { Random } from "../support/random.ts";

const IDS = join(bytesField(1, new Uint8Array(16).fill(1)), bytesField(2, new Uint8Array(8).fill(2)));

/** A request of one span with those fields besides its IDs. */
function request(...fields: Uint8Array[]): Uint8Array {
  return bytesField(1, bytesField(2, bytesField(2, IDS, ...fields)));
}

/** The request that the parts of a decoded one make. */
function decoded(payload: Uint8Array): Uint8Array {
  const spans = tightSpans();
  decodeOtlp(payload, 0, payload.length, spans);
  assert.equal(spans.count, 1);
  const part = (start: number, end: number) => spans.writer.buffer.slice(start, end);
  const scope = part(spans.scopeStart(0), spans.scopeEnd(0));
  const resource = part(spans.resourceStart(0), spans.resourceEnd(0));
  return bytesField(1, resource, bytesField(2, scope, part(spans.spanStart(0), spans.spanEnd(0))));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function becomes(payload: Uint8Array, expected: Uint8Array): void {
  assert.equal(hex(decoded(payload)), hex(expected));
  assert.equal(hex(decoded(expected)), hex(expected), "what is canonical stays");
}

describe("a request leaves in canonical form", () => {
  test("one that is canonical as it is", () => {
    const payload = request(textField(5, "n"), varintField(6, 3), fixed64Field(7, 1n), fixed32Field(16, 0x301));
    assert.equal(hex(decoded(payload)), hex(payload));
  });

  test("lengths have no byte too many", () => {
    const text = new TextEncoder().encode("name");
    for (let padding = 1; padding <= 3; padding++) {
      // Five bytes are the most that a length may have.
      const field = (number: number, content: Uint8Array) =>
        join(tag(number, 2), varint(content.length, padding), content);
      const span = join(IDS, field(5, text), varintField(6, 3), fixed32Field(16, 1));
      becomes(
        field(1, field(2, field(2, span))),
        request(bytesField(5, text), varintField(6, 3), fixed32Field(16, 1)),
      );
    }
  });

  test("lengths of four bytes in each attribute, event and link, as .NET writes them", () => {
    const attribute = (number: number, write: (number: number, content: Uint8Array) => Uint8Array) =>
      write(number, join(textField(1, "k"), bytesField(2, varintField(2, 1))));
    const batch = (write: (number: number, content: Uint8Array) => Uint8Array) => {
      const attributes = (number: number) => join(...Array.from({ length: 200 }, () => attribute(number, write)));
      const event = write(11, join(fixed64Field(1, 1n), textField(2, "e"), attributes(3)));
      const link = write(13, join(IDS, attributes(4)));
      return write(1, join(write(1, attributes(1)), write(2, write(2, join(IDS, attributes(9), event, link)))));
    };
    becomes(
      batch((number, content) =>
        join(tag(number, 2), varint(content.length, 4 - varint(content.length).length), content)
      ),
      batch((number, content) => bytesField(number, content)),
    );
  });

  test("fields that OTLP does not have are left out, at every level", () => {
    const unknown = join(
      varintField(100, (1n << 64n) - 1n),
      fixed64Field(101, 1n),
      fixed32Field(536_870_911, 1),
      bytesField(102, Uint8Array.of(0xff, 0x0b)),
    );
    const span = (...more: Uint8Array[]) => bytesField(2, IDS, ...more);
    const value = (...more: Uint8Array[]) => bytesField(9, textField(1, "k"), ...more, bytesField(2, ...more));
    becomes(
      bytesField(
        1,
        unknown,
        bytesField(1, unknown),
        bytesField(2, unknown, bytesField(1, unknown), span(unknown, value(unknown), bytesField(15, unknown))),
      ),
      bytesField(1, bytesField(1), bytesField(2, bytesField(1), span(value(), bytesField(15)))),
    );
  });

  test("what refers to the string table of a profile is left out", () => {
    becomes(
      request(bytesField(9, varintField(3, 1), bytesField(2, varintField(8, 1)))),
      request(bytesField(9, bytesField(2))),
    );
    // A decoder that knows the field would refuse this one.
    becomes(request(bytesField(9, textField(3, "x"), bytesField(2))), request(bytesField(9, bytesField(2))));
  });

  test("non-finite doubles are strings, wherever they are", () => {
    const NAN = 0x7ff8n << 48n;
    const list = (...values: Uint8Array[]) => bytesField(5, ...values.map((value) => bytesField(1, value)));
    const doubles = [NAN, NAN | 1n, 0xfff0_0000_0000_0001n, 0x7ff0n << 48n, 0xfff0n << 48n, 0x7fef_ffff_ffff_ffffn];
    const texts = ["NaN", "NaN", "NaN", "Infinity", "-Infinity"];
    const before = doubles.map((double) => fixed64Field(4, double));
    const after = [...texts.map((text) => textField(1, text)), before[5] as Uint8Array];
    const around = (values: readonly Uint8Array[]) => {
      const attributes = (number: number) => [
        ...values.map((value) => keyValue(number, "k", value)),
        keyValue(number, "list", list(...values)),
        keyValue(number, "map", bytesField(6, ...values.map((value) => keyValue(1, "k", value)))),
      ];
      const span = bytesField(
        2,
        IDS,
        ...attributes(9),
        bytesField(11, ...attributes(3)),
        bytesField(13, IDS, ...attributes(4)),
      );
      const scope = bytesField(1, ...attributes(3));
      return bytesField(1, bytesField(1, ...attributes(1)), bytesField(2, scope, span));
    };
    becomes(around(before), around(after));
  });

  test("a kind or status code that OTLP does not have is left out", () => {
    for (const value of [6n, 1n << 32n, (1n << 64n) - 1n]) becomes(request(varintField(6, value)), request());
    for (const value of [3n, (1n << 32n) | 1n]) {
      becomes(request(bytesField(15, varintField(3, value))), request(bytesField(15)));
    }
    for (let kind = 0; kind < 6; kind++) becomes(request(varintField(6, kind)), request(varintField(6, kind)));
  });

  test("lengths around what shrinks and grows are right at every step of a varint", () => {
    for (const size of [120, 121, 122, 123, 124, 125, 126, 127, 128, 130, 16_370, 16_380, 16_384, 16_390]) {
      const text = textField(5, "x".repeat(size));
      becomes(request(text, varintField(100, 1)), request(text));
      const grown = (value: Uint8Array) => request(text, keyValue(9, "k", value));
      becomes(grown(fixed64Field(4, 0xfff0n << 48n)), grown(textField(1, "-Infinity")));
    }
  });

  test("64-bit integers keep their bits", () => {
    const random = new Random(5);
    for (let i = 0; i < 500; i++) {
      const value = BigInt.asUintN(
        1 + random.below(64),
        (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32)),
      );
      const attribute = keyValue(9, "k", varintField(3, value));
      becomes(request(attribute, varintField(100, 1)), request(attribute));
    }
  });
});

test("what leaves is read by a strict reader", () => {
  const payload = request(join(tag(5, 2), varint(1, 4), Uint8Array.of(0x61)));
  assert.throws(() => readFields(readFields(readFields(readFields(payload)[0]!.bytes)[0]!.bytes)[0]!.bytes));
  const fields = readFields(readFields(readFields(readFields(decoded(payload))[0]!.bytes)[0]!.bytes)[0]!.bytes);
  assert.deepEqual(fields.map(({ number }) => number), [1, 2, 5]);
});
