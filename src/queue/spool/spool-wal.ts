import { Buffer } from "node:buffer";
import * as fs from "node:fs";

/*
 * The layout of a write-ahead log: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 *
 * SQLite reads it up to the first frame that does not hold, and takes the rest for the remains of an earlier use, as
 * they mostly are. Where it is not, because a bit has flipped, batches that were committed are gone without a word.
 */
const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const SALT_AT = 16;
/** What the header's own checksum covers, and where it is. */
const CHECKSUM_AT = 24;
const FRAME_COMMIT_AT = 4;
const FRAME_SALT_AT = 8;
const SALT_BYTES = 8;
/** Of the magic number: the checksums are computed over big-endian words. */
const BIG_ENDIAN_BIT = 1;

/**
 * The numbers (from 1) of the frames of a write-ahead log that ended a transaction since the log was begun anew,
 * damaged or not. None where there is no file.
 *
 * @param pageBytes the database's page size.
 */
export function commitFrames(path: string, pageBytes: number): number[] {
  if (!fs.existsSync(path)) return [];
  const file = fs.openSync(path, "r");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    const frame = Buffer.alloc(FRAME_HEADER_BYTES);
    if (fs.readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return [];
    const frameBytes = FRAME_HEADER_BYTES + pageBytes;
    const commits: number[] = [];
    let salt = isSound(header) ? header.subarray(SALT_AT, SALT_AT + SALT_BYTES) : undefined;
    for (let number = 1;; number++) {
      const at = HEADER_BYTES + (number - 1) * frameBytes;
      if (fs.readSync(file, frame, 0, FRAME_HEADER_BYTES, at) < FRAME_HEADER_BYTES) break;
      const frameSalt = frame.subarray(FRAME_SALT_AT, FRAME_SALT_AT + SALT_BYTES);
      // With a damaged header, the first frame says best which frames belong to the log's present use.
      salt ??= Buffer.from(frameSalt);
      if (frameSalt.equals(salt) && frame.readUInt32BE(FRAME_COMMIT_AT) !== 0) commits.push(number);
    }
    return commits;
  } finally {
    fs.closeSync(file);
  }
}

/** Whether the header's checksum holds. */
function isSound(header: Buffer): boolean {
  const bigEndian = (header.readUInt32BE(0) & BIG_ENDIAN_BIT) !== 0;
  const word = (at: number): number => bigEndian ? header.readUInt32BE(at) : header.readUInt32LE(at);
  let [a, b] = [0, 0];
  for (let at = 0; at < CHECKSUM_AT; at += 8) {
    a = (a + word(at) + b) >>> 0;
    b = (b + word(at + 4) + a) >>> 0;
  }
  return header.readUInt32BE(CHECKSUM_AT) === a && header.readUInt32BE(CHECKSUM_AT + 4) === b;
}
