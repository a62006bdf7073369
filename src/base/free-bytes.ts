/**
 * Smaller arrays are left to the garbage collector, bytes, because some of them are in its own memory, where giving
 * one back frees nothing.
 */
const LEAST_BYTES = 4096;

/**
 * Gives an array's memory back now; the array is empty afterwards. To be called only when nothing reads it any more.
 *
 * To a garbage collector an array is a small object, whatever memory it holds, so it runs only when hundreds of
 * megabytes are waiting for it. Memory that is given back at once is reused for the next array while it is still in the
 * processor's cache. An array that covers only a part of its buffer is left alone, because others may use the rest.
 */
export function freeBytes({ buffer, byteLength }: Uint8Array): void {
  if (byteLength < LEAST_BYTES || byteLength !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
