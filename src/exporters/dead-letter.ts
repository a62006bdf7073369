import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { resolve } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describeError, type Logger } from "../base/log.ts";
import type { DeadLetters } from "../pipeline/dead-letters.ts";
import { endsInHalfLine } from "./half-line.ts";

/**
 * The largest file that is written, bytes. A guest can send spans that the collector does not take for as long as it
 * likes, and must not fill the disk with them. Rotating the file (by copying and truncating it) makes room again.
 */
export const DEAD_LETTER_MAX_BYTES = 256 * 1024 * 1024;

/**
 * A line is written at once if it has no more bytes than this, so that it stays whole even if the process is killed or
 * another forwarder writes to the file. One that is longer is written in pieces of so much.
 */
const MOST_HELD_BYTES = 4 * 1024 * 1024;

/** A dead-letter file that cannot be opened: the message names it. */
export class DeadLetterError extends Error {
  override readonly name = "DeadLetterError";
}

/**
 * Turns an encoded `ExportTraceServiceRequest` into one line of OTLP/JSON, the newline included, in pieces that take a
 * few milliseconds each.
 */
export type RequestFormatter = (request: Uint8Array) => Iterable<string>;

/** The user that goes on writing once privileges are dropped. */
export interface DeadLetterOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Keeps spans that the collector refuses for good: one line of OTLP/JSON (`TracesData`) for each request given up, as
 * the collector's own file exporter writes them, so that its file receiver can read them in again.
 *
 * The path is looked at before each line. If it leads to another file by then, because logrotate has moved the old one
 * away, that one is written to.
 */
export class DeadLetterFile {
  readonly path: string;
  #file: number;
  readonly #maxBytes: number;
  #failed = false;
  #closed = false;
  /** Resolves when all lines so far are written, or have failed. */
  #lines: Promise<void> = Promise.resolve();
  /** Why the file at the path is not written to but the one before; undefined while it is. */
  #problem: string | undefined;

  private constructor(path: string, file: number, maxBytes: number) {
    this.path = path;
    this.#file = file;
    this.#maxBytes = maxBytes;
  }

  /**
   * Opens the file for appending, and makes it (0600) if it is missing. To be called while the process still has its
   * privileges; writing needs none. A symbolic link is not followed. Throws {@link DeadLetterError}.
   *
   * @param owner whom a new file belongs to, so that it, and what logrotate makes in its place, can be opened again.
   */
  static open(path: string, maxBytes = DEAD_LETTER_MAX_BYTES, owner?: DeadLetterOwner): DeadLetterFile {
    const absolute = resolve(path);
    try {
      return new DeadLetterFile(absolute, openFile(absolute, owner), maxBytes);
    } catch (error) {
      throw new DeadLetterError(`dead-letter file ${absolute}: ${describeError(error)}`, {
        cause: error,
      });
    }
  }

  /**
   * Returns a function that takes requests. Lines are written one after another, and others get their turns between the
   * pieces of one. Failures are logged once for each time that writing begins to fail, and lose only the line.
   */
  writer(format: RequestFormatter, log: Logger): DeadLetters {
    return {
      write: (request, signal) => {
        this.#lines = this.#lines.then(() => this.#writeLine(format, request, log, signal));
        return this.#lines;
      },
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.closeSync(this.#file);
  }

  /**
   * Changes to the file that the path leads to now. If it cannot be opened, lines go to the previous file as before.
   */
  #reopen(log: Logger): void {
    if (this.#closed || isSameFile(fs.fstatSync(this.#file), this.path)) {
      this.#problem = undefined;
      return;
    }
    try {
      const file = openFile(this.path);
      fs.closeSync(this.#file);
      this.#file = file;
      this.#problem = undefined;
      log.info("the dead-letter file was moved: it is opened anew", { file: this.path });
    } catch (error) {
      const problem = describeError(error);
      if (problem !== this.#problem) {
        log.warn(
          "the dead-letter file was moved and cannot be opened anew: refused spans go to the old one " +
            "(have logrotate create it for the user that the forwarder runs as)",
          { file: this.path, error: problem },
        );
      }
      this.#problem = problem;
    }
  }

  async #writeLine(format: RequestFormatter, request: Uint8Array, log: Logger, signal: AbortSignal): Promise<void> {
    try {
      if (signal.aborted) throw new Error(STOPPED);
      this.#reopen(log);
      await this.#append(format(request), signal);
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) {
        log.error("cannot write to the dead-letter file: refused spans are lost", {
          file: this.path,
          error: describeError(error),
        });
      }
      this.#failed = true;
    }
  }

  /** Writes a line, or nothing of it. Rejects when it is stopped, and reads nothing more of the request then. */
  async #append(line: Iterable<string>, signal: AbortSignal): Promise<void> {
    // The number may be another file's by now.
    if (this.#closed) throw new Error("it is closed");
    const { size } = fs.fstatSync(this.#file);
    let end = size;
    let pieces: Uint8Array[] = endsInHalfLine(this.#file, size) ? [Buffer.from("\n")] : [];
    let held = 0;
    try {
      for (const text of line) {
        const piece = Buffer.from(text);
        pieces.push(piece);
        held += piece.length;
        if (end + held > this.#maxBytes) {
          throw new Error(`it would be larger than ${this.#maxBytes} bytes: move it away or truncate it`);
        }
        const isLast = text.endsWith("\n");
        if (isLast || held >= MOST_HELD_BYTES) {
          end = this.#writeAll(Buffer.concat(pieces), end);
          pieces = [];
          held = 0;
        }
        if (isLast) return;
        await nextTurn();
        if (this.#closed || signal.aborted) throw new Error(STOPPED);
      }
    } catch (error) {
      // Half a line would spoil the next one too. What others have written or truncated meanwhile stays as it is.
      if (!this.#closed && end > size && fs.fstatSync(this.#file).size === end) fs.ftruncateSync(this.#file, size);
      throw error;
    }
  }

  /** Appends bytes, all or nothing, where the file ends at `end`; returns where it ends then. */
  #writeAll(bytes: Uint8Array, end: number): number {
    let written = 0;
    try {
      while (written < bytes.length) written += fs.writeSync(this.#file, bytes, written, bytes.length - written);
      return end + written;
    } catch (error) {
      if (written > 0) fs.ftruncateSync(this.#file, end);
      throw error;
    }
  }
}

const STOPPED = "the forwarder stopped before the line was written";

function openFile(path: string, owner?: DeadLetterOwner): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = fs.constants;
  const isNew = !fs.existsSync(path);
  // Not blocking: opening a pipe would wait for a reader.
  const file = fs.openSync(path, O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_RDWR, 0o600);
  try {
    if (!fs.fstatSync(file).isFile()) throw new Error("it is not a regular file");
    if (isNew && owner !== undefined) fs.fchownSync(file, owner.uid, owner.gid);
    return file;
  } catch (error) {
    fs.closeSync(file);
    throw error;
  }
}

/** Whether a file is still what a path leads to. True if that cannot be found out, because only root may look there. */
function isSameFile({ dev, ino }: fs.Stats, path: string): boolean {
  try {
    const now = fs.lstatSync(path, { throwIfNoEntry: false });
    return now !== undefined && now.dev === dev && now.ino === ino;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EACCES") return true;
    throw error;
  }
}
