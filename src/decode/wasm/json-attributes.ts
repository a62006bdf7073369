import { at, giveUp, isUsual, moveTo } from "./cursor";
import { readF64, readI64 } from "./json-number";
import { keyLength, plainLength, readLongText, readText } from "./json-text";
import * as literal from "./dist/literals";
import { PRINTS } from "./memory";
import {
  closeMessage,
  closeStringAttribute,
  fingerprint,
  fingerprintBit,
  isKnownFingerprint,
  isTooLong,
  LONG_TEXT_PREFIX,
  MOST_KEY_BYTES,
  MOST_KEYS,
  shortFingerprint,
  varint64,
} from "./output";

// `from` and `to` are as in json.ts.

export const QUOTE: u8 = 0x22;
export const COMMA: u8 = 0x2c;
export const OPEN_BRACKET: u8 = 0x5b;
export const CLOSE_BRACKET: u8 = 0x5d;
export const CLOSE_BRACE: u8 = 0x7d;
const COLON: u8 = 0x3a;

/** A map's attributes, from behind its brace. */
export function attributeMap(tag: u8, from: usize, to: usize): usize {
  if (load<u8>(from) == CLOSE_BRACE) {
    moveTo(from + 1);
    return to;
  }
  let prints = PRINTS;
  let bits: u64 = 0;
  let separator: u8;
  do {
    if (load<u8>(from) != QUOTE || prints == PRINTS + 8 * MOST_KEYS) {
      giveUp();
      return to;
    }
    store<u8>(to, tag);
    const content = to + 2;
    const key = content + 2;
    let keyEnd: usize;
    let print: u64;
    const block = v128.load(from, 1);
    const length = keyLength(block);
    from += 1 + length;
    if (load<u8>(from) == QUOTE && length > 0) {
      store<u8>(content, 0x0a);
      store<u8>(content, <u8> length, 1);
      v128.store(key, block);
      keyEnd = key + length;
      print = shortFingerprint(block, length);
      from++;
    } else {
      keyEnd = readKey(from - length, content);
      if (!isUsual) return to;
      print = fingerprint(key, keyEnd - key);
      from = at;
    }
    store<u64>(prints, print);
    const bit = fingerprintBit(print);
    if ((bits & bit) != 0 && isKnownFingerprint(print, prints)) giveUp();
    bits |= bit;
    prints += 8;
    to = value(content, from, keyEnd);
    from = at;
    separator = load<u8>(from++);
  } while (separator == COMMA && isUsual);
  if (separator != CLOSE_BRACE) giveUp();
  else moveTo(from);
  return to;
}

/** A list's attributes, from behind its bracket. */
export function attributeList(tag: u8, from: usize, to: usize): usize {
  if (load<u8>(from) == CLOSE_BRACKET) {
    moveTo(from + 1);
    return to;
  }
  let separator: u8;
  do {
    if (!literal.isKey(from)) {
      giveUp();
      return to;
    }
    store<u8>(to, tag);
    const content = to + 2;
    const keyEnd = readKey(from + literal.KEY, content);
    from = at;
    if (!literal.isValue(from)) giveUp();
    if (!isUsual) return to;
    to = value(content, from + literal.VALUE, keyEnd);
    from = at;
    if (load<u8>(from) != CLOSE_BRACE) giveUp();
    separator = load<u8>(from, 1);
    from += 2;
  } while (separator == COMMA && isUsual);
  if (separator != CLOSE_BRACKET) giveUp();
  else moveTo(from);
  return to;
}

/** A key, from behind its quote. */
function readKey(from: usize, content: usize): usize {
  store<u8>(content, 0x0a);
  const to = readText(from, content + 2);
  const length = to - content - 2;
  if (length - 1 >= MOST_KEY_BYTES) giveUp();
  store<u8>(content, <u8> length, 1);
  return to;
}

/**
 * A value, from the colon in front of it, `:{"I64":5}`, and with it the end of its attribute, whose key is written from
 * `content` to `to`.
 */
