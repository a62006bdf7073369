import assert from "node:assert/strict";
import { test } from "node:test";
import { columns, cut, duration, shown } from "../../../src/view/terminal/terminal-text.ts";

test("columns of a terminal", () => {
  for (
    const [text, expected] of [
      ["", 0],
      ["abc", 3],
      ["é", 1],
      ["e\u0301", 1],
      ["中文", 4],
      ["한글かな", 8],
      ["🙂", 2],
      ["ＡＢ", 4],
      ["├─ █▏…✗µ", 8],
    ] as const
  ) assert.equal(columns(text), expected, text);
});

test("text is cut between characters, and says so", () => {
  assert.equal(cut("abcdef", 6, "…"), "abcdef");
  assert.equal(cut("abcdef", 5, "…"), "abcd…");
  assert.equal(cut("中文字", 5, "…"), "中文…");
  assert.equal(cut("中文字", 4, "…"), "中…");
  assert.equal(cut("🙂🙂", 3, "~"), "🙂~");
  assert.equal(cut("abc", 1, "…"), "…");
  assert.equal(cut("abc", 0, "…"), "");
});

test("what a guest says is shown without controls, and in ASCII where need be", () => {
  assert.equal(shown("a\x1b[2J\u202eé", true), "a\\u{1b}[2J\\u{202e}é");
  assert.equal(shown("a\x1b[2Jé🙂", false), "a\\u{1b}[2J\\u{e9}\\u{1f642}");
});

test("durations have three digits and a unit", () => {
  for (
    const [nanoseconds, expected] of [
      [0n, "0 ns"],
      [999n, "999 ns"],
      [1000n, "1.00 µs"],
      [12_345n, "12.3 µs"],
      [999_499n, "999 µs"],
      [999_500n, "1.00 ms"],
      [248_851_533n, "249 ms"],
      [999_499_999n, "999 ms"],
      [999_500_000n, "1.00 s"],
      [61_234_000_000n, "61.2 s"],
      [99_950_000_000n, "100 s"],
      [3_600_000_000_000n, "3600 s"],
      [2n ** 64n, "1.8e+10 s"],
      [-1_500_000n, "-1.50 ms"],
    ] as const
  ) assert.equal(duration(nanoseconds, "µ"), expected, `${nanoseconds}`);
  assert.equal(duration(1000n, "u"), "1.00 us");
});
