import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ProtobufWriter, varintSize } from "../../src/otlp/protobuf-writer.ts";
import { readFields } from "../decode/support/protobuf-reader.ts";

function written(write: (writer: ProtobufWriter) => void): Uint8Array {
  const writer = new ProtobufWriter(1);
  write(writer);
  return writer.buffer.slice(0, writer.position);
}

function hex(write: (writer: ProtobufWriter) => void): string {
  return Buffer.from(written(write)).toString("hex");
}

describe("varint", () => {
  test("the specification's examples", () => {
    assert.equal(hex((writer) => writer.varint(1)), "01");
    assert.equal(hex((writer) => writer.varint(150)), "9601");
    assert.equal(hex((writer) => writer.varint64(-2, -1)), "feffffffffffffffff01");
  });

  test("every power of two and its neighbours, as a number and as halves", () => {
    for (let bits = 0n; bits <= 64n; bits++) {
      for (const near of [-1n, 0n, 1n]) {
        const value = BigInt.asUintN(64, (1n << bits) + near);
        const low = Number(value & 0xffff_ffffn);
        const high = Number(value >> 32n);
        const halves = [[low, high], [low | 0, high | 0]] as const;
        for (const [lower, higher] of halves) {
          const bytes = written((writer) => {
            writer.byte(0x08);
            writer.varint64(lower, higher);
          });
          assert.equal(readFields(bytes)[0]?.value, value);
        }
        if (value <= BigInt(Number.MAX_SAFE_INTEGER)) {
          const bytes = written((writer) => writer.varint(Number(value)));
          assert.deepEqual(bytes, written((writer) => writer.varint64(low, high)));
          if (value < 1n << 32n) assert.equal(varintSize(Number(value)), bytes.length);
        }
      }
    }
  });
});

test("fixed32 and fixed64 are little endian, signed or not", () => {
  assert.equal(hex((writer) => writer.fixed32(0x01020304)), "04030201");
  assert.equal(hex((writer) => writer.fixed32(0xfffefdfc)), "fcfdfeff");
  assert.equal(hex((writer) => writer.fixed64(-1, 0x80000000)), "ffffffff00000080");
  assert.equal(hex((writer) => writer.fixed64(0x01020304, 0x05060708)), "0403020108070605");
});

test("lengthDelimited writes tag, length and bytes", () => {
  assert.equal(
    hex((writer) => writer.lengthDelimited(2, Buffer.from("testing"))),
    "120774657374696e67",
  );
  assert.equal(hex((writer) => writer.lengthDelimited(16, new Uint8Array(0))), "820100");
});

test("messages in messages have the shortest lengths, whatever their sizes", () => {
  for (
    const size of [
      0,
      1,
      100,
      123,
      124,
      125,
      126,
      127,
      128,
      129,
      16_379,
      16_380,
      16_381,
      16_383,
      16_384,
      2_097_151,
      2_097_152,
    ]
  ) {
    const content = new Uint8Array(size).fill(7);
    let moved = 0;
    const bytes = written((writer) => {
      writer.byte(0x08);
      writer.byte(5);
      const outer = writer.openMessage(0x12);
      const inner = writer.openMessage(0x0a);
      writer.bytes(content);
      assert.equal(writer.closeMessage(inner), varintSize(size) - 1);
      moved = writer.closeMessage(outer);
    });
    const [number, outer] = readFields(bytes);
    assert.equal(number?.value, 5n);
    const inner = readFields(outer?.bytes ?? assert.fail());
    assert.equal(inner.length, 1);
    assert.deepEqual(inner[0]?.bytes, content);
    assert.equal(moved, varintSize(outer?.bytes.length ?? 0) - 1);
    assert.deepEqual(
      bytes,
      written((writer) => {
        writer.byte(0x08);
        writer.byte(5);
        writer.lengthDelimited(2, written((inside) => inside.lengthDelimited(1, content)));
      }),
    );
  }
});

