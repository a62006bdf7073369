// What may be wrong with a byte and the one behind it. Each has a bit of its own: it takes three tables to tell which.
const TOO_SHORT: i8 = 1 << 0;
const TOO_LONG: i8 = 1 << 1;
const OVERLONG_3: i8 = 1 << 2;
const TOO_LARGE: i8 = 1 << 3;
const SURROGATE: i8 = 1 << 4;
const OVERLONG_2: i8 = 1 << 5;
/** U+110000 and above whose second byte is 0x80 … 0x8f; and U+0000 … U+FFFF in four bytes, which look the same there. */
const TOO_LARGE_OR_OVERLONG_4: i8 = 1 << 6;
/** Two continuation bytes, which is right where {@link isUtf8} finds a third or fourth byte. */
const TWO_CONTINUATIONS: i8 = <i8> (1 << 7);
const ANY_LEAD: i8 = TOO_SHORT | TOO_LONG | TWO_CONTINUATIONS;
const LARGE: i8 = ANY_LEAD | TOO_LARGE | TOO_LARGE_OR_OVERLONG_4;
const SECOND: i8 = TOO_LONG | OVERLONG_2 | TWO_CONTINUATIONS;

/**
 * Whether `from … to` is UTF-8, as Rust's `str::from_utf8` has it: table 3-7 of the Unicode Standard. The algorithm is
 * that of Keiser and Lemire 2021, "Validating UTF-8 in less than one instruction per byte": three tables, by the halves
 * of a byte and the first half of the next one, say what may be wrong with both.
 */
export function isUtf8(from: usize, to: usize): bool {
  const places = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  let wrong = i8x16.splat(0);
  while (from + 128 <= to) {
    const first = v128.or(v128.load(from), v128.load(from, 16));
    const second = v128.or(v128.load(from, 32), v128.load(from, 48));
    const third = v128.or(v128.load(from, 64), v128.load(from, 80));
    const fourth = v128.or(v128.load(from, 96), v128.load(from, 112));
    if (i8x16.bitmask(v128.or(v128.or(first, second), v128.or(third, fourth))) != 0) break;
    from += 128;
  }
  let wasAscii = true;
  // A zero follows the text, as far as this is concerned, so a sequence that is cut off there is too short.
  for (let at = from; at <= to; at += 16) {
    let block = v128.load(at);
    const left = to - at;
    if (left < 16) block = v128.and(block, i8x16.lt_u(places, i8x16.splat(<i8> left)));
    const isAscii = i8x16.bitmask(block) == 0;
    if (isAscii && wasAscii) continue;
    wasAscii = isAscii;
    // What is before the text does not count.
    const skipped: i8 = at == from ? 1 : 0;
    const before = v128.and(v128.load(at - 1), i8x16.ge_u(places, i8x16.splat(skipped)));
    const secondBefore = v128.and(v128.load(at - 2), i8x16.ge_u(places, i8x16.splat(2 * skipped)));
    const thirdBefore = v128.and(v128.load(at - 3), i8x16.ge_u(places, i8x16.splat(3 * skipped)));
    const byHigh = i8x16.swizzle(
      i8x16(
        TOO_LONG,
        TOO_LONG,
        TOO_LONG,
        TOO_LONG,
        TOO_LONG,
        TOO_LONG,
        TOO_LONG,
        TOO_LONG,
        TWO_CONTINUATIONS,
        TWO_CONTINUATIONS,
        TWO_CONTINUATIONS,
        TWO_CONTINUATIONS,
        TOO_SHORT | OVERLONG_2,
        TOO_SHORT,
        TOO_SHORT | OVERLONG_3 | SURROGATE,
        TOO_SHORT | TOO_LARGE | TOO_LARGE_OR_OVERLONG_4,
      ),
      i8x16.shr_u(before, 4),
    );
    const byLow = i8x16.swizzle(
      i8x16(
        ANY_LEAD | OVERLONG_3 | OVERLONG_2 | TOO_LARGE_OR_OVERLONG_4,
        ANY_LEAD | OVERLONG_2,
        ANY_LEAD,
        ANY_LEAD,
        ANY_LEAD | TOO_LARGE,
        LARGE,
        LARGE,
        LARGE,
        LARGE,
        LARGE,
        LARGE,
        LARGE,
        LARGE,
        LARGE | SURROGATE,
        LARGE,
        LARGE,
      ),
      v128.and(before, i8x16.splat(0xf)),
    );
    const bySecond = i8x16.swizzle(
      i8x16(
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        SECOND | OVERLONG_3 | TOO_LARGE_OR_OVERLONG_4,
        SECOND | OVERLONG_3 | TOO_LARGE,
        SECOND | SURROGATE | TOO_LARGE,
        SECOND | SURROGATE | TOO_LARGE,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
        TOO_SHORT,
      ),
      i8x16.shr_u(block, 4),
    );
    const special = v128.and(v128.and(byHigh, byLow), bySecond);
    // The third byte of three or four, and the fourth: a lead byte of 0xe0 or 0xf0 and above has its highest bit then.
    const third = i8x16.sub_sat_u(secondBefore, i8x16.splat(<i8> (0xe0 - 0x80)));
    const fourth = i8x16.sub_sat_u(thirdBefore, i8x16.splat(<i8> (0xf0 - 0x80)));
    const continues = v128.and(v128.or(third, fourth), i8x16.splat(<i8> 0x80));
    let found = v128.xor(continues, special);
    if (left < 15) found = v128.and(found, i8x16.lt_u(places, i8x16.splat(<i8> (left + 1))));
    wrong = v128.or(wrong, found);
  }
  return !v128.any_true(wrong);
}
