import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { resolve } from "node:path";
import { describeError, type Logger } from "../base/log.ts";

/**
 * The largest file that is written, bytes. A guest can send spans that the collector does not take for as long as it
 * likes; the disk is not its to fill. Rotating the file (by copying and truncating it) makes room again.
 */
export const DEAD_LETTER_MAX_BYTES = 256 * 1024 * 1024;

/** A dead-letter file that cannot be opened: the message names it. */
export class DeadLetterError extends Error {
  override readonly name = "DeadLetterError";
}

/** Turns an encoded `ExportTraceServiceRequest` into one line of OTLP/JSON, without the newline. */
export type RequestFormatter = (request: Uint8Array) => string;

/** Who goes on writing once privileges are dropped. */
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
   * What takes requests. Failures are logged once for each time that writing begins to fail, and lose only the line.
   */
  writer(format: RequestFormatter, log: Logger): { write(request: Uint8Array): void } {
    return {
      write: (request) => {
        try {
          this.#reopen(log);
          this.#append(Buffer.from(`${format(request)}\n`));
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
      },
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.closeSync(this.#file);
  }

  /** Takes up the file that the path leads to now. If that cannot be opened, lines go on to the file before. */
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

  #append(line: Uint8Array): void {
    // The number may be another file's by now.
    if (this.#closed) throw new Error("it is closed");
    const { size } = fs.fstatSync(this.#file);
    if (size + line.length > this.#maxBytes) {
      throw new Error(
        `it would be larger than ${this.#maxBytes} bytes: move it away or truncate it`,
      );
    }
    let written = 0;
    try {
      while (written < line.length) {
        written += fs.writeSync(this.#file, line, written, line.length - written);
      }
    } catch (error) {
      // Half a line would spoil the next one too.
      if (written > 0) fs.ftruncateSync(this.#file, size);
      throw error;
    }
  }
}

function openFile(path: string, owner?: DeadLetterOwner): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = fs.constants;
  const isNew = !fs.existsSync(path);
  // Not blocking: opening a pipe would wait for a reader.
  const file = fs.openSync(path, O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_WRONLY, 0o600);
  try {
    if (!fs.fstatSync(file).isFile()) throw new Error("it is no regular file");
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
