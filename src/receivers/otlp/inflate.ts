import { gunzip } from "node:zlib";

/** A body that is not gzip, or too large without it. */
export class InflateError extends Error {
  override readonly name = "InflateError";
}

/** What `node:zlib` says of output over its limit. */
const TOO_LARGE = "ERR_BUFFER_TOO_LARGE";

/** Decompresses bodies, a few at a time: each may take as much memory as a body may have. */
export class Inflater {
  readonly #maxBytes: number;
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /**
   * @param maxBytes that a body may have when it is decompressed.
   * @param atOnce how many are decompressed at a time.
   */
  constructor(maxBytes: number, atOnce: number) {
    this.#maxBytes = maxBytes;
    this.#free = atOnce;
  }

  /**
   * Rejects with an {@link InflateError}.
   *
   * @param use what is done with the decompressed body, before the next one is decompressed. Its result is returned.
   */
  async inflate<T>(body: Uint8Array, use: (inflated: Uint8Array) => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free--;
    try {
      return await use(await this.#gunzip(body));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  #gunzip(body: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      gunzip(body, { maxOutputLength: this.#maxBytes }, (error, inflated) => {
        if (error === null) resolve(inflated);
        else if ((error as NodeJS.ErrnoException).code === TOO_LARGE) {
          reject(new InflateError(`more than ${this.#maxBytes} bytes when decompressed`, { cause: error }));
        } else reject(new InflateError(`not gzip: ${error.message}`, { cause: error }));
      });
    });
  }
}
