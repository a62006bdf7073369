import { at, begin, end, giveUp, isUsual, moveTo } from "./cursor";
import { nanoseconds, readF64, readI64, readU128, readU64, readUint } from "./json-number";
import { readText } from "./json-text";
import * as literal from "./dist/literals";
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
import { tell } from "./result";

const QUOTE: u8 = 0x22;
const COMMA: u8 = 0x2c;
const OPEN_BRACKET: u8 = 0x5b;
const CLOSE_BRACKET: u8 = 0x5d;
const CLOSE_BRACE: u8 = 0x7d;
const MAX_U8: u64 = 0xff;
const MAX_U32: u64 = 0xffffffff;

/** What begins a list's next item; the list has ended if there is none. */
function more(closing: u8): bool {
  const byte = load<u8>(at);
  moveTo(at + 1);
  if (byte == COMMA) return true;
  if (byte != closing) giveUp();
  return false;
}

/** Skips a literal that has to follow. */
function expect(matches: bool): void {
  if (!matches) giveUp();
}

/**
 * Decodes a span in JSON of `length` bytes, written as serde_json writes what agents have: members in the order of
 * their declaration, no white space. Returns false if anything is not so, or not valid.
 */
export function decodeJson(length: usize): bool {
  begin(length);
  const content = OUTPUT + FIELD_PREFIX;
  expect(literal.skipContext());
  store<u16>(content, 0x100a);
  readU128(content + 2);
  expect(literal.skipSpanId());
  store<u16>(content, 0x0812, 18);
  const spanId = readU64();
  if (spanId == 0) giveUp();
  store<u64>(content, bswap<u64>(spanId), 20);
  expect(literal.skipFlags());
  const flags = readUint(MAX_U8);
  if (!literal.skipContextEnd()) expect(literal.skipRemoteContextEnd());
  let to = content + 28;
  const parent = readU64();
  if (parent != 0) {
    store<u16>(to, 0x0822);
    store<u64>(to, bswap<u64>(parent), 2);
    to += 10;
  }
  const kind = readKind();
  if (!isUsual) return false;
  to = textField(0x2a, to);
  store<u8>(to, 0x30);
  store<u8>(to, kind, 1);
  expect(literal.skipStart());
  to = timeField(0x39, to + 2);
  expect(literal.skipEnd());
  to = timeField(0x41, to);
  expect(literal.skipAttributes());
  if (!isUsual) return false;
  to = attributeMap(0x4a, to);
  if (!isUsual) return false;
  skipEvictionList(to);
  to = limit(0x50, to);
  expect(literal.skipEvents());
  if (!isUsual) return false;
  if (!literal.skipNull()) to = events(to);
  to = limit(0x60, to);
  // Links are rare.
  expect(literal.skipLinks());
  to = limit(0x70, to);
  if (!literal.skipStatus()) to = status(to);
  if (flags != 0) {
    store<u16>(to, 0x0185);
    store<u32>(to, <u32> flags, 2);
    to += 6;
  }
  if (!isUsual) return false;
  const start = closeField(0x12, content, to);
  let resource = to;
  let resourceEnd = to;
  if (literal.skipResource()) {
    const attributes = to + FIELD_PREFIX;
    resourceEnd = attributeMap(0x0a, attributes);
    if (resourceEnd == attributes) resourceEnd = to;
    else resource = closeField(0x0a, attributes, resourceEnd);
    expect(literal.skipResourceEnd());
  } else expect(literal.skipNoResource());
  tell(start, to, resource, resourceEnd);
  return isUsual && at == end;
}

/** Decodes the rest of a string, which the payload is up to its quote. Returns how many bytes it has, -1 if wrong. */
export function decodeJsonText(length: usize): i32 {
  begin(length);
  store<u8>(end, QUOTE);
  const to = readText(OUTPUT);
  return isUsual && at == end + 1 ? <i32> (to - OUTPUT) : -1;
}

function readKind(): u8 {
  if (literal.skipInternal()) return 1;
  if (literal.skipServer()) return 2;
  if (literal.skipClient()) return 3;
  if (literal.skipProducer()) return 4;
  expect(literal.skipConsumer());
  return 5;
}

