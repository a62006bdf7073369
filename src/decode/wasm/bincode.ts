import { at, begin, end, giveUp, isUsual, moveTo } from "./cursor";
import { INPUT, OUTPUT } from "./memory";
import {
  closeField,
  closeMessage,
  closeOptional,
  closeStringAttribute,
  FIELD_PREFIX,
  isNewKey,
  isTooLong,
  MOST_KEY_BYTES,
  MOST_KEYS,
  varint,
} from "./output";
import { nanoseconds } from "./json-number";
import { tell } from "./result";
import { isUtf8 } from "./utf8";

/** `SpanKind` of OTLP for each of the crate's, Client, Server, Producer, Consumer and Internal: four bits each. */
const KINDS: u32 = 0x15423;
const KIND_COUNT: u32 = 5;
const STATUS_CODES: u32 = 3;
/** What a span has before its name: its context, 27 bytes, its parent, 8, and its kind, 4. */
const HEAD_BYTES: usize = 39;
const TIME_BYTES: usize = 12;
/** The exponent of a double: all bits are set in NaN and the infinities. */
const EXPONENT: u64 = 0x7ff0000000000000;
// `Value`, in the order of its variants.
const BOOL: u32 = 0;
const I64: u32 = 1;
const F64: u32 = 2;
const STRING: u32 = 3;
const ARRAY: u32 = 4;

/** Skips so many bytes and returns where they are; the payload's end, where zeros follow, if it has no more. */
function take(bytes: usize): usize {
  const from = at;
  if (bytes > end - from) {
    giveUp();
    return end;
  }
  moveTo(from + bytes);
  return from;
}

/** A length or number of things, each of which takes a byte at least. */
function readLength(): usize {
  const length = load<u64>(take(8));
  if (length <= <u64> (end - at)) return <usize> length;
  giveUp();
  return 0;
}

/** The tag of an Option, or a bool. */
function readFlag(): bool {
  const flag = load<u8>(take(1));
  if (flag > 1) giveUp();
  return flag == 1;
}

/** Copies a string's bytes, 64 and then 16 at a time, and returns the place after them. */
function readText(to: usize): usize {
  const length = readLength();
  const from = at;
  let seen = i8x16.splat(0);
  let done: usize = 0;
  for (; done + 64 <= length; done += 64) {
    const first = v128.load(from + done);
    const second = v128.load(from + done, 16);
    const third = v128.load(from + done, 32);
    const fourth = v128.load(from + done, 48);
    v128.store(to + done, first);
    v128.store(to + done, second, 16);
    v128.store(to + done, third, 32);
    v128.store(to + done, fourth, 48);
    seen = v128.or(seen, v128.or(v128.or(first, second), v128.or(third, fourth)));
  }
  for (; done < length; done += 16) {
    const block = v128.load(from + done);
    v128.store(to + done, block);
    seen = v128.or(seen, block);
  }
  moveTo(from + length);
  // What follows the string may be what has been seen.
  if (i8x16.bitmask(seen) != 0 && !isUtf8(from, from + length)) giveUp();
  return to + length;
}

/**
 * Decodes a span in bincode of `length` bytes: a `SpanData` as agents have it, without links and trace state. Returns
 * false if anything is not so, or not valid.
 */
export function decodeBincode(length: usize): bool {
  begin(length);
  const head = take(HEAD_BYTES);
  const content = OUTPUT + FIELD_PREFIX;
  store<u16>(content, 0x100a);
  store<u64>(content, bswap<u64>(load<u64>(head, 8)), 2);
  store<u64>(content, bswap<u64>(load<u64>(head)), 10);
  store<u16>(content, 0x0812, 18);
  store<u64>(content, bswap<u64>(load<u64>(head, 16)), 20);
  if ((load<u64>(head) | load<u64>(head, 8)) == 0 || load<u64>(head, 16) == 0) giveUp();
  const flags = load<u8>(head, 24);
  // is_remote, and no trace state.
  if (load<u16>(head, 25) > 1) giveUp();
  let to = content + 28;
  const parent = load<u64>(head, 27);
  if (parent != 0) {
    store<u16>(to, 0x0822);
    store<u64>(to, bswap<u64>(parent), 2);
    to += 10;
  }
  const kind = load<u32>(head, 35);
  if (kind >= KIND_COUNT) giveUp();
  to = textField(0x2a, to);
  store<u8>(to, 0x30);
  store<u8>(to, <u8> ((KINDS >> (kind << 2)) & 0xf), 1);
  to = timeField(0x39, to + 2);
  to = timeField(0x41, to);
  to = attributeMap(0x4a, to);
  if (!isUsual) return false;
  for (let left = readLength(); left > 0 && isUsual; left--) readText(to);
  to = limit(0x50, to);
  if (readFlag()) to = events(to);
  to = limit(0x60, to);
  // Links are rare.
  if (readFlag()) giveUp();
  to = limit(0x70, to);
  to = status(to);
  if (!isUsual) return false;
  if (flags != 0) {
    store<u16>(to, 0x0185);
    store<u32>(to, <u32> flags, 2);
    to += 6;
  }
  const start = closeField(0x12, content, to);
  let resource = to;
  let resourceEnd = to;
  if (readFlag()) {
    const attributes = to + FIELD_PREFIX;
    resourceEnd = attributeMap(0x0a, attributes);
    if (resourceEnd == attributes) resourceEnd = to;
    else resource = closeField(0x0a, attributes, resourceEnd);
  }
  tell(start, to, resource, resourceEnd);
  return isUsual && at == end;
}

