/**
 * What a record counts for at least, bytes. A segment has a slot for every so many of its bytes, so that the number of
 * records is bounded too, and with it the memory that knows where they are.
 */
export const LEAST_RECORD_BYTES = 4096;

/** What a record counts for, bytes. */
export function countedBytes(size: number): number {
  return Math.max(size, LEAST_RECORD_BYTES);
}
