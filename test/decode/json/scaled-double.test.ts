import assert from "node:assert/strict";
import { test } from "node:test";
import { scaled } from "../../../src/decode/json/scaled-double.ts";
import { Random } from "../support/random.ts";

test("a mantissa times a power of ten is the nearest double", () => {
  const random = new Random(1);
  const check = (mantissa: number, power: number): void => {
    const value = scaled(mantissa, power);
    // Only small products can be exactly halfway between two doubles, as 1e23 is.
    if (Number.isNaN(value) && Math.abs(power) <= 23) return;
    assert.equal(value, Number(`${mantissa}e${power}`), `${mantissa}e${power}`);
  };
  for (let power = -250; power <= 250; power++) {
    for (const mantissa of [0, 1, 2, 9, 10 ** 15 - 1, 123_456_789_012_345]) check(mantissa, power);
    for (let i = 0; i < 200; i++) check(Number(String(random.uint64()).slice(0, 1 + random.below(15))), power);
  }
});

test("powers that are too large or too small are left to others", () => {
  for (const power of [-251, 251, 1e9, -Infinity, NaN]) assert.ok(Number.isNaN(scaled(1, power)));
});