/** A string field that is left out if it is empty. */
function textField(tag: u8, to: usize): usize {
  store<u8>(to, tag);
  return closeOptional(to + 2, readText(to + 2));
}

function readTime(): u64 {
  const seconds = readU64();
  expect(literal.skipNanos());
  const rest = readU64();
  expect(literal.skipTimeEnd());
  return nanoseconds(seconds, rest);
}

function timeField(tag: u8, to: usize): usize {
  const time = readTime();
  if (time == 0) return to;
  store<u8>(to, tag);
  store<u64>(to, time, 1);
  return to + 9;
}

/** `,"max_len":…,"dropped_count":…}` */
function limit(tag: u8, to: usize): usize {
  if (literal.skipUsualLimit()) return to;
  expect(literal.skipMaxLen());
  readUint(MAX_U32);
  expect(literal.skipDroppedCount());
  to = countField(tag, to);
  expect(load<u8>(at) == CLOSE_BRACE);
  moveTo(at + 1);
  return to;
}

function countField(tag: u8, to: usize): usize {
  const count = readUint(MAX_U32);
  if (count == 0) return to;
  store<u8>(to, tag);
  return varint(to + 1, count);
}

/** A map's attributes, from behind its brace. */
function attributeMap(tag: u8, to: usize): usize {
  if (load<u8>(at) == CLOSE_BRACE) {
    moveTo(at + 1);
    return to;
  }
  let keys: u32 = 0;
  let key: usize;
  do {
    if (load<u8>(at) != QUOTE || keys == MOST_KEYS) {
      giveUp();
      return to;
    }
    moveTo(at + 1);
    store<u8>(to, tag);
    key = to + 4;
    const keyEnd = readKey(to + 2);
    if (!isUsual) return to;
    expect(isNewKey(key, keyEnd - key, keys++) && load<u8>(at) == 0x3a);
    moveTo(at + 1);
    to = keyedValue(to + 2, keyEnd);
  } while (isUsual && more(CLOSE_BRACE));
  return to;
}

/** A list's attributes, from behind its bracket. */
function attributeList(tag: u8, to: usize): usize {
  if (load<u8>(at) == CLOSE_BRACKET) {
    moveTo(at + 1);
    return to;
  }
  do {
    expect(literal.skipKey());
    store<u8>(to, tag);
    const keyEnd = readKey(to + 2);
    expect(literal.skipValue());
    if (!isUsual) return to;
    to = keyedValue(to + 2, keyEnd);
    expect(load<u8>(at) == CLOSE_BRACE);
    moveTo(at + 1);
  } while (isUsual && more(CLOSE_BRACKET));
  return to;
}

/** A key, from behind its quote. */
function readKey(content: usize): usize {
  store<u8>(content, 0x0a);
  const to = readText(content + 2);
  const length = to - content - 2;
  if (length == 0 || length > MOST_KEY_BYTES) giveUp();
  store<u8>(content, <u8> length, 1);
  return to;
}

/** A value, `{"I64":5}`, and with it the end of its attribute, whose key is written from `content` to `to`. */
function keyedValue(content: usize, to: usize): usize {
  store<u8>(to, 0x12);
  const scalar = to + 2;
  const letter = load<u8>(at, 2);
  if (letter == 0x53) {
    expect(literal.skipString());
    store<u8>(scalar, 0x0a);
    const text = scalar + 2;
    to = closeStringAttribute(content, text, readText(text));
    expect(load<u8>(at) == CLOSE_BRACE);
    moveTo(at + 1);
    return to;
  }
  if (letter == 0x49) {
    expect(literal.skipI64());
    to = intValue(scalar);
  } else if (letter == 0x46) {
    expect(literal.skipF64());
    to = doubleValue(scalar);
  } else if (letter == 0x42) {
    expect(literal.skipBool());
    to = boolValue(scalar);
  } else {
    expect(literal.skipArray());
    if (!isUsual) return to;
    store<u8>(scalar, 0x2a);
    to = closeMessage(scalar, closeMessage(scalar + 2, array(scalar + 2)));
    expect(load<u8>(at) == CLOSE_BRACE);
    moveTo(at + 1);
    return closeMessage(content, to);
  }
  expect(load<u8>(at) == CLOSE_BRACE);
  moveTo(at + 1);
  store<u8>(scalar - 1, <u8> (to - scalar));
  store<u8>(content - 1, <u8> (to - content));
  return to;
}

