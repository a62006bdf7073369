import { at, end, giveUp, moveTo } from "./cursor";
import { ESCAPES, SHUFFLES } from "./memory";
import { isUtf8 } from "./utf8";

const QUOTE: u8 = 0x22;
const BACKSLASH: u8 = 0x5c;
const LETTER_U: u8 = 0x75;
const FIRST_PRINTABLE: i8 = 0x20;
/** The odd ones of 32 bits. */
const ODD_BITS: u32 = 0xaaaaaaaa;

/**
 * How many bytes of a string, whose beginning the block is, are printable ASCII without escapes, 16 at most. If the
 * byte behind them is its last quote, they are all of it. That is for the caller to ask in a branch, which the
 * processor predicts; a length that depended on it would have to wait.
 */
export function plainLength(block: v128): usize {
  const special = v128.or(i8x16.eq(block, i8x16.splat(QUOTE)), i8x16.eq(block, i8x16.splat(BACKSLASH)));
  // As a signed number, a byte that is not ASCII is also below the first printable one.
  const stops = i8x16.bitmask(v128.or(special, i8x16.lt_s(block, i8x16.splat(FIRST_PRINTABLE))));
  return <usize> ctz(stops | 0x10000);
}

/** The same, except that it also stops at spaces and exclamation marks, which keys do not have. */
export function keyLength(block: v128): usize {
  const low = i8x16.lt_s(block, i8x16.splat(QUOTE + 1));
  return <usize> ctz(i8x16.bitmask(v128.or(low, i8x16.eq(block, i8x16.splat(BACKSLASH)))) | 0x10000);
}

/**
 * Reads the rest of a string, from behind its first quote, and writes its bytes in UTF-8. Returns the place after them,
 * and leaves the cursor behind the last quote.
 *
 * A control character, a wrong escape or surrogate, and bytes that are not UTF-8 are not usual.
 */
export function readText(from: usize, to: usize): usize {
  const block = v128.load(from);
  const length = plainLength(block);
  if (load<u8>(from + length) != QUOTE) return readLongText(from, to);
  v128.store(to, block);
  moveTo(from + length + 1);
  return to + length;
}

/** The same, 32 bytes at a time. */
export function readLongText(from: usize, to: usize): usize {
  const first = from;
  const start = to;
  isPrintable = true;
  to = copyToStop(from, to);
  while (load<u8>(at) != QUOTE) {
    to = readCodePoint(to);
    if (to == 0) return start;
    to = copyToStop(at, to);
  }
  moveTo(at + 1);
  // What follows the string may be what has been seen.
  if (!isPrintable && !isValid(first, at, start, to)) giveUp();
  return to;
}

/** Whether all that {@link copyToStop} has seen of a string, and of what follows it, is printable ASCII. */
let isPrintable = true;

/**
 * Copies a string up to its last quote, or up to an escape that needs more than a table. Returns the place after what
 * it wrote, and leaves the cursor at the quote or at the escape's letter. Without either, the text is not usual.
 *
 * It calls nothing, because engines keep no vectors in registers across calls, and then nowhere in a function.
 */
function copyToStop(from: usize, to: usize): usize {
  const last = end;
  // The least of the bytes at each place, as signed numbers: negative if one is not ASCII.
  let least = i8x16.splat(0x7f);
  // Whether the next byte is escaped by a backslash that has been dropped.
  let isEscaped: u32 = 0;
  // Zeros follow the payload, and no quote.
  while (from <= last) {
    const low = v128.load(from);
    const high = v128.load(from, 16);
    least = i8x16.min_s(least, i8x16.min_s(low, high));
    const quotes = bits(i8x16.eq(low, i8x16.splat(QUOTE)), i8x16.eq(high, i8x16.splat(QUOTE)));
    const backslashes = bits(i8x16.eq(low, i8x16.splat(BACKSLASH)), i8x16.eq(high, i8x16.splat(BACKSLASH)));
    if ((backslashes | isEscaped) == 0) {
      v128.store(to, low);
      v128.store(to, high, 16);
      if (quotes == 0) {
        from += 32;
        to += 32;
        continue;
      }
      const plain = <usize> ctz(quotes);
      from += plain;
      to += plain;
      break;
    }
    // Which backslashes begin an escape, and what they escape, however many stand in a row: a subtraction borrows
    // along each row (Langdale and Lemire 2019, "Parsing gigabytes of JSON per second").
    const possible = backslashes & ~isEscaped;
    const ends = (((possible << 1) | ODD_BITS) - possible) ^ ODD_BITS;
    const escaped = ends ^ (backslashes | isEscaped);
    const escapes = ends & backslashes;
    // Quotes that are not escaped, and letters that are: escaped quotes and backslashes cancel out.
    const stops = escaped ^ quotes ^ backslashes ^ escapes;
    compress(low, escapes, to);
    compress(high, escapes >> 16, to + 16 - popcnt(escapes & 0xffff));
    if (stops == 0) {
      isEscaped = escapes >> 31;
      from += 32;
      to += 32 - popcnt(escapes);
      continue;
    }
    const plain = ctz(stops);
    from += <usize> plain;
    to += <usize> (plain - popcnt(escapes & ((1 << plain) - 1)));
    if (((escaped >> plain) & 1) == 0) break;
    isEscaped = 0;
    let byte = load<u8>(ESCAPES + load<u8>(from));
    if (byte == 0) break;
    // Several of these may stand in a row.
    while (byte != 0) {
      store<u8>(to++, byte);
      from++;
      byte = load<u8>(from) == BACKSLASH ? load<u8>(ESCAPES + load<u8>(from, 1)) : 0;
      if (byte != 0) from++;
    }
  }
  if (i8x16.bitmask(i8x16.lt_s(least, i8x16.splat(FIRST_PRINTABLE))) != 0) isPrintable = false;
  moveTo(from);
  if (from > last) giveUp();
  return to;
}

