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
  for (let power = -345; power <= 293; power++) {
    for (const mantissa of [0, 1, 2, 9, 10 ** 15 - 1, 123_456_789_012_345]) check(mantissa, power);
    for (let i = 0; i < 200; i++) check(Number(String(random.uint64()).slice(0, 1 + random.below(15))), power);
  }
});

test("the largest and smallest doubles, and what is halfway between the smallest", () => {
  const random = new Random(2);
  for (let i = 0; i < 20_000; i++) {
    // The exact digits of a number in the middle of two doubles that are multiples of 2^-1074.
    const steps = i < 1000 ? BigInt(i) : random.uint64() >> BigInt(13 + random.below(50));
    const middle = String((2n * steps + 1n) * 5n ** 1075n);
    const digits = 1 + random.below(15);
    for (const more of [0, 1]) {
      const mantissa = Number(middle.slice(0, digits)) + more;
      const power = middle.length - digits - 1075;
      assert.equal(scaled(mantissa, power), Number(`${mantissa}e${power}`), `${mantissa}e${power}`);
    }
  }
  for (const [mantissa, power] of [[17976931348623, 295], [1, 308], [179769313486231, 294], [22250738585072, -321]]) {
    assert.equal(scaled(mantissa as number, power as number), Number(`${mantissa}e${power}`));
  }
});

test("what is infinite is left to others, and what is nearest to zero is zero", () => {
  for (const power of [308, 309, 1e9, Infinity]) assert.ok(Number.isNaN(scaled(18, power)));
  for (const power of [-341, -1e9, -Infinity]) assert.equal(scaled(10 ** 15 - 1, power), 0);
  assert.equal(scaled(0, 1e9), 0);
});