function value(content: usize, from: usize, to: usize): usize {
  store<u8>(to, 0x12);
  const value = to + 2;
  if (literal.isString(from)) {
    from += literal.STRING;
    store<u8>(value, 0x0a);
    const first = v128.load(from);
    v128.store(value, first, 2);
    let length = plainLength(first);
    if (length == 16) {
      const second = v128.load(from, 16);
      v128.store(value, second, 18);
      length += plainLength(second);
    }
    // The bytes of a quote and a brace; and the attribute's length takes one byte.
    if (load<u16>(from + length) == 0x7d22) {
      to = value + 2 + length;
      if (to - content < 0x80) {
        store<u8>(value - 1, <u8> (length + 2));
        store<u8>(value + 1, <u8> length);
        store<u8>(content - 1, <u8> (to - content));
        moveTo(from + length + 2);
        return to;
      }
      to = value - 2;
    }
    return longString(content, from, to);
  }
  if (!literal.isI64(from)) return otherValue(content, from, to);
  to = intValue(from + literal.I64, value);
  closeBrace();
  store<u8>(value - 1, <u8> (to - value));
  store<u8>(content - 1, <u8> (to - content));
  return to;
}

function longString(content: usize, from: usize, to: usize): usize {
  const text = to + LONG_TEXT_PREFIX;
  to = closeStringAttribute(content, to, text, readLongText(from, text));
  closeBrace();
  return to;
}

function otherValue(content: usize, from: usize, to: usize): usize {
  const value = to + 2;
  const letter = load<u8>(from, 3);
  if (letter == 0x46) {
    if (!literal.isF64(from)) giveUp();
    to = doubleValue(from + literal.F64, value);
  } else if (letter == 0x42) {
    if (!literal.isBool(from)) giveUp();
    to = boolValue(from + literal.BOOL, value);
  } else {
    if (!literal.isArray(from)) giveUp();
    if (!isUsual) return to;
    store<u8>(value, 0x2a);
    to = closeMessage(value, closeMessage(value + 2, array(from + literal.ARRAY, value + 2)));
    closeBrace();
    return closeMessage(content, to);
  }
  closeBrace();
  store<u8>(value - 1, <u8> (to - value));
  store<u8>(content - 1, <u8> (to - content));
  return to;
}

/** Skips a brace. */
function closeBrace(): void {
  if (load<u8>(at) != CLOSE_BRACE) giveUp();
  else moveTo(at + 1);
}

function intValue(from: usize, to: usize): usize {
  store<u8>(to, 0x18);
  return varint64(to + 1, readI64(from));
}

function doubleValue(from: usize, to: usize): usize {
  if (literal.isNull(from)) {
    // "NaN": JSON has no number for it.
    store<u32>(to, 0x614e030a);
    store<u8>(to, 0x4e, 4);
    moveTo(from + literal.NULL);
    return to + 5;
  }
  store<u8>(to, 0x21);
  store<f64>(to, readF64(from), 1);
  return to + 9;
}

function boolValue(from: usize, to: usize): usize {
  store<u8>(to, 0x10);
  const isTrue = literal.isTrue(from);
  if (!isTrue && !literal.isFalse(from)) giveUp();
  else moveTo(from + (isTrue ? literal.TRUE : literal.FALSE));
  store<u8>(to, isTrue ? 1 : 0, 1);
  return to + 2;
}

/** An array of values of one kind, from the colon in front of it, `:{"I64":[5,6]}`. */
function array(from: usize, to: usize): usize {
  const letter = load<u8>(from, 3);
  let length = literal.BOOL;
  let isKnown = false;
  if (letter == 0x53) {
    isKnown = literal.isStringArray(from);
    length = literal.STRING_ARRAY;
  } else if (letter == 0x49) {
    isKnown = literal.isI64(from);
    length = literal.I64;
  } else if (letter == 0x46) {
    isKnown = literal.isF64(from);
    length = literal.F64;
  } else isKnown = literal.isBool(from);
  from += length;
  if (!isKnown || load<u8>(from) != OPEN_BRACKET) {
    giveUp();
    return to;
  }
  from++;
  if (load<u8>(from) == CLOSE_BRACKET) moveTo(from + 1);
  else {
    let separator: u8;
    do {
      store<u8>(to, 0x0a);
      const value = to + 2;
      if (isTooLong(to, from)) giveUp();
      else if (letter == 0x53) {
        if (load<u8>(from) != QUOTE) giveUp();
        store<u8>(value, 0x0a);
        to = closeMessage(value, closeMessage(value + 2, readText(from + 1, value + 2)));
      } else {
        if (letter == 0x49) to = intValue(from, value);
        else if (letter == 0x46) to = doubleValue(from, value);
        else to = boolValue(from, value);
        store<u8>(value - 1, <u8> (to - value));
      }
      from = at;
      separator = load<u8>(from++);
    } while (separator == COMMA && isUsual);
    if (separator != CLOSE_BRACKET) giveUp();
    else moveTo(from);
  }
  closeBrace();
  return to;
}
