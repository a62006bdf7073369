import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ProtobufWriter } from "../../src/otlp/protobuf-writer.ts";
import { AttributeMap } from "../../src/decode/attribute-map.ts";
import { readFields } from "./support/protobuf-reader.ts";
import { Random } from "./support/random.ts";

const FIELD = 0x4a;

/** Writes entries as fields of a key (1) and a value (2), and returns what is left, in its order. */
function mapped(map: AttributeMap, entries: readonly (readonly [string, string])[]): string[][] {
  const writer = new ProtobufWriter(16);
  writer.bytes(Uint8Array.of(1, 2, 3));
  map.begin(writer);
  for (const [key, value] of entries) {
    const fieldStart = writer.position;
    const content = writer.openMessage(FIELD);
    const bytes = Buffer.from(key);
    writer.lengthDelimited(1, bytes);
    const keyEnd = writer.position;
    writer.lengthDelimited(2, Buffer.from(value));
    const moved = writer.closeMessage(content);
    map.add(fieldStart, keyEnd - bytes.length + moved, bytes.length);
  }
  map.end();
  assert.deepEqual(writer.buffer.slice(0, 3), Uint8Array.of(1, 2, 3));
  return readFields(writer.buffer.slice(3, writer.position)).map(({ bytes }) =>
    readFields(bytes).map((field) => Buffer.from(field.bytes).toString())
  );
}

/** The same with JavaScript's own map: a key that comes again goes to the end. */
function expected(entries: readonly (readonly [string, string])[]): string[][] {
  const map = new Map<string, string>();
  for (const [key, value] of entries) {
    map.delete(key);
    map.set(key, value);
  }
  return [...map].map(([key, value]) => [key, value]);
}

describe("of entries with one key the last stays, in its place", () => {
  test("random maps with few and many keys, short and long, in one reused map", () => {
    const random = new Random(99);
    const map = new AttributeMap();
    for (let round = 0; round < 2_000; round++) {
      const keys = random.many(
        1 + random.below(60),
        () => "abcdefgh".repeat(30).slice(0, random.below(12)) + random.below(9),
      );
      const entries = random.many(random.below(random.pick([4, 40, 200])), () => {
        const value = "v".repeat(random.pick([0, 1, 130])) + random.below(1000);
        return [random.pick(keys), value] as const;
      });
      assert.deepEqual(mapped(map, entries), expected(entries));
    }
  });

  test("keys that a fingerprint of length, beginning and end does not tell apart", () => {
    const keys = Array.from({ length: 50 }, (_, i) => `same${String(i).padStart(4, "0")}tail`);
    for (const count of [2, 3, 31, 32, 33, 50]) {
      const entries = [...keys.slice(0, count), ...keys.slice(0, count)].map((key, i) => [key, String(i)] as const);
      assert.deepEqual(mapped(new AttributeMap(), entries), expected(entries));
    }
  });

  test("keys that begin alike, are empty, or are part of another", () => {
    const entries = ["", "a", "aa", "aaa", "aaaa", "aaaaa", "\0", "\0\0", "", "aaa", "aaaaa", "\0"]
      .map(
        (key, i) => [key, String(i)] as const,
      );
    assert.deepEqual(mapped(new AttributeMap(), entries), expected(entries));
  });
});

describe("time is linear: none of these would end if it were not", () => {
  test("200,000 keys with one fingerprint, twice", () => {
    const keys = Array.from({ length: 200_000 }, (_, i) => `head${String(i).padStart(6, "0")}tail`);
    const entries = [...keys, ...keys].map((key, i) => [key, String(i)] as const);
    const map = new AttributeMap();
    assert.deepEqual(mapped(map, entries), expected(entries));
    // And the memory of a large map does not spoil a small one.
    assert.deepEqual(mapped(map, [["a", "1"], ["a", "2"]]), [["a", "2"]]);
  });

  test("32 keys of 100,000 bytes that differ in the middle only", () => {
    const half = "x".repeat(50_000);
    const entries = Array.from(
      { length: 32 },
      (_, i) => [half + String.fromCharCode(65 + i) + half, "v"] as const,
    );
    assert.deepEqual(mapped(new AttributeMap(), entries), expected(entries));
  });
});
