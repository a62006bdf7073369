import { writeSync } from "node:fs";

/** How a {@link LineWriter} reaches the system; by default as `fs.writeSync` does. */
export interface LineWriterOptions {
  /** How long to wait for a reader that does not read, milliseconds. After that texts are lost, and counted. */
  readonly maxWaitMs: number;
  /** Like `fs.writeSync`: returns how many bytes were written. */
  readonly write?: (fd: number, bytes: Uint8Array) => number;
  /** Blocks the thread. */
  readonly sleep?: (milliseconds: number) => void;
}

/** How long to wait before a full pipe is tried again, milliseconds. */
const RETRY_MS = 2;

/**
 * Writes whole texts to a file descriptor, and returns only when the system has them, because `process.stdout.write`
 * may still hold some when the process exits.
 *
 * A pipe can be non-blocking, because another process that has it open can make it so. EAGAIN is therefore waited out.
 * Its reader can also go away, which must not end the forwarder: see {@link LineWriter.error}.
 */
export class LineWriter {
  /** How many texts were not written. */
  lost = 0;
  readonly #fd: number;
  readonly #maxWaitMs: number;
  readonly #write: (fd: number, bytes: Uint8Array) => number;
  readonly #sleep: (milliseconds: number) => void;
  /** The end of a text whose beginning has been written. */
  #rest: Uint8Array = new Uint8Array(0);
  /** The wait for the reader was in vain. Until it reads again there is no further wait. */
  #stalled = false;
  #error: Error | undefined;

  constructor(fd: number, options: LineWriterOptions) {
    this.#fd = fd;
    this.#maxWaitMs = options.maxWaitMs;
    this.#write = options.write ?? writeSync;
    this.#sleep = options.sleep ?? sleepSync;
  }

  /** Why the last attempt failed (the reader is gone, the disk is full); undefined if it succeeded. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Writes a text; false if it was lost, whole or in part. Never throws. */
  readonly write = (text: string): boolean => {
    this.#rest = this.#push(this.#rest);
    if (this.#rest.length === 0) {
      const bytes = new TextEncoder().encode(text);
      const left = this.#push(bytes);
      if (left.length === 0) return true;
      // The rest of a text is written before anything else, or the next text would be garbled too.
      if (left.length < bytes.length) this.#rest = left.slice();
    }
    this.lost++;
    return false;
  };

  /** Writes bytes, and returns those that could not be written. */
  #push(bytes: Uint8Array): Uint8Array {
    let left = bytes;
    let waitedMs = 0;
    while (left.length > 0) {
      try {
        left = left.subarray(this.#write(this.#fd, left));
        waitedMs = 0;
        this.#stalled = false;
        this.#error = undefined;
      } catch (error) {
        const { code } = error as { readonly code?: unknown };
        if (code === "EINTR") continue;
        if (code !== "EAGAIN" || this.#stalled || waitedMs >= this.#maxWaitMs) {
          this.#stalled = code === "EAGAIN";
          this.#error = error as Error;
          break;
        }
        this.#sleep(RETRY_MS);
        waitedMs += RETRY_MS;
      }
    }
    return left;
  }
}

function sleepSync(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
