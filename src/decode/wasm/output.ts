import { mostAhead } from "./cursor";
import { INPUT, KEY_MASKS, OUTPUT, PRINT_BITS, PRINTS } from "./memory";

// Protobuf, written to the module's memory. Functions take the place to write to and return the place after it.

/** So few bytes at most are moved and copied by a loop: a call into the runtime costs more. */
export const FEW_BYTES: usize = 512;

/** Keys of a map up to this many are compared each with each. */
export const MOST_KEYS: u32 = 64;
/** Keys longer than this are not usual. A shorter one, with a scalar, is a message with a length of one byte. */
export const MOST_KEY_BYTES: usize = 96;
/** An odd number that spreads a key's bits over the upper ones of a product: 2^64 divided by the golden ratio. */
const FACTOR: u64 = 0x9e3779b97f4a7c15;

/**
 * Writes two numbers of 64 bits, the highest byte of each first. Engines swap the bytes of a number by a dozen
 * instructions, and those of a vector by one.
 */
export function storeBigEndian(to: usize, first: u64, second: u64): void {
  v128.store(to, reversed(i64x2.replace_lane(i64x2.splat(<i64> first), 1, <i64> second)));
}

/** Writes one of them. */
export function storeBigEndian64(to: usize, value: u64): void {
  v128.store64_lane(to, reversed(i64x2.splat(<i64> value)), 0);
}

