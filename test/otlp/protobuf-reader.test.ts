import assert from "node:assert/strict";
import { test } from "node:test";
import { ProtobufError, ProtobufReader } from "../../src/otlp/protobuf-reader.ts";
import { encode } from "./support/otlp-proto.ts";

/** All fields of a message, by what the reader says of them. */
function fields(bytes: readonly number[]): string[] {
  const reader = new ProtobufReader(Uint8Array.from(bytes));
  const seen: string[] = [];
  while (reader.next()) {
    const value = (reader.tag & 7) === 2 ? `${reader.start}..${reader.end}` : `${reader.high}:${reader.low}`;
    seen.push(`${reader.tag}=${value} @${reader.fieldStart}..${reader.position}`);
  }
  return seen;
}

function errorOf(bytes: readonly number[]): ProtobufError {
  try {
    fields(bytes);
  } catch (error) {
    assert.ok(error instanceof ProtobufError, String(error));
    return error;
  }
  assert.fail("no error");
}

test("an empty message has no fields", () => {
  assert.deepEqual(fields([]), []);
});

test("each wire type is read, with where its field lies", () => {
  assert.deepEqual(
    fields([0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 2, 9, 9, 0x25, 1, 0, 0, 0x80]),
    [
      "8=0:150 @0..3",
      "17=134678021:67305985 @3..12",
      "26=14..16 @12..16",
      "37=0:2147483649 @16..21",
    ],
  );
});

test("varints of up to 64 bits are exact", () => {
  const cases: [bigint, readonly number[]][] = [
    [0n, [0]],
    [127n, [0x7f]],
    [128n, [0x80, 1]],
    [2n ** 28n, [0x80, 0x80, 0x80, 0x80, 1]],
    [2n ** 32n - 1n, [0xff, 0xff, 0xff, 0xff, 0x0f]],
    [2n ** 32n, [0x80, 0x80, 0x80, 0x80, 0x10]],
    [2n ** 53n + 1n, [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]],
    [2n ** 63n, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]],
    [2n ** 64n - 1n, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]],
  ];
  for (const [value, bytes] of cases) {
    const reader = new ProtobufReader(Uint8Array.from([0x08, ...bytes]));
    assert.equal(reader.next(), true);
    assert.equal(reader.uint64(), value);
    assert.equal(reader.int64(), BigInt.asIntN(64, value));
    assert.equal(reader.next(), false);
  }
});

test("protobufjs writes what is read", () => {
  for (const text of ["0", "1", "-1", "9223372036854775807", "-9223372036854775808"]) {
    const reader = new ProtobufReader(encode("AnyValue", { intValue: text }));
    assert.equal(reader.next(), true);
    assert.equal(String(reader.int64()), text);
  }
});

test("a reader keeps to its range", () => {
  const bytes = Uint8Array.from([0xff, 0x0a, 3, 0x61, 0xc3, 0xa4, 0xff]);
  const reader = new ProtobufReader(bytes, 1, 6);
  assert.equal(reader.next(), true);
  assert.equal(reader.text(), "aä");
  assert.deepEqual([...reader.bytes()], [0x61, 0xc3, 0xa4]);
  assert.equal(reader.next(), false);
  assert.throws(() => new ProtobufReader(bytes, 1, 5).next(), ProtobufError);
});

test("a nested message is read in place", () => {
  const reader = new ProtobufReader(Uint8Array.from([0x0a, 2, 0x10, 7]));
  assert.equal(reader.next(), true);
  const inner = reader.message();
  assert.equal(inner.next(), true);
  assert.deepEqual([inner.tag, inner.low, inner.next()], [0x10, 7, false]);
});

test("text that is not UTF-8 is shown as such, a byte order mark is kept", () => {
  const reader = new ProtobufReader(Uint8Array.from([0x0a, 4, 0xef, 0xbb, 0xbf, 0xff]));
  assert.equal(reader.next(), true);
  assert.equal(reader.text(), "\ufeff\ufffd");
});

test("what is no message is an error with its offset", () => {
  const cases: [readonly number[], RegExp, number][] = [
    [[0x00, 0], /invalid tag/, 0],
    [[0x08, 1, 0x07], /invalid tag/, 2],
    [[0x80, 0x80, 0x80, 0x80, 0x10, 0], /invalid tag/, 0],
    [[0x0b], /invalid wire type/, 0],
    [[0x0c], /invalid wire type/, 0],
    [[0x0e], /invalid wire type/, 0],
    [[0x08], /truncated number/, 1],
    [[0x80], /truncated number/, 0],
    [[0x08, ...Array(10).fill(0x80), 1], /more than ten bytes/, 1],
    [[0x09, 1, 2, 3, 4, 5, 6, 7], /truncated number/, 5],
    [[0x0d, 1, 2, 3], /truncated number/, 1],
    [[0x0a, 1], /longer than its message/, 0],
    [[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], /longer than its message/, 0],
    [[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], /longer than its/, 0],
  ];
  for (const [bytes, message, offset] of cases) {
    const error = errorOf(bytes);
    assert.match(error.message, message);
    assert.equal(error.offset, offset);
  }
});
