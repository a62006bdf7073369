import assert from "node:assert/strict";
import { test } from "node:test";
import { halfSipHash } from "../../src/decode/half-sip-hash.ts";

/**
 * Of the bytes 0, 1, 2, … in rising number, under the key 00 01 … 07: `vectors_hsip32` of the authors' reference code.
 */
const VECTORS = [
  "a9359f5b",
  "27475ab8",
  "fa62a603",
  "8afee704",
  "2a6e4689",
  "c5fab669",
  "5863fc23",
  "8bcf63c5",
  "d0b8848f",
  "f806e779",
];

test("the reference's vectors, anywhere in a buffer", () => {
  const bytes = Uint8Array.from({ length: 32 }, (_, i) => i - 5);
  const view = new DataView(bytes.buffer);
  VECTORS.forEach((vector, length) => {
    const hash = new DataView(new ArrayBuffer(4));
    hash.setInt32(0, halfSipHash(view, 5, 5 + length, 0x03020100, 0x07060504), true);
    assert.equal(hash.getUint32(0).toString(16).padStart(8, "0"), vector);
  });
});
