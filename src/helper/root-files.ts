import { closeSync, constants, fstatSync, openSync, readdirSync } from "node:fs";
import { errnoName } from "../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { HelperError } from "./helper-error.ts";
import type { HelperProcess } from "./helper-process.ts";
import { MAX_NAMES } from "./protocol.ts";

/** What is read at once, bytes. */
const CHUNK_BYTES = 64 * 1024;

/**
 * Reads files that root may read although this process is another user by now: with its own rights if they are enough,
 * else through the helper, which opens only what its settings name (`HelperSettings.readable`).
 *
 * Files are opened by the calling thread, because Landlock may be in force for that one alone: before version 8 it does
 * not restrict the runtime's file threads, which have been started earlier.
 */
export class RootFiles {
  readonly #helper: HelperProcess | undefined;

  /** @param helper undefined if the process stays the user that it is. */
  constructor(helper: HelperProcess | undefined) {
    this.#helper = helper;
  }

  /**
   * Reads a whole file. Rejects with what open(2) and read(2) report, with a {@link HelperError}, and if the file is
   * longer than `maxBytes`.
   */
  async read(path: string, maxBytes: number): Promise<Uint8Array> {
    const libc = await loadLibc();
    try {
      const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        if (!fstatSync(descriptor).isFile()) throw new Error(`${path} is not a regular file`);
        return readAll(libc, descriptor, path, maxBytes);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      if (this.#helper === undefined || errnoName(error) !== "EACCES") throw error;
    }
    const descriptor = await this.#helper.open(path);
    try {
      return readAll(libc, descriptor, path, maxBytes);
    } finally {
      libc.close(descriptor);
    }
  }

  /**
   * The first names in a directory that begin with a prefix; through the helper at most `MAX_NAMES`. Rejects with what
   * open(2) reports, and with a {@link HelperError}.
   */
  async list(path: string, prefix: string): Promise<readonly string[]> {
    try {
      return readdirSync(path).filter((name) => name.startsWith(prefix)).slice(0, MAX_NAMES);
    } catch (error) {
      if (this.#helper === undefined || errnoName(error) !== "EACCES") throw error;
    }
    return await this.#helper.list(path, prefix);
  }
}

function readAll(libc: Libc, descriptor: number, path: string, maxBytes: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = new Uint8Array(CHUNK_BYTES);
    const count = libc.read(descriptor, chunk);
    if (count === 0) return Buffer.concat(chunks, length);
    length += count;
    if (length > maxBytes) throw new HelperError(`${path} is longer than ${maxBytes} bytes`);
    chunks.push(chunk.subarray(0, count));
  }
}
