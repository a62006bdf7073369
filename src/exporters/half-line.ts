import * as fs from "node:fs";

const NEWLINE = 0x0a;

/**
 * Whether a file of so many bytes ends within a line, as it does when the process is killed while it writes one. The
 * next line must not be appended to that. @param file a descriptor that can be read from.
 */
export function endsInHalfLine(file: number, size: number): boolean {
  if (size === 0) return false;
  const last = new Uint8Array(1);
  return fs.readSync(file, last, 0, 1, size - 1) === 1 && last[0] !== NEWLINE;
}
