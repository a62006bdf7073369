import assert from "node:assert/strict";
import { isUtf8 } from "node:buffer";
import { test } from "node:test";
import { characterStart, isContinuationByte } from "../../src/base/utf8-cut.ts";

test("text is cut at the start of a character, at most three bytes before the place that is asked for", () => {
  const text = Buffer.from("aé人🦀z");
  const starts = Array.from({ length: text.length + 1 }, (_, at) => characterStart(text, at));
  assert.deepEqual(starts, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11]);
  for (const start of starts) assert.ok(isUtf8(text.subarray(0, start)) && isUtf8(text.subarray(start)));
});

test("a cut at the text's end stays there, whatever lies behind it", () => {
  const bytes = Buffer.from("aé");
  assert.equal(characterStart(bytes, 2, 0, 2), 2);
  assert.equal(characterStart(bytes, 3), 3);
  assert.equal(characterStart(bytes, 100), 3);
  assert.equal(characterStart(new Uint8Array(0), 0), 0);
});

test("bytes before the text are not looked at", () => {
  const bytes = Uint8Array.of(0xc3, 0xa9, 0xa9, 0x61);
  assert.equal(characterStart(bytes, 2, 1), 2);
  assert.equal(characterStart(bytes, 1, 1), 1);
});

test("text that is not UTF-8 is cut where it is asked for", () => {
  const continuations = new Uint8Array(100).fill(0x80);
  for (const at of [0, 1, 3, 4, 50, 99]) assert.equal(characterStart(continuations, at), at);
  // A first byte, but too far away to belong to it.
  assert.equal(characterStart(Uint8Array.of(0xf0, 0x80, 0x80, 0x80, 0x80), 4), 4);
  // What cannot be told from a character's first byte by its place is taken for one.
  assert.equal(characterStart(Uint8Array.of(0x61, 0x80, 0x80, 0x80), 3), 0);
  assert.equal(characterStart(Uint8Array.of(0xff, 0x80), 1), 0);
  assert.equal(characterStart(Uint8Array.of(0x80, 0xff), 1), 1);
});

test("exactly the bytes from 0x80 to 0xbf continue a character", () => {
  for (let byte = 0; byte < 256; byte++) assert.equal(isContinuationByte(byte), byte >= 0x80 && byte <= 0xbf);
});
