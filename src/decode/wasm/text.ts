import { giveUp } from "./cursor";
import { FEW_BYTES } from "./output";
import { isUtf8 } from "./utf8";

/** Copies a string of `length` bytes that must be UTF-8. Up to 15 bytes behind it are written to, too. */
export function copyText(from: usize, length: usize, to: usize): void {
  if (length <= 16) {
    const block = v128.load(from);
    v128.store(to, block);
    if ((i8x16.bitmask(block) & ((1 << <i32> length) - 1)) != 0) checkText(from, length);
  } else copyLongText(from, length, to);
}

/** The same of more than 16 bytes: the last 16 may overlap those before them. */
function copyLongText(from: usize, length: usize, to: usize): void {
  if (length > FEW_BYTES) {
    // The runtime has larger vectors.
    memory.copy(to, from, length);
    checkText(from, length);
    return;
  }
  const last = length - 16;
  const end = v128.load(from + last);
  let seen = end;
  for (let done: usize = 0; done < last; done += 16) {
    const block = v128.load(from + done);
    v128.store(to + done, block);
    seen = v128.or(seen, block);
  }
  v128.store(to + last, end);
  if (i8x16.bitmask(seen) != 0) checkText(from, length);
}

/** Checks a string that goes nowhere. */
export function skipText(from: usize, length: usize): void {
  const high = i8x16.bitmask(v128.load(from));
  if (length <= 16) {
    if ((high & ((1 << <i32> length) - 1)) != 0) checkText(from, length);
  } else checkText(from, length);
}

function checkText(from: usize, length: usize): void {
  if (!isUtf8(from, from + length)) giveUp();
}
