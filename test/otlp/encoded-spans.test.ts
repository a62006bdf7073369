import assert from "node:assert/strict";
import { test } from "node:test";
import { countPacked, EncodedSpans } from "../../src/otlp/encoded-spans.ts";

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
