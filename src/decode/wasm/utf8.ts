/** Whether `from … to` is UTF-8, as Rust's `str::from_utf8` has it: table 3-7 of the Unicode Standard. */
export function isUtf8(from: usize, to: usize): bool {
  while (from < to) {
    // 16 bytes may be read past the end: the memory is larger.
    const high = i8x16.bitmask(v128.load(from));
    if (high == 0) {
      from += 16;
      continue;
    }
    from += <usize> ctz(high);
    if (from >= to) return true;
    const length = sequenceLength(from, to);
    if (length == 0) return false;
    from += length;
  }
  return true;
}

/** How many bytes the sequence takes that begins at `from` with a byte above ASCII, 0 if it is not valid. */
function sequenceLength(from: usize, to: usize): usize {
  const available = to - from;
  const lead = load<u8>(from);
  if (lead < 0xc2 || available < 2) return 0;
  const second = load<u8>(from, 1);
  if (lead < 0xe0) return isContinuation(second) ? 2 : 0;
  if (available < 3 || !isContinuation(load<u8>(from, 2))) return 0;
  if (lead < 0xf0) {
    // Below U+0800 is overlong; U+D800 … U+DFFF are surrogates.
    const lowest: u8 = lead == 0xe0 ? 0xa0 : 0x80;
    const highest: u8 = lead == 0xed ? 0x9f : 0xbf;
    return second >= lowest && second <= highest ? 3 : 0;
  }
  if (lead > 0xf4 || available < 4 || !isContinuation(load<u8>(from, 3))) return 0;
  // Below U+10000 is overlong; above U+10FFFF is nothing.
  const lowest: u8 = lead == 0xf0 ? 0x90 : 0x80;
  const highest: u8 = lead == 0xf4 ? 0x8f : 0xbf;
  return second >= lowest && second <= highest ? 4 : 0;
}

function isContinuation(byte: u8): bool {
  return (byte & 0xc0) == 0x80;
}
