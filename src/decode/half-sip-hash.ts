/**
 * A hash of `view`'s bytes `start … end` that nobody can foresee without the key: HalfSipHash-2-4, 32 bits of result,
 * signed. With it a hash table stays fast whatever keys a guest picks.
 *
 * Specification: Aumasson and Bernstein, "SipHash: a fast short-input PRF", and the authors' `halfsiphash.c`.
 */
export function halfSipHash(
  view: DataView,
  start: number,
  end: number,
  keyLow: number,
  keyHigh: number,
): number {
  let v0 = keyLow;
  let v1 = keyHigh;
  let v2 = 0x6c796765 ^ keyLow;
  let v3 = 0x74656462 ^ keyHigh;
  let at = start;
  let last = (end - start) << 24;
  // Blocks of four bytes, then one of what is left and the length, then the end.
  for (let more = true; more;) {
    let block;
    if (at + 4 <= end) {
      block = view.getInt32(at, true);
      at += 4;
    } else {
      for (let shift = 0; at < end; shift += 8) last |= view.getUint8(at++) << shift;
      block = last;
      more = false;
    }
    v3 ^= block;
    // Two rounds a block, and the four of the end after the last.
    for (let round = more ? 2 : 6; round > 0; round--) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      if (!more && round === 5) {
        v0 ^= block;
        v2 ^= 0xff;
      }
    }
    if (more) v0 ^= block;
  }
  return v1 ^ v3;
}