test("a field by itself begins where its length lets it", () => {
  for (const size of [0, 127, 128, 16_384, 2_097_152]) {
    const content = new Uint8Array(size).fill(7);
    const writer = new ProtobufWriter(1);
    writer.byte(0xee);
    const start = writer.openField();
    writer.bytes(content);
    const fieldStart = writer.closeField(0x12, start);
    assert.ok(fieldStart >= 1);
    assert.equal(writer.buffer[0], 0xee);
    assert.deepEqual(
      writer.buffer.slice(fieldStart, writer.position),
      written((other) => other.lengthDelimited(2, content)),
    );
  }
});

describe("memory", () => {
  test("view and buffer are the same bytes, also when they have grown", () => {
    const writer = new ProtobufWriter(2);
    for (let i = 0; i < 100; i++) writer.fixed32(i);
    assert.equal(writer.view.buffer, writer.buffer.buffer);
    assert.equal(writer.view.byteLength, writer.buffer.length);
    for (let i = 0; i < 100; i++) assert.equal(writer.view.getInt32(i * 4, true), i);
  });

  test("a buffer is kept from message to message", () => {
    const writer = new ProtobufWriter(1000);
    writer.bytes(new Uint8Array(500_000));
    const { buffer } = writer;
    for (let i = 0; i < 3; i++) {
      writer.clear();
      assert.equal(writer.position, 0);
      writer.byte(1);
      assert.equal(writer.buffer, buffer);
    }
  });

  test("a large one is given back when a message did not need it", () => {
    const writer = new ProtobufWriter(1000);
    writer.bytes(new Uint8Array(5_000_000));
    const { buffer } = writer;
    writer.clear();
    assert.equal(writer.buffer, buffer);
    writer.bytes(new Uint8Array(1_000_000));
    writer.clear();
    assert.equal(writer.buffer, buffer);
    writer.byte(1);
    writer.clear();
    assert.equal(writer.buffer.length, 1000);
    assert.equal(writer.view.byteLength, 1000);
  });
});

describe("a borrowed buffer", () => {
  const borrowed = (): { writer: ProtobufWriter; memory: Uint8Array<ArrayBuffer> } => {
    const writer = new ProtobufWriter(8);
    const memory = new Uint8Array([9, 9, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0]);
    writer.borrow(memory, new DataView(memory.buffer), 5);
    return { writer, memory };
  };

  test("is written on in, until it is cleared", () => {
    const { writer, memory } = borrowed();
    writer.byte(4);
    assert.deepEqual([...memory.subarray(2, 6)], [1, 2, 3, 4]);
    writer.clear();
    writer.fixed32(5);
    assert.deepEqual([...memory.subarray(0, 4)], [9, 9, 1, 2]);
    assert.deepEqual([...writer.buffer.subarray(0, 4)], [5, 0, 0, 0]);
    assert.equal(writer.buffer.length, 8);
  });

  test("is not used any more once what has been written is kept, or has outgrown it", () => {
    const keep = borrowed();
    keep.writer.keep();
    const grow = borrowed();
    grow.writer.bytes(new Uint8Array(8).fill(7));
    for (const { writer, memory } of [keep, grow]) {
      const position = writer.position;
      memory.fill(0xff);
      writer.byte(4);
      writer.varint64(1, 0);
      assert.deepEqual([...writer.buffer.subarray(2, 5)], [1, 2, 3]);
      assert.deepEqual([...writer.buffer.subarray(position, position + 2)], [4, 1]);
      assert.equal(writer.view.getUint8(2), 1);
    }
  });

  test("leaves a large buffer of one's own no longer than one that is not needed", () => {
    const writer = new ProtobufWriter(8);
    writer.reserve(2 * 1024 * 1024);
    const memory = new Uint8Array(8);
    writer.borrow(memory, new DataView(memory.buffer), 8);
    writer.clear();
    assert.equal(writer.buffer.length, 8);
    assert.notEqual(writer.buffer, memory);
  });
});
