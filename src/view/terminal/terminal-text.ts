import { printable } from "../../base/log.ts";

/** Characters that a terminal shows two columns wide (a close approximation of Unicode Standard Annex 11). */
const WIDE =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;
/** Characters that take no column of their own: combining marks. */
const COMBINING = /\p{M}/u;

function columnsOf(character: string): number {
  if (WIDE.test(character)) return 2;
  return COMBINING.test(character) ? 0 : 1;
}

/** How many columns of a terminal a printable text takes. */
export function columns(text: string): number {
  let sum = 0;
  for (const character of text) sum += columnsOf(character);
  return sum;
}

/** Text of at most so many columns, ending in `more` where some had to go. */
export function cut(text: string, limit: number, more: string): string {
  if (columns(text) <= limit) return text;
  let used = columns(more);
  let kept = "";
  for (const character of text) {
    used += columnsOf(character);
    if (used > limit) break;
    kept += character;
  }
  return limit >= columns(more) ? kept + more : "";
}

/** Text from a guest as it may be shown: no control sequence, and ASCII alone where the terminal knows no more. */
export function shown(text: string, unicode: boolean): string {
  const safe = printable(text);
  if (unicode) return safe;
  return safe.replace(
    /[^\u0020-\u007e]/gu,
    (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`,
  );
}

/** A number of nanoseconds, three digits of it, in the unit that suits; `micro` begins the microseconds' unit. */
export function duration(nanoseconds: bigint, micro: string): string {
  if (nanoseconds < 0n) return `-${duration(-nanoseconds, micro)}`;
  if (nanoseconds < 1000n) return `${nanoseconds} ns`;
  const count = Number(nanoseconds);
  // What would be rounded up to 1000 is 1.00 of the next unit.
  const digits = (unit: number) => Math.max(count / unit, 1).toPrecision(3);
  if (count < 999.5e3) return `${digits(1e3)} ${micro}s`;
  if (count < 999.5e6) return `${digits(1e6)} ms`;
  if (count < 99.95e9) return `${digits(1e9)} s`;
  return count < 1e15 ? `${Math.round(count / 1e9)} s` : `${(count / 1e9).toExponential(1)} s`;
}
