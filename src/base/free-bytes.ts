/**
 * Smaller arrays are left to the garbage collector, bytes: some of them lie in its own memory, and they come by the
 * page.
 */
const LEAST_BYTES = 4096;

/**
 * Gives an array's memory back now; the array is empty afterwards. To be called only when nothing reads it any more.
 *
 * A garbage collector sees a small object, whatever memory of its own that has, and comes by when hundreds of megabytes
 * wait for it. What is given back at once is taken again for the next array, while it is still in the processor's
 * cache. An array that has only a part of its buffer is left alone: others may have the rest.
 */
export function freeBytes({ buffer, byteLength }: Uint8Array): void {
  if (byteLength < LEAST_BYTES || byteLength !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
