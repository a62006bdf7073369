import { Buffer } from "node:buffer";

/** So many bytes are compared without a call into the runtime. */
const FIRST_BYTES = 16;

/** Whether `one[oneStart … oneEnd)` and `other[start … end)` are equal. Makes no view of either. */
export function equalBytes(
  one: Uint8Array,
  oneStart: number,
  oneEnd: number,
  other: Uint8Array,
  start: number,
  end: number,
): boolean {
  if (oneEnd - oneStart !== end - start) return false;
  // Most that differ do so soon, which takes less time to see than a call into the runtime.
  for (let i = 0; i < FIRST_BYTES; i++) {
    if (start + i === end) return true;
    if (one[oneStart + i] !== other[start + i]) return false;
  }
  // Deno holds the end in the argument to the length of `this`, so `this` is the longer one.
  const { compare } = Buffer.prototype;
  return one.length > other.length
    ? compare.call(one as Buffer, other, start, end, oneStart, oneEnd) === 0
    : compare.call(other as Buffer, one, oneStart, oneEnd, start, end) === 0;
}