/** The bytes of both halves, each the other way round. */
function reversed(halves: v128): v128 {
  return i8x16.shuffle(halves, halves, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
}

export function varint(to: usize, value: u64): usize {
  while (value > 0x7f) {
    store<u8>(to++, <u8> value | 0x80);
    value >>= 7;
  }
  store<u8>(to, <u8> value);
  return to + 1;
}

/** The same without a loop, whose length no one can predict. Up to seven bytes behind it are written to as well. */
export function varint64(to: usize, value: u64): usize {
  if (value >> 56 != 0) return varint(to, value);
  // Eight groups of seven bits become eight bytes.
  let bytes = (value & 0x0fffffff) | ((value & 0x00fffffff0000000) << 4);
  bytes = (bytes & 0x00003fff00003fff) | ((bytes & 0x0fffc0000fffc000) << 2);
  bytes = (bytes & 0x007f007f007f007f) | ((bytes & 0x3f803f803f803f80) << 1);
  // A seventh of the highest bit's number, which is below 64.
  const last = ((63 - clz(value | 1)) * 37) >> 8;
  store<u64>(to, bytes | (0x8080808080808080 & ((<u64> 1 << (last << 3)) - 1)));
  return to + <usize> last + 1;
}

export function varintSize(value: usize): usize {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4;
}

/** Moves `length` bytes up, by at most 15. What is moved last overlaps what was moved before. */
export function moveUp(from: usize, length: usize, by: usize): void {
  if (length > FEW_BYTES) {
    memory.copy(from + by, from, length);
    return;
  }
  if (length >= 16) {
    const head = v128.load(from);
    // From the end on, so that nothing is overwritten before it is read.
    for (let left = length - 16; left < length; left -= 16) v128.store(from + by + left, v128.load(from + left));
    v128.store(from + by, head);
  } else if (length >= 8) {
    const head = load<u64>(from);
    store<u64>(from + by + length - 8, load<u64>(from + length - 8));
    store<u64>(from + by, head);
  } else {
    while (length > 0) {
      length--;
      store<u8>(from + by + length, load<u8>(from + length));
    }
  }
}

/** Moves `length` bytes down, by at most 15; what is behind them may be overwritten. */
export function moveDown(from: usize, length: usize, by: usize): void {
  for (let done: usize = 0; done < length; done += 16) v128.store(from - by + done, v128.load(from + done));
}

/** Ends a message whose content begins at `content`, behind one byte for its length, and ends at `to`. */
export function closeMessage(content: usize, to: usize): usize {
  const length = to - content;
  if (length < 0x80) {
    store<u8>(content - 1, <u8> length);
    return to;
  }
  const more = varintSize(length) - 1;
  moveUp(content, length, more);
  varint(content - 1, length);
  return to + more;
}

/** The same, but with nothing left of it if it is empty: `content` is behind a tag of one byte, too. */
export function closeOptional(content: usize, to: usize): usize {
  return to == content ? content - 2 : closeMessage(content, to);
}

/** How many bytes {@link closeField} needs before the content: a tag and a length. */
export const FIELD_PREFIX: usize = 6;

/** Puts a tag and the length before the content of a message that stands by itself. Returns where it begins. */
export function closeField(tag: u8, content: usize, to: usize): usize {
  const length = to - content;
  const start = content - varintSize(length) - 1;
  store<u8>(start, tag);
  varint(start + 1, length);
  return start;
}

/** A span's last field, which is left out if it is 0. */
export function flagsField(flags: u32, to: usize): usize {
  if (flags == 0) return to;
  store<u16>(to, 0x0185);
  store<u32>(to, flags, 2);
  return to + 6;
}

/** What is between a key and a text whose lengths, and its attribute's, are expected to take two bytes each. */
export const LONG_TEXT_PREFIX: usize = 7;

/**
 * Ends an attribute whose key is written from `content` to `keyEnd`, and whose value is the string `text … to`. Before
 * the key, there is one byte for the attribute's length. What is written is tag, length, 0x0a, length, key, 0x12,
 * length, 0x0a, length, text.
 */
export function closeStringAttribute(content: usize, keyEnd: usize, text: usize, to: usize): usize {
  const length = to - text;
  const keyBytes = keyEnd - content;
  const valueLength: usize = 1 + varintSize(length) + length;
  const wholeLength = keyBytes + 1 + varintSize(valueLength) + valueLength;
  const keyMoves = varintSize(wholeLength) - 1;
  const newText = content + keyMoves + wholeLength - length;
  if (newText > text) moveUp(text, length, newText - text);
  else if (newText < text) moveDown(text, length, text - newText);
  if (keyMoves > 0) moveUp(content, keyBytes, keyMoves);
  varint(content - 1, wholeLength);
  let next = keyEnd + keyMoves;
  store<u8>(next, 0x12);
  next = varint(next + 1, valueLength);
  store<u8>(next, 0x0a);
  varint(next + 1, length);
  return newText + length;
}

/**
 * Whether too much has been written, up to `to`, for what has been read, up to `from`. Only values of
 * arrays grow more than twofold, so these ask.
 */
export function isTooLong(to: usize, from: usize): bool {
  return to - OUTPUT > 2 * (from - INPUT) + mostAhead;
}

/** Equal keys have equal fingerprints, and different ones nearly always different ones. */
export function fingerprint(key: usize, length: usize): u64 {
  if (length <= 16) return shortFingerprint(v128.load(key), length);
  return (load<u64>(key) * FACTOR) ^ (load<u64>(key + length - 8) + length);
}

/** The same of a key that the block begins with, of 16 bytes at most. */
export function shortFingerprint(block: v128, length: usize): u64 {
  const key = v128.and(block, v128.load(KEY_MASKS + 16 - length));
  return (i64x2.extract_lane(key, 0) ^ i64x2.extract_lane(key, 1)) * FACTOR;
}

/** Each fingerprint sets one of 64 bits. Most keys find theirs not set, and need not be compared with the others. */
export function fingerprintBit(print: u64): u64 {
  return <u64> 1 << (print >> 58);
}

/** Whether one of the fingerprints up to `prints` is this one. */
export function isKnownFingerprint(print: u64, prints: usize): bool {
  for (let other = PRINTS; other < prints; other += 8) {
    if (load<u64>(other) == print) return true;
  }
  return false;
}

/** Notes the key of a map's entry; false if an earlier one may be the same. */
export function isNewKey(key: usize, length: usize, earlier: u32): bool {
  const print = fingerprint(key, length);
  const prints = PRINTS + (<usize> earlier << 3);
  store<u64>(prints, print);
  const bit = fingerprintBit(print);
  const bits = earlier == 0 ? 0 : load<u64>(PRINT_BITS);
  store<u64>(PRINT_BITS, bits | bit);
  return (bits & bit) == 0 || !isKnownFingerprint(print, prints);
}
