// Buffers in which frames are put together that were split over chunks. Most chunks end inside a frame, and to
// allocate, clear and collect a buffer for each costs more than to decode the frame. So some of them are reused, by the
// readers of all guests, each of which looks only at what it has written.

import { freeBytes } from "../base/free-bytes.ts";

/** A frame this small has a buffer that its reader keeps. */
const SMALLEST_SHIFT = 13;
/** What is larger is rare, and takes long to arrive. */
const LARGEST_SHIFT = 16;
/** How many of each size are kept: 480 KiB in all. */
const MOST_SPARE = 4;

const spares: Uint8Array[][] = Array.from({ length: LARGEST_SHIFT + 1 }, () => []);

/** A buffer of at least `bytes`, with anything in it, whose size is a power of two; undefined if it would be large. */
export function takeCarryBuffer(bytes: number): Uint8Array | undefined {
  if (bytes > 1 << LARGEST_SHIFT) return undefined;
  const shift = Math.max(SMALLEST_SHIFT, 32 - Math.clz32(bytes - 1));
  return spares[shift]?.pop() ?? new Uint8Array(1 << shift);
}

/** Gives back a buffer of a reader's, which no longer reads or writes it. One that is not kept is freed. */
export function giveBackCarryBuffer(buffer: Uint8Array): void {
  const { length } = buffer;
  const isOurs = length >= 1 << SMALLEST_SHIFT && length <= 1 << LARGEST_SHIFT && (length & (length - 1)) === 0;
  const spare = isOurs ? spares[31 - Math.clz32(length)] : undefined;
  if (spare !== undefined && spare.length < MOST_SPARE) spare.push(buffer);
  else freeBytes(buffer);
}
