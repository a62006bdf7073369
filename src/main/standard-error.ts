import { LineWriter } from "../base/line-writer.ts";
import { printable } from "../base/log.ts";

/** File descriptors, numbered as in POSIX. */
export const STDOUT = 1;
export const STDERR = 2;
/** How long the log waits for a reader that does not read, milliseconds. Guests wait that long too. */
export const LOG_WAIT_MS = 100;
/** The longest error on standard error, UTF-16 units. */
const LONGEST_ERROR = 4096;

/** Reports on standard error that something went wrong. */
export function warn(text: string): void {
  new LineWriter(STDERR, { maxWaitMs: LOG_WAIT_MS }).write(`kata-trace-forwarder: ${printable(text, LONGEST_ERROR)}\n`);
}
