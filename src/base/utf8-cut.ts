/** A UTF-8 sequence has at most three bytes after its first. */
const MOST_CONTINUATION_BYTES = 3;

/** Whether a byte can only continue a UTF-8 sequence: it is from 0x80 to 0xbf. */
export function isContinuationByte(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

/**
 * Where to cut the UTF-8 text `bytes[start … end)` so that no more than what is before `at` stays and no character is
 * cut: at the first byte of the character that `bytes[at]` belongs to, or at the text's end if that is before `at`. If
 * no character begins in the three bytes before `at`, the text is not UTF-8 and is cut at `at` itself.
 */
export function characterStart(bytes: Uint8Array, at: number, start = 0, end: number = bytes.length): number {
  if (at >= end) return end;
  const lowest = Math.max(start, at - MOST_CONTINUATION_BYTES);
  let boundary = at;
  while (boundary > lowest && isContinuationByte(bytes[boundary] as number)) boundary--;
  return isContinuationByte(bytes[boundary] as number) ? at : boundary;
}
