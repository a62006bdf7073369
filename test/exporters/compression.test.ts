import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { loadGzip, MOST_AT_ONCE_BYTES } from "../../src/exporters/compression.ts";
import { test } from "node:test";
import { inParts } from "./support/exporting.ts";

/** Text that takes long: nothing in it repeats. */
function hexDigits(length: number): Uint8Array {
  let state = 1;
  return Uint8Array.from({ length }, () => {
    // A step of Lehmer's generator (Park and Miller, 1988).
    state = state * 48_271 % 2_147_483_647;
    return "0123456789abcdef".charCodeAt(state & 15);
  });
}

for (const length of [0, 1, MOST_AT_ONCE_BYTES, MOST_AT_ONCE_BYTES + 1, 4 * MOST_AT_ONCE_BYTES]) {
  test(`${length} bytes, compressed and back`, async () => {
    const gzip = await loadGzip();
    const request = hexDigits(length);
    for (const parts of [[request], inParts(request)]) {
      const compressed = await gzip(parts);
      assert.ok(compressed.length < Math.max(100, length));
      assert.deepEqual(new Uint8Array(gunzipSync(compressed)), request);
      assert.equal(parts.reduce((sum, part) => sum + part.length, 0), length);
    }
  });
}

test("while one large span is compressed, others have their turns", async () => {
  const gzip = await loadGzip();
  let turns = 0;
  const timer = setInterval(() => turns++);
  const compressed = await gzip([hexDigits(4 * MOST_AT_ONCE_BYTES)]);
  clearInterval(timer);
  assert.ok(turns > 0);
  assert.equal(gunzipSync(compressed).length, 4 * MOST_AT_ONCE_BYTES);
});
