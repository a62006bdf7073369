import { Buffer } from "node:buffer";
import { writeSync } from "node:fs";

/** How a {@link DumpOutput} reaches the system. */
export interface DumpOutputOptions {
  /** The reader is gone, or the disk is full: nothing more is written. Called once. */
  readonly onError: (error: Error) => void;
  /** As `fs.writeSync`: how many bytes were taken. */
  readonly write?: (fd: number, bytes: Uint8Array) => number;
}

/** How long to wait before a full pipe is tried again, milliseconds. */
const RETRY_MS = 5;
/**
 * PIPE_BUF of Linux (pipe(7)): a pipe takes so many bytes whole or not at all. Of more it may take a part, and Deno
 * then does not say how much.
 */
const ATOMIC_BYTES = 4096;

/**
 * Writes records to a descriptor without waiting for its reader. Whatever a pager, say, does not take yet is kept, and
 * the writer should stop writing meanwhile. Waiting inside a write would keep signals and timers waiting too.
 *
 * The descriptor should be non-blocking where it is a pipe or a terminal: see `nonBlocking`.
 */
export class DumpOutput {
  /** Called each time that the system has taken all there was; may be called within {@link write}. */
  onTaken: () => void = () => {};
  readonly #fd: number;
  readonly #onError: (error: Error) => void;
  readonly #write: (fd: number, bytes: Uint8Array) => number;
  #texts: Uint8Array[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failed = false;

  constructor(fd: number, options: DumpOutputOptions) {
    this.#fd = fd;
    this.#onError = options.onError;
    this.#write = options.write ?? writeSync;
  }

  /** Writes a text after those that are still kept. */
  readonly write = (text: string): void => {
    if (this.#failed || text === "") return;
    this.#texts.push(Buffer.from(text));
    if (this.#timer === undefined) this.#flush();
  };

  #flush(): void {
    this.#timer = undefined;
    while (this.#texts.length > 0) {
      const bytes = this.#texts[0] as Uint8Array;
      try {
        const taken = this.#write(this.#fd, bytes.subarray(0, ATOMIC_BYTES));
        const left = bytes.subarray(taken);
        if (left.length > 0) this.#texts[0] = left;
        else this.#texts.shift();
      } catch (error) {
        const { code } = error as { readonly code?: unknown };
        if (code === "EINTR") continue;
        if (code === "EAGAIN") {
          this.#timer = setTimeout(() => this.#flush(), RETRY_MS);
          return;
        }
        this.#failed = true;
        this.#texts = [];
        this.#onError(error as Error);
        return;
      }
    }
    this.onTaken();
  }
}
