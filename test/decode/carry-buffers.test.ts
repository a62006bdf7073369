import assert from "node:assert/strict";
import { test } from "node:test";
import { giveBackCarryBuffer, takeCarryBuffer } from "../../src/decode/carry-buffers.ts";

test("a buffer has the power of two that is needed, up to 64 KiB", () => {
  const sizes = [1, 4097, 8192, 8193, 16_384, 16_385, 65_535, 65_536].map((bytes) => takeCarryBuffer(bytes)?.length);
  assert.deepEqual(sizes, [8192, 8192, 8192, 16_384, 16_384, 32_768, 65_536, 65_536]);
  assert.equal(takeCarryBuffer(65_537), undefined);
});

test("what is given back is taken again, four of each size", () => {
  const buffers = Array.from({ length: 6 }, () => takeCarryBuffer(32_768) as Uint8Array);
  for (const buffer of buffers) giveBackCarryBuffer(buffer);
  const again = Array.from({ length: 6 }, () => takeCarryBuffer(20_000) as Uint8Array);
  assert.equal(again.filter((buffer) => buffers.includes(buffer)).length, 4);
  assert.equal(new Set(again).size, 6);
});

test("buffers of other sizes are not kept", () => {
  const others: Uint8Array[] = [0, 1024, 4096, 20_000, 65_537, 131_072].map((bytes) => new Uint8Array(bytes));
  for (const buffer of others) giveBackCarryBuffer(buffer);
  for (const bytes of [8192, 16_384, 32_768, 65_536]) {
    assert.ok(!others.includes(takeCarryBuffer(bytes) as Uint8Array));
  }
});

test("the memory of a buffer that is not kept is freed at once, if it is no small one", () => {
  const others = [1024, 4096, 20_000, 131_072].map((bytes) => new Uint8Array(bytes));
  for (const buffer of others) giveBackCarryBuffer(buffer);
  assert.deepEqual(others.map(({ length }) => length), [1024, 0, 0, 0]);
  const alike = Array.from({ length: 5 }, () => new Uint8Array(65_536));
  for (const buffer of alike) giveBackCarryBuffer(buffer);
  assert.equal(alike.at(-1)?.length, 0);
});
