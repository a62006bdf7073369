// What both decoders share: where the reader is, and whether the payload is still as usual.

import { INPUT, MOST_AHEAD, MOST_INPUT } from "./memory";

/** The next byte to read. */
export let at: usize = 0;
/** Behind the payload's last byte. */
export let end: usize = 0;
/** By how much the output may be ahead of twice the input that has been read: what a larger payload would need. */
export let mostAhead: usize = 0;
/** False once something is not as usual. What is written after that is of no use. */
export let isUsual: bool = true;

/** How many bytes behind the payload are overwritten with zeros. */
export const ZEROS: usize = 64;

/** Begins the payload of `length` bytes at `start`. */
export function begin(start: usize, length: usize): void {
  at = start;
  end = start + length;
  mostAhead = MOST_AHEAD + 2 * (INPUT + MOST_INPUT - end);
  isUsual = true;
  // No JSON text has a zero byte, so nothing that is usual reaches beyond them, and few loops have to look for the end.
  // They are enough for all vectors that are read at its end at once.
  const zeros = i8x16.splat(0);
  v128.store(end, zeros);
  v128.store(end, zeros, 16);
  v128.store(end, zeros, 32);
  v128.store(end, zeros, 48);
}

export function moveTo(place: usize): void {
  at = place;
}

/** Something is not as usual. Loops end after that, and the cursor is at the zeros behind the payload. */
export function giveUp(): void {
  isUsual = false;
  at = end;
}
