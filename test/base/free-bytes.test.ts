import assert from "node:assert/strict";
import { test } from "node:test";
import { freeBytes } from "../../src/base/free-bytes.ts";

test("an array whose memory is given back is empty", () => {
  const bytes = new Uint8Array(4096);
  freeBytes(bytes);
  assert.equal(bytes.length, 0);
  assert.equal(bytes.buffer.byteLength, 0);
  freeBytes(bytes);
});

test("an array whose buffer others may read is left alone", () => {
  const whole = new Uint8Array(8192).fill(7);
  for (const part of [whole.subarray(0, 8191), whole.subarray(1)]) {
    freeBytes(part);
    assert.equal(part.length, 8191);
  }
  assert.deepEqual(whole, new Uint8Array(8192).fill(7));
  const shared = new Uint8Array(new SharedArrayBuffer(8192));
  freeBytes(shared);
  assert.equal(shared.length, 8192);
});

test("a small array is left to the garbage collector", () => {
  const small = new Uint8Array(4095);
  freeBytes(small);
  assert.equal(small.length, 4095);
});
