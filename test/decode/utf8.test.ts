import assert from "node:assert/strict";
import { isUtf8 } from "node:buffer";
import { test } from "node:test";
import { invalidUtf8At, utf8SequenceLength } from "../../src/decode/utf8.ts";

/** By the platform's own check: how many bytes the one character at the beginning takes, 0 where there is none. */
function expectedLength(bytes: Uint8Array): number {
  return [1, 2, 3, 4].find((length) => isUtf8(bytes.subarray(0, length))) ?? 0;
}

test("every first and second byte, with third and fourth ones on both sides of their limits", () => {
  const edges = [0x7f, 0x80, 0xbf, 0xc0];
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      for (const third of first < 0xe0 ? [0x80] : edges) {
        for (const fourth of first < 0xf0 ? [0x80] : edges) {
          const bytes = Uint8Array.of(first, second, third, fourth);
          const length = utf8SequenceLength(bytes, 0, 4);
          assert.equal(length, expectedLength(bytes), Buffer.from(bytes).toString("hex"));
        }
      }
    }
  }
});

test("every code point, and that its sequence cut short is none", () => {
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code === 0xd800) code = 0xe000;
    // Of most planes a sample is enough; their sequences differ in nothing.
    if (code > 0x30000 && code < 0x10ff00 && code % 251 !== 0) continue;
    const bytes = Buffer.from(String.fromCodePoint(code));
    assert.equal(utf8SequenceLength(bytes, 0, bytes.length), bytes.length);
    for (let end = 1; end < bytes.length; end++) assert.equal(utf8SequenceLength(bytes, 0, end), 0);
  }
});

test("the first wrong byte of a text is found", () => {
  const text = Buffer.from("abc é 人 🦀 end");
  assert.equal(invalidUtf8At(text, 0, text.length), -1);
  assert.equal(invalidUtf8At(text, 3, 3), -1);
  for (let at = 0; at < text.length; at++) {
    const spoiled = Buffer.from(text);
    spoiled[at] = 0xff;
    const found = invalidUtf8At(spoiled, 0, spoiled.length);
    // It is the first byte of the character that was spoiled.
    const before = text.subarray(0, at).toString();
    assert.equal(found, Buffer.byteLength(before.replace(/\ufffd+$/, "")));
  }
});

test("what lies outside the range does not count", () => {
  const bytes = Uint8Array.of(0xff, 0x61, 0xc3, 0xa9, 0xff);
  assert.equal(invalidUtf8At(bytes, 1, 4), -1);
  assert.equal(invalidUtf8At(bytes, 1, 3), 2);
  assert.equal(invalidUtf8At(bytes, 3, 4), 3);
});