function intValue(to: usize): usize {
  store<u8>(to, 0x18);
  return varint(to + 1, readI64());
}

function doubleValue(to: usize): usize {
  if (literal.skipNull()) {
    // "NaN": JSON has no number for it.
    store<u32>(to, 0x614e030a);
    store<u8>(to, 0x4e, 4);
    return to + 5;
  }
  store<u8>(to, 0x21);
  store<f64>(to, readF64(), 1);
  return to + 9;
}

function boolValue(to: usize): usize {
  store<u8>(to, 0x10);
  const isTrue = literal.skipTrue();
  if (!isTrue) expect(literal.skipFalse());
  store<u8>(to, isTrue ? 1 : 0, 1);
  return to + 2;
}

/** An array of values of one kind, `{"I64":[5,6]}`. */
function array(to: usize): usize {
  const letter = load<u8>(at, 2);
  if (letter == 0x53) expect(literal.skipStringArray());
  else if (letter == 0x49) expect(literal.skipI64());
  else if (letter == 0x46) expect(literal.skipF64());
  else expect(literal.skipBool());
  if (!isUsual || load<u8>(at) != OPEN_BRACKET) {
    giveUp();
    return to;
  }
  moveTo(at + 1);
  if (load<u8>(at) == CLOSE_BRACKET) moveTo(at + 1);
  else {
    do {
      store<u8>(to, 0x0a);
      const scalar = to + 2;
      if (isTooLong(to)) giveUp();
      else if (letter == 0x53) {
        expect(load<u8>(at) == QUOTE);
        moveTo(at + 1);
        store<u8>(scalar, 0x0a);
        to = closeMessage(scalar, closeMessage(scalar + 2, readText(scalar + 2)));
      } else {
        if (letter == 0x49) to = intValue(scalar);
        else if (letter == 0x46) to = doubleValue(scalar);
        else to = boolValue(scalar);
        store<u8>(scalar - 1, <u8> (to - scalar));
      }
    } while (isUsual && more(CLOSE_BRACKET));
  }
  expect(load<u8>(at) == CLOSE_BRACE);
  moveTo(at + 1);
  return to;
}

/** The keys in the order in which they were set, which goes nowhere. */
function skipEvictionList(scratch: usize): void {
  expect(literal.skipEvictList());
  if (load<u8>(at) == CLOSE_BRACKET) {
    moveTo(at + 1);
    return;
  }
  do {
    expect(load<u8>(at) == QUOTE);
    moveTo(at + 1);
    readText(scratch);
  } while (isUsual && more(CLOSE_BRACKET));
}

/** A list of events. */
function events(to: usize): usize {
  expect(load<u8>(at) == OPEN_BRACKET);
  moveTo(at + 1);
  if (load<u8>(at) == CLOSE_BRACKET) {
    moveTo(at + 1);
    return to;
  }
  do {
    store<u8>(to, 0x5a);
    const content = to + 2;
    expect(literal.skipEventName());
    to = textField(0x12, content + 9);
    expect(literal.skipTimestamp());
    const time = readTime();
    if (time == 0) giveUp();
    store<u8>(content, 0x09);
    store<u64>(content, time, 1);
    expect(literal.skipEventAttributes());
    if (!isUsual) return to;
    to = attributeList(0x1a, to);
    expect(literal.skipEventDropped());
    to = closeMessage(content, countField(0x20, to));
    expect(load<u8>(at) == CLOSE_BRACE);
    moveTo(at + 1);
  } while (isUsual && more(CLOSE_BRACKET));
  return to;
}

function status(to: usize): usize {
  let code: u8 = 0;
  if (literal.skipOk()) code = 1;
  else if (literal.skipError()) code = 2;
  else expect(literal.skipUnset());
  if (!isUsual) return to;
  store<u8>(to, 0x7a);
  const content = to + 2;
  to = textField(0x12, content);
  if (code != 0) {
    store<u8>(to, 0x18);
    store<u8>(to, code, 1);
    to += 2;
  }
  return closeOptional(content, to);
}