function textField(tag: u8, to: usize): usize {
  store<u8>(to, tag);
  return closeOptional(to + 2, readText(to + 2));
}

function readTime(): u64 {
  const time = take(TIME_BYTES);
  return nanoseconds(load<u64>(time), <u64> load<u32>(time, 8));
}

function timeField(tag: u8, to: usize): usize {
  const time = readTime();
  if (time == 0) return to;
  store<u8>(to, tag);
  store<u64>(to, time, 1);
  return to + 9;
}

function countField(tag: u8, to: usize): usize {
  const count = load<u32>(take(4));
  if (count == 0) return to;
  store<u8>(to, tag);
  return varint(to + 1, count);
}

/** The most there may be of something, and how many were dropped. */
function limit(tag: u8, to: usize): usize {
  take(4);
  return countField(tag, to);
}

function attributeMap(tag: u8, to: usize): usize {
  const count = readLength();
  if (count > <usize> MOST_KEYS) giveUp();
  for (let keys: u32 = 0; keys < <u32> count && isUsual; keys++) {
    store<u8>(to, tag);
    const keyEnd = readKey(to + 2);
    if (!isNewKey(to + 4, keyEnd - to - 4, keys)) giveUp();
    to = keyedValue(to + 2, keyEnd);
  }
  return to;
}

function attributeList(tag: u8, to: usize): usize {
  for (let left = readLength(); left > 0 && isUsual; left--) {
    store<u8>(to, tag);
    to = keyedValue(to + 2, readKey(to + 2));
  }
  return to;
}

function readKey(content: usize): usize {
  store<u8>(content, 0x0a);
  const to = readText(content + 2);
  const length = to - content - 2;
  if (length == 0 || length > MOST_KEY_BYTES) giveUp();
  store<u8>(content, <u8> length, 1);
  return to;
}

/** A value, and with it the end of its attribute, whose key is written from `content` to `to`. */
function keyedValue(content: usize, to: usize): usize {
  store<u8>(to, 0x12);
  const variant = load<u32>(take(4));
  const field = to + 2;
  if (!isUsual) return to;
  if (variant == STRING) {
    store<u8>(field, 0x0a);
    return closeStringAttribute(content, field + 2, readText(field + 2));
  }
  if (variant == ARRAY) {
    store<u8>(field, 0x2a);
    to = closeMessage(field, closeMessage(field + 2, array(field + 2)));
    return closeMessage(content, to);
  }
  to = scalar(variant, field);
  store<u8>(field - 1, <u8> (to - field));
  store<u8>(content - 1, <u8> (to - content));
  return to;
}

/** A bool, an integer or a double. */
function scalar(variant: u32, to: usize): usize {
  if (variant == I64) {
    store<u8>(to, 0x18);
    return varint(to + 1, load<u64>(take(8)));
  }
  if (variant == F64) {
    const bits = load<u64>(take(8));
    // Its name, as a string, which is rare.
    if ((bits & EXPONENT) == EXPONENT) giveUp();
    store<u8>(to, 0x21);
    store<u64>(to, bits, 1);
    return to + 9;
  }
  if (variant != BOOL) giveUp();
  store<u8>(to, 0x10);
  store<u8>(to, readFlag() ? 1 : 0, 1);
  return to + 2;
}

function array(to: usize): usize {
  const variant = load<u32>(take(4));
  for (let left = readLength(); left > 0 && isUsual; left--) {
    store<u8>(to, 0x0a);
    const field = to + 2;
    if (isTooLong(to)) giveUp();
    else if (variant == STRING) {
      store<u8>(field, 0x0a);
      to = closeMessage(field, closeMessage(field + 2, readText(field + 2)));
    } else {
      to = scalar(variant, field);
      store<u8>(field - 1, <u8> (to - field));
    }
  }
  if (variant > STRING) giveUp();
  return to;
}

function events(to: usize): usize {
  for (let left = readLength(); left > 0 && isUsual; left--) {
    store<u8>(to, 0x5a);
    const content = to + 2;
    to = textField(0x12, content + 9);
    const time = readTime();
    if (time == 0) giveUp();
    store<u8>(content, 0x09);
    store<u64>(content, time, 1);
    to = attributeList(0x1a, to);
    to = closeMessage(content, countField(0x20, to));
  }
  return to;
}

function status(to: usize): usize {
  const code = load<u32>(take(4));
  if (code >= STATUS_CODES) giveUp();
  store<u8>(to, 0x7a);
  const content = to + 2;
  to = textField(0x12, content);
  if (code != 0) {
    store<u8>(to, 0x18);
    store<u8>(to, <u8> code, 1);
    to += 2;
  }
  return closeOptional(content, to);
}