/** A bit for each byte of two comparisons. */
function bits(low: v128, high: v128): u32 {
  return i8x16.bitmask(low) | (i8x16.bitmask(high) << 16);
}

/** Whether the text has no control characters as they are, and what it stands for is UTF-8. */
function isValid(from: usize, to: usize, decoded: usize, decodedEnd: usize): bool {
  for (; from < to; from += 16) {
    const controls = i8x16.bitmask(i8x16.lt_u(v128.load(from), i8x16.splat(FIRST_PRINTABLE)));
    if (controls != 0 && from + <usize> ctz(controls) < to) return false;
  }
  return isUtf8(decoded, decodedEnd);
}

/** Writes a block without the bytes whose bits are in the lower half of `dropped`, which may be followed by others. */
function compress(block: v128, dropped: u32, to: usize): void {
  // Eight bytes at a time; what is written behind them is overwritten. The shift leaves eight bits, times eight.
  v128.store(to, i8x16.swizzle(block, v128.load((dropped & 0xff) << 3, SHUFFLES)));
  const indexes = i8x16.add(v128.load((dropped >> 5) & 0x7f8, SHUFFLES), i8x16.splat(8));
  v128.store(to - popcnt(dropped & 0xff), i8x16.swizzle(block, indexes), 8);
}

/** Reads an escaped code point from its `u` on and writes it in UTF-8; returns the place after it, 0 if it is wrong. */
function readCodePoint(to: usize): usize {
  let from = at;
  if (load<u8>(from) != LETTER_U) return wrong();
  let point = codeUnit(from + 1);
  if (point > 0xffff) return wrong();
  from += 5;
  if (point >> 11 == 0x1b) {
    // A surrogate: the first half of a pair, and then the other one.
    if (point > 0xdbff || load<u8>(from) != BACKSLASH || load<u8>(from, 1) != LETTER_U) return wrong();
    const low = codeUnit(from + 2);
    if (low >> 10 != 0x37) return wrong();
    point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    from += 6;
  }
  moveTo(from);
  if (point < 0x80) {
    store<u8>(to, <u8> point);
    return to + 1;
  }
  if (point < 0x800) {
    store<u8>(to++, 0xc0 | <u8> (point >> 6));
  } else {
    if (point < 0x10000) {
      store<u8>(to++, 0xe0 | <u8> (point >> 12));
    } else {
      store<u8>(to++, 0xf0 | <u8> (point >> 18));
      store<u8>(to++, 0x80 | <u8> ((point >> 12) & 0x3f));
    }
    store<u8>(to++, 0x80 | <u8> ((point >> 6) & 0x3f));
  }
  store<u8>(to, 0x80 | <u8> (point & 0x3f));
  return to + 1;
}

function wrong(): usize {
  giveUp();
  return 0;
}

/** Four hexadecimal digits; more than 16 bits if they are none. */
function codeUnit(from: usize): u32 {
  return (hexDigit(load<u8>(from)) << 12) | (hexDigit(load<u8>(from, 1)) << 8) | (hexDigit(load<u8>(from, 2)) << 4) |
    hexDigit(load<u8>(from, 3));
}

function hexDigit(byte: u32): u32 {
  const digit = byte - 0x30;
  if (digit < 10) return digit;
  const letter = (byte | 0x20) - 0x61;
  return letter < 6 ? letter + 10 : 0x10000;
}
