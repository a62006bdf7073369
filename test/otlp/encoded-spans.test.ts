import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { countPacked, EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { bytesField, join } from "../decode/support/otlp-message.ts";

function ranges(spans: EncodedSpans, span: number): number[] {
  return [
    spans.spanStart(span),
    spans.spanEnd(span),
    spans.scopeStart(span),
    spans.scopeEnd(span),
    spans.resourceStart(span),
    spans.resourceEnd(span),
  ];
}

/** Adds a span whose six numbers follow each other. */
function addAt(spans: EncodedSpans, first: number): void {
  spans.setScope(first + 2, first + 3);
  spans.setResource(first + 4, first + 5);
  spans.add(first, first + 1);
}

test("each span keeps its ranges, also of many spans, payload after payload", () => {
  const spans = new EncodedSpans();
  for (const count of [1, 17, 100_000, 3, 40]) {
    for (let i = 0; i < count; i++) addAt(spans, i);
    assert.equal(spans.count, count);
    for (const i of [0, count >> 1, count - 1]) {
      assert.deepEqual(ranges(spans, i), [i, i + 1, i + 2, i + 3, i + 4, i + 5]);
    }
    spans.writer.byte(1);
    spans.clear();
    assert.deepEqual([spans.count, spans.writer.position], [0, 0]);
  }
});

test("a run ends before a span that does not follow, or has another scope or resource", () => {
  const spans = new EncodedSpans();
  const place = { scope: [0, 1], resource: [1, 2] };
  const add = (start: number, end: number, { scope, resource } = place) => {
    spans.setScope(scope[0] as number, scope[1] as number);
    spans.setResource(resource[0] as number, resource[1] as number);
    spans.add(start, end);
  };
  add(10, 20);
  add(20, 30);
  add(31, 40);
  add(40, 50, { ...place, scope: [0, 2] });
  add(50, 60, { ...place, scope: [1, 1] });
  add(60, 70);
  add(70, 80, { ...place, resource: [1, 3] });
  add(80, 90, { ...place, resource: [2, 3] });
  add(90, 99, { ...place, resource: [2, 3] });
  assert.deepEqual(Array.from({ length: 9 }, (_, i) => spans.endOfRun(i)), [2, 2, 3, 4, 5, 6, 7, 9, 9]);
});

test("a span that moved keeps the rest", () => {
  const spans = new EncodedSpans();
  for (let i = 0; i < 3; i++) addAt(spans, i);
  spans.moveSpan(1, 70, 80);
  assert.deepEqual([0, 1, 2].map((i) => ranges(spans, i)), [
    [0, 1, 2, 3, 4, 5],
    [70, 80, 3, 4, 5, 6],
    [2, 3, 4, 5, 6, 7],
  ]);
});

test("a payload's first span has neither a resource nor a scope until they are set", () => {
  const spans = new EncodedSpans();
  addAt(spans, 7);
  spans.clear();
  spans.add(1, 2);
  assert.deepEqual(ranges(spans, 0), [1, 2, 0, 0, 0, 0]);
});

test("a copy has the bytes of the spans and nothing else, and they share what they shared", () => {
  const spans = new EncodedSpans();
  spans.writer.bytes(Uint8Array.from({ length: 100 }, (_, index) => index));
  spans.setResource(10, 14);
  spans.setScope(20, 23);
  spans.add(30, 35);
  spans.add(40, 45);
  spans.setScope(50, 51);
  spans.add(90, 100);
  spans.setResource(60, 60);
  spans.add(0, 1);
  const copy = spans.copy();
  const { buffer, position } = copy.writer;
  spans.clear();
  spans.writer.bytes(new Uint8Array(100));
  assert.deepEqual([copy.count, position, buffer.length], [4, 29, 29]);
  const slices = Array.from({ length: copy.count }, (_, i) => {
    const [start, end, scopeStart, scopeEnd, resourceStart, resourceEnd] = ranges(copy, i);
    return [[start, end], [scopeStart, scopeEnd], [resourceStart, resourceEnd]].map((at) => [...buffer.slice(...at)]);
  });
  const [resource, scope] = [[10, 11, 12, 13], [20, 21, 22]];
  assert.deepEqual(slices, [
    [[30, 31, 32, 33, 34], scope, resource],
    [[40, 41, 42, 43, 44], scope, resource],
    [[90, 91, 92, 93, 94, 95, 96, 97, 98, 99], [50], resource],
    [[0], [50], []],
  ]);
  assert.deepEqual([0, 1, 2, 3].map((i) => copy.sharesResource(i)), [false, true, true, false]);
  assert.deepEqual([0, 1, 2, 3].map((i) => copy.sharesScope(i)), [false, true, false, true]);
  assert.equal(new EncodedSpans().copy().count, 0);
});

/** A `spans` field with so many bytes of content, all the same. */
function spanField(bytes: number, byte: number): Uint8Array {
  return bytesField(2, new Uint8Array(bytes).fill(byte));
}

const FIELDS = new Uint8Array(35).fill(99);

for (const bytes of [0, 90, 100, 127, 16_340, 16_383, 2_097_140, 3_000_000]) {
  test(`a span of ${bytes} bytes gets fields at its end where it is, with its scope and its resource behind it`, () => {
    for (const [before, behind] of [["", ""], ["ab", ""], ["a", "b"], ["", "ab"]] as const) {
      const spans = new EncodedSpans();
      const { writer } = spans;
      const put = (
        content: Uint8Array,
      ): [number, number] => [writer.position, (writer.bytes(content), writer.position)];
      const other = (name: string): void => {
        const at = put(new Uint8Array(3).fill(name.charCodeAt(0)));
        if (name === "a") spans.setScope(...at);
        else spans.setResource(...at);
      };
      for (const name of before) other(name);
      const at = put(spanField(bytes, 1));
      for (const name of behind) other(name);
      spans.add(...at);
      const { position } = writer;
      const copied = behind !== "" && bytes < 6;
      spans.appendToSpan(0, FIELDS);
      const [start = 0, end = 0, ...others] = ranges(spans, 0);
      const expected = join(bytesField(2, new Uint8Array(bytes).fill(1), FIELDS));
      assert.deepEqual(Buffer.from(writer.buffer.subarray(start, end)), Buffer.from(expected));
      if (!copied) assert.equal(writer.position, position + expected.length - spanField(bytes, 1).length);
      const slices = [others.slice(0, 2), others.slice(2)].map((range) => [...writer.buffer.slice(...range)]);
      const isThere = (name: string): number[] =>
        (before + behind).includes(name) ? Array(3).fill(name.charCodeAt(0)) : [];
      assert.deepEqual(slices, [isThere("a"), isThere("b")]);
    }
  });
}

test("a span that others are behind is copied when it gets fields, and the last one is not", () => {
  const spans = new EncodedSpans();
  const { writer } = spans;
  for (let i = 0; i < 3; i++) {
    const start = writer.position;
    writer.bytes(spanField(100, i));
    spans.add(start, writer.position);
  }
  const lastStart = spans.spanStart(2);
  for (const span of [2, 0]) spans.appendToSpan(span, FIELDS);
  assert.equal(spans.spanStart(2), lastStart);
  const slices = [0, 1, 2].map((i) => Buffer.from(writer.buffer.slice(spans.spanStart(i), spans.spanEnd(i))));
  const longer = (byte: number): Uint8Array => bytesField(2, new Uint8Array(100).fill(byte), FIELDS);
  assert.deepEqual(slices, [longer(0), spanField(100, 1), longer(2)].map((bytes) => Buffer.from(bytes)));
});

test("a span that is shortened has a length of as few bytes as it needs, and can get fields again", () => {
  for (const [bytes, left] of [[300, 200], [300, 100], [300, 0], [20_000, 16_383], [3_000_000, 5]] as const) {
    const spans = new EncodedSpans();
    const { writer } = spans;
    writer.byte(7);
    writer.bytes(spanField(bytes, 1));
    spans.add(1, writer.position);
    const { position } = writer;
    spans.shortenSpan(0, left);
    const slice = (): Buffer => Buffer.from(writer.buffer.slice(spans.spanStart(0), spans.spanEnd(0)));
    assert.deepEqual([writer.position, slice()], [position, Buffer.from(spanField(left, 1))]);
    spans.appendToSpan(0, FIELDS);
    assert.deepEqual(slice(), Buffer.from(bytesField(2, new Uint8Array(left).fill(1), FIELDS)));
    assert.equal(writer.buffer[0], 7);
  }
});

test("what is packed is a copy, and what is unpacked can be added to", () => {
  for (const count of [0, 3, 40]) {
    const spans = new EncodedSpans();
    spans.writer.bytes(Uint8Array.of(1, 2, 3));
    for (let i = 0; i < count; i++) addAt(spans, i);
    const packed = structuredClone(spans.pack());
    assert.equal(countPacked(packed), count);
    spans.writer.buffer.fill(9);

    const other = new EncodedSpans();
    for (let i = 0; i < 20; i++) addAt(other, 100 + i);
    other.unpack(packed);
    assert.equal(other.count, count);
    for (let i = 0; i < count; i++) assert.deepEqual(ranges(other, i), [i, i + 1, i + 2, i + 3, i + 4, i + 5]);
    addAt(other, 70);
    other.writer.byte(4);
    assert.deepEqual(ranges(other, count), [70, 71, 72, 73, 74, 75]);
    assert.deepEqual([...other.writer.buffer.subarray(0, other.writer.position)], [1, 2, 3, 4]);
    assert.deepEqual([...packed.bytes], [1, 2, 3]);
    other.clear();
    assert.deepEqual([other.count, other.writer.position], [0, 0]);
  }
});
