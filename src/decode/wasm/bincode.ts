import { at, begin, end, giveUp, isUsual, moveTo } from "./cursor";
import {
  closeField,
  closeMessage,
  FIELD_PREFIX,
  flagsField,
  isNewKey,
  isTooLong,
  MOST_KEY_BYTES,
  MOST_KEYS,
  varint,
  varint64,
  varintSize,
} from "./output";
import { nanoseconds } from "./json-number";
import { tell } from "./result";
import { copyText, skipText } from "./text";

// As in the decoder in TypeScript, functions take `from`, where something begins in the payload, and `to`, where it
// goes, and return the place after what they wrote; the cursor is then behind what they read. So both places stay in
// local variables, which is faster. What the payload says of a length is known before anything is written, so that
// all lengths before a text are, too, and no text has to move.

/** `SpanKind` of OTLP for each of the crate's, Client, Server, Producer, Consumer and Internal: four bits each. */
const KINDS: u32 = 0x15423;
const KIND_COUNT: u32 = 5;
const STATUS_CODES: u32 = 3;
/** What a span has before its name: its context, 27 bytes, its parent, 8, and its kind, 4. */
const HEAD_BYTES: usize = 39;
const TIME_BYTES: usize = 12;
/** The most there may be of something, and how many were dropped. */
const LIMIT_BYTES: usize = 8;
/** The exponent of a double: all bits are set in NaN and the infinities. */
const EXPONENT: u64 = 0x7ff0000000000000;
// `Value`, in the order of its variants.
const BOOL: u32 = 0;
const I64: u32 = 1;
const F64: u32 = 2;
const STRING: u32 = 3;
const ARRAY: u32 = 4;

/**
 * The u64 at `from`: a length or a number of things, each of which takes a byte at least. More than there are bytes
 * left is not usual, and 0; `from` itself may be behind the payload.
 */
function lengthAt(from: usize): usize {
  const length = load<u64>(from);
  const left = <i64> <i32> (end - from) - 8;
  // One sign bit for both: a length of 2^63 and more, and one that is too large.
  if (<i64> (length | <u64> (left - <i64> length)) >= 0) return <usize> length;
  giveUp();
  return 0;
}

/** The tag of an Option, or a bool. */
function flagAt(from: usize): u32 {
  const flag: u32 = load<u8>(from);
  if (flag > 1) giveUp();
  return flag;
}

/**
 * Decodes the span in bincode of `length` bytes at `from`: a `SpanData` as agents have it, without links and trace
 * state. Returns false if anything is not so, or not valid.
 *
 * @param content where the fields of the span go; its tag and length go before that.
 */
export function decodeBincodeSpan(from: usize, length: usize, content: usize): bool {
  begin(from, length);
  store<u16>(content, 0x100a);
  store<u64>(content, bswap<u64>(load<u64>(from, 8)), 2);
  store<u64>(content, bswap<u64>(load<u64>(from)), 10);
  store<u16>(content, 0x0812, 18);
  store<u64>(content, bswap<u64>(load<u64>(from, 16)), 20);
  if ((load<u64>(from) | load<u64>(from, 8)) == 0 || load<u64>(from, 16) == 0) giveUp();
  const flags = load<u8>(from, 24);
  // is_remote, and no trace state.
  if (load<u16>(from, 25) > 1) giveUp();
  let to = content + 28;
  const parent = load<u64>(from, 27);
  if (parent != 0) {
    store<u16>(to, 0x0822);
    store<u64>(to, bswap<u64>(parent), 2);
    to += 10;
  }
  const kind = load<u32>(from, 35);
  if (kind >= KIND_COUNT) giveUp();
  from += HEAD_BYTES;
  const nameLength = lengthAt(from);
  to = textField(0x2a, from + 8, nameLength, to);
  from += 8 + nameLength;
  store<u8>(to, 0x30);
  store<u8>(to, <u8> ((KINDS >> (kind << 2)) & 0xf), 1);
  to = timeField(0x39, from, to + 2);
  to = timeField(0x41, from + TIME_BYTES, to);
  to = attributeMap(0x4a, from + 2 * TIME_BYTES, to);
  if (!isUsual) return false;
  from = evictionList(at);
  to = limit(0x50, from, to);
  from += LIMIT_BYTES;
  if (flagAt(from) != 0) {
    to = events(from + 1, to);
    from = at;
  } else from++;
  to = limit(0x60, from, to);
  from += LIMIT_BYTES;
  // Links are rare.
  if (load<u8>(from) != 0) giveUp();
  to = limit(0x70, from + 1, to);
  to = status(from + 1 + LIMIT_BYTES, to);
  if (!isUsual) return false;
  from = at;
  to = flagsField(<u32> flags, to);
  const start = closeField(0x12, content, to);
  let resource = to;
  let resourceEnd = to;
  if (flagAt(from) != 0) {
    const attributes = to + FIELD_PREFIX;
    resourceEnd = attributeMap(0x0a, from + 1, attributes);
    if (resourceEnd == attributes) resourceEnd = to;
    else resource = closeField(0x0a, attributes, resourceEnd);
    from = at;
  } else from++;
  tell(start, to, resource, resourceEnd);
  return isUsual && from == end;
}

