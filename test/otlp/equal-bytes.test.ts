import assert from "node:assert/strict";
import { test } from "node:test";
import { equalBytes } from "../../src/otlp/equal-bytes.ts";

test("ranges are compared to their last byte, wherever they lie in arrays of different lengths", () => {
  for (const length of [0, 1, 15, 16, 17, 100]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i + 1);
    for (const [at, size] of [[0, 100], [300, 1000], [900, 1000]] as const) {
      const small = new Uint8Array(length + 5);
      const large = new Uint8Array(size + length);
      small.set(bytes, 3);
      large.set(bytes, at);
      const areEqual = () => [
        equalBytes(small, 3, 3 + length, large, at, at + length),
        equalBytes(large, at, at + length, small, 3, 3 + length),
      ];
      assert.deepEqual(areEqual(), [true, true], `${length} bytes at ${at}`);
      if (length === 0) continue;
      assert.equal(equalBytes(small, 3, 2 + length, large, at, at + length), false, `${length} bytes and one less`);
      assert.equal(equalBytes(small, 3, 3 + length, large, at, at + length - 1), false, `${length} bytes and one less`);
      large[at + length - 1] = 0;
      assert.deepEqual(areEqual(), [false, false], `${length} bytes at ${at}, the last one different`);
    }
  }
});