/** A string field that is left out if it is empty. */
function textField(tag: u8, from: usize, length: usize, to: usize): usize {
  if (length == 0) return to;
  store<u8>(to, tag);
  to = varint(to + 1, length);
  copyText(from, length, to);
  return to + length;
}

function timeField(tag: u8, from: usize, to: usize): usize {
  const time = nanoseconds(load<u64>(from), <u64> load<u32>(from, 8));
  if (time == 0) return to;
  store<u8>(to, tag);
  store<u64>(to, time, 1);
  return to + 9;
}

function countField(tag: u8, from: usize, to: usize): usize {
  const count = load<u32>(from);
  if (count == 0) return to;
  store<u8>(to, tag);
  return varint(to + 1, count);
}

/** The most there may be of something, and how many were dropped: {@link LIMIT_BYTES}. */
function limit(tag: u8, from: usize, to: usize): usize {
  return countField(tag, from + 4, to);
}

/** The keys in the order in which they were set, which go nowhere. Returns where they end. */
function evictionList(from: usize): usize {
  let left = lengthAt(from);
  for (from += 8; left > 0 && isUsual; left--) {
    const length = lengthAt(from);
    skipText(from + 8, length);
    from += 8 + length;
  }
  return from;
}

function attributeMap(tag: u8, from: usize, to: usize): usize {
  const count = lengthAt(from);
  if (count > <usize> MOST_KEYS) giveUp();
  moveTo(from + 8);
  for (let keys: u32 = 0; keys < <u32> count && isUsual; keys++) {
    const key = at + 8;
    to = attribute(tag, at, to);
    if (isUsual && !isNewKey(key, load<usize>(key - 8), keys)) giveUp();
  }
  return to;
}

function attributeList(tag: u8, from: usize, to: usize): usize {
  let left = lengthAt(from);
  moveTo(from + 8);
  for (; left > 0 && isUsual; left--) to = attribute(tag, at, to);
  return to;
}

/** A key and a value. */
function attribute(tag: u8, from: usize, to: usize): usize {
  const keyLength = lengthAt(from);
  const key = from + 8;
  from = key + keyLength;
  if (keyLength - 1 >= MOST_KEY_BYTES) giveUp();
  if (!isUsual) return to;
  const variant = load<u32>(from);
  if (variant == STRING) {
    const length = lengthAt(from + 4);
    from += 12;
    moveTo(from + length);
    if (keyLength + length + 6 < 0x80) {
      store<u32>(to, <u32> tag | <u32> (keyLength + length + 6) << 8 | 0x0a << 16 | <u32> keyLength << 24);
      copyText(key, keyLength, to + 4);
      to += 4 + keyLength;
      store<u32>(to, 0x000a0012 | <u32> (length + 2) << 8 | <u32> length << 24);
      copyText(from, length, to + 4);
      return to + 4 + length;
    }
    const valueLength: usize = 1 + varintSize(length) + length;
    store<u8>(to, tag);
    to = varint(to + 1, keyLength + 3 + varintSize(valueLength) + valueLength);
    store<u16>(to, <u16> (0x0a | keyLength << 8));
    copyText(key, keyLength, to + 2);
    to += 2 + keyLength;
    store<u8>(to, 0x12);
    to = varint(to + 1, valueLength);
    store<u8>(to, 0x0a);
    to = varint(to + 1, length);
    copyText(from, length, to);
    return to + length;
  }
  const content = to + 2;
  store<u8>(to, tag);
  store<u16>(content, <u16> (0x0a | keyLength << 8));
  copyText(key, keyLength, content + 2);
  const value = content + 4 + keyLength;
  store<u8>(value - 2, 0x12);
  if (variant == ARRAY) {
    store<u8>(value, 0x2a);
    to = closeMessage(value, closeMessage(value + 2, array(from + 4, value + 2)));
    return closeMessage(content, to);
  }
  to = scalar(variant, from + 4, value);
  store<u8>(value - 1, <u8> (to - value));
  store<u8>(content - 1, <u8> (to - content));
  return to;
}

/** A bool, an integer or a double. */
function scalar(variant: u32, from: usize, to: usize): usize {
  if (variant == I64) {
    moveTo(from + 8);
    store<u8>(to, 0x18);
    return varint64(to + 1, load<u64>(from));
  }
  if (variant == F64) {
    moveTo(from + 8);
    const bits = load<u64>(from);
    // Its name, as a string, which is rare.
    if ((bits & EXPONENT) == EXPONENT) giveUp();
    store<u8>(to, 0x21);
    store<u64>(to, bits, 1);
    return to + 9;
  }
  moveTo(from + 1);
  if (variant != BOOL) giveUp();
  store<u8>(to, 0x10);
  store<u8>(to, <u8> flagAt(from), 1);
  return to + 2;
}

function array(from: usize, to: usize): usize {
  const variant = load<u32>(from);
  if (variant > STRING) giveUp();
  let left = lengthAt(from + 4);
  moveTo(from + 12);
  for (; left > 0 && isUsual; left--) {
    store<u8>(to, 0x0a);
    const field = to + 2;
    if (isTooLong(to, at) || at > end) giveUp();
    else if (variant == STRING) {
      const length = lengthAt(at);
      const text = at + 8;
      moveTo(text + length);
      store<u8>(field, 0x0a);
      copyText(text, length, field + 2);
      to = closeMessage(field, closeMessage(field + 2, field + 2 + length));
    } else {
      to = scalar(variant, at, field);
      store<u8>(field - 1, <u8> (to - field));
    }
  }
  return to;
}

function events(from: usize, to: usize): usize {
  let left = lengthAt(from);
  moveTo(from + 8);
  for (; left > 0 && isUsual; left--) {
    from = at;
    store<u8>(to, 0x5a);
    const content = to + 2;
    const nameLength = lengthAt(from);
    to = textField(0x12, from + 8, nameLength, content + 9);
    from += 8 + nameLength;
    const time = nanoseconds(load<u64>(from), <u64> load<u32>(from, 8));
    if (time == 0) giveUp();
    store<u8>(content, 0x09);
    store<u64>(content, time, 1);
    if (isUsual) to = attributeList(0x1a, from + TIME_BYTES, to);
    from = at;
    moveTo(from + 4);
    to = closeMessage(content, countField(0x20, from, to));
  }
  return to;
}

function status(from: usize, to: usize): usize {
  const code = load<u32>(from);
  if (code >= STATUS_CODES) giveUp();
  const length = lengthAt(from + 4);
  from += 12;
  moveTo(from + length);
  if (length == 0 && code == 0) return to;
  store<u8>(to, 0x7a);
  const content = to + 2;
  to = textField(0x12, from, length, content);
  if (code != 0) {
    store<u8>(to, 0x18);
    store<u8>(to, <u8> code, 1);
    to += 2;
  }
  return closeMessage(content, to);
}
