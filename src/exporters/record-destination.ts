import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { performance } from "node:perf_hooks";
import { setImmediate as nextTurn, setTimeout as after } from "node:timers/promises";
import { Fifo } from "../base/fifo.ts";
import { describeError, type Logger } from "../base/log.ts";
import { StateLog } from "../base/quiet-log.ts";
import type { SpanPart } from "../otlp/request-builder.ts";
import { splitRequest } from "../otlp/request.ts";
import type { Chunk } from "../pipeline/destination.ts";
import { LossyDestination } from "../pipeline/lossy-destination.ts";
import type { DestinationMetrics } from "../pipeline/metrics.ts";
import { otlpJsonPieces } from "../record/otlp-json-pieces.ts";
import { endsInHalfLine } from "./half-line.ts";

/** What may wait for the disk, bytes; then the oldest chunks are dropped. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** A line's size before it is encoded, bytes. A larger span has one alone. */
const LINE_BYTES = 64 * 1024;
/** A line is written at once if it has no more bytes than this; even a span that copies a file has fewer. */
const MOST_HELD_BYTES = 16 * 1024 * 1024;
/**
 * Encoding happens on the thread that forwards. So after each piece it waits this many times as long as the piece took,
 * and gets a quarter of the thread at most, however much comes in.
 */
const PAUSE_FACTOR = 3;
/** Between two tries of a disk that is full, milliseconds. */
const RETRY_MS = 1000;

/** The file of `--record` cannot be opened: the message names it. */
export class RecordFileError extends Error {
  override readonly name = "RecordFileError";
}

export interface RecordSettings {
  /** Absolute path. */
  readonly file: string;
  /** Of the file and the one before it together, bytes. */
  readonly maxBytes: number;
}

export interface RecordOptions extends RecordSettings {
  /** The user that a new file belongs to, once privileges are dropped. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
}

/**
 * `--record FILE`: keeps spans as lines of OTLP/JSON, which the Collector's file receiver and `view` read. When the
 * file has half of the bytes that are allowed, it becomes `FILE.1`, in place of the one before. It never pauses
 * anybody: a disk that is slow or full, and spans that come faster than a share of the thread can encode them, cost its
 * oldest chunks.
 */
export class RecordDestination extends LossyDestination {
  override readonly name = "record";
  readonly #options: RecordOptions;
  #handle: FileHandle;
  #size: number;
  readonly #waiting = new Fifo<Chunk>();
  #waitingBytes = 0;
  /** Resolves with how many spans are lost. */
  #writing: Promise<number> | undefined;
  #ended = false;
  /** Everything is to be written at once, because this ends. */
  #drains = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #problem = "";
  readonly #problemLog: StateLog;

  private constructor(options: RecordOptions, handle: FileHandle, size: number) {
    super(options.metrics, MAX_WAITING_BYTES);
    this.#options = options;
    this.#handle = handle;
    this.#size = size;
    const { log, file } = options;
    this.#problemLog = new StateLog({
      begun: () => log.error("cannot record spans: the oldest are dropped", { file, error: this.#problem }),
      ended: (seconds) => log.info("spans are recorded again", { file, seconds }),
    });
  }

  /** Opens the file for appending (0600). Rejects with a {@link RecordFileError}. */
  static async open(options: RecordOptions): Promise<RecordDestination> {
    const { file } = options;
    try {
      // It is renamed later, which needs its directory.
      fs.accessSync(dirname(file), fs.constants.W_OK);
      const handle = await openForAppending(file);
      if (options.owner !== undefined) await handle.chown(options.owner.uid, options.owner.gid);
      return new RecordDestination(options, handle, await endHalfLine(handle));
    } catch (cause) {
      throw new RecordFileError(`--record ${file}: ${describeError(cause)}: give a file in a directory of --user's`, {
        cause,
      });
    }
  }

  override push(chunk: Chunk): void {
    this.metrics.heldQueued += chunk.spans;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.bytes.length;
    if (this.#ended) this.#dropAll();
    while (this.#waitingBytes > MAX_WAITING_BYTES && this.#waiting.length > 1) this.drop(this.#take(), "queue-full");
    this.#write();
  }

  override async drain(timeoutMs: number): Promise<number> {
    const deadline = performance.now() + timeoutMs;
    this.#drains = true;
    await this.untilWritten(() => this.#waiting.length === 0 && this.#writing === undefined, deadline);
    return await this.abort();
  }

  override async abort(): Promise<number> {
    if (this.#ended) return 0;
    this.#ended = true;
    clearTimeout(this.#retry);
    const waited = this.#dropAll();
    this.#problemLog.close();
    const lost = waited + (await this.#writing ?? 0);
    await this.#handle.close();
    return lost;
  }

  /** Drops what waits when this ends; returns how many spans that are. */
  #dropAll(): number {
    let lost = 0;
    while (this.#waiting.length > 0) {
      const chunk = this.#take();
      lost += chunk.spans;
      this.drop(chunk, "shutdown");
    }
    return lost;
  }

  #take(): Chunk {
    const chunk = this.#waiting.shift() as Chunk;
    this.#waitingBytes -= chunk.bytes.length;
    return chunk;
  }

  /** Writes what waits, a chunk at a time; does nothing while that is under way. */
  #write(): void {
    this.showFill(this.#waitingBytes, this.#waiting.length);
    if (this.#writing !== undefined || this.#retry !== undefined || this.#waiting.length === 0 || this.#ended) return;
    const chunk = this.#take();
    this.#writing = this.#append(chunk).then((written) => this.#finish(chunk, written));
  }

  /** Counts what became of a chunk, and goes on with the next; returns how many of its spans are lost. */
  #finish(chunk: Chunk, { spans, bytes }: Written): number {
    const { metrics } = this;
    const lost = chunk.spans - spans;
    this.#writing = undefined;
    metrics.heldQueued -= chunk.spans;
    if (spans > 0) metrics.deliver(spans, bytes);
    if (lost > 0) metrics.drop(this.#ended ? "shutdown" : "queue-full", lost);
    if (lost > 0 && !this.#ended) {
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.#write();
      }, RETRY_MS);
    }
    chunk.release();
    this.#write();
    return lost;
  }

  /** Writes a chunk a line at a time, as far as the disk takes it. Resolves with what was written of it. */
  async #append(chunk: Chunk): Promise<Written> {
    const written = { spans: 0, bytes: 0 };
    // Not within the turn in which the spans are read.
    await nextTurn();
    for (const parts of linesOf(splitRequest(chunk.bytes))) {
      if (this.#ended || !await this.#tryLine(parts)) break;
      written.spans += parts.length;
      written.bytes += parts.reduce((sum, { span }) => sum + span.length, 0);
    }
    // Everything besides spans, such as resources, belongs to them all.
    return written.spans === chunk.spans ? { spans: chunk.spans, bytes: chunk.bytes.length } : written;
  }

  /** Whether a line with these spans was written; nothing of it was if not. */
  async #tryLine(parts: readonly SpanPart[]): Promise<boolean> {
    try {
      await this.#writeLine(parts);
      this.#problemLog.set(false);
      return true;
    } catch (error) {
      if (this.#ended) return false;
      this.#problem = describeError(error);
      this.#problemLog.set(true);
      return false;
    }
  }

  async #writeLine(parts: readonly SpanPart[]): Promise<void> {
    let pieces: Uint8Array[] = [];
    let held = 0;
    let start: number | undefined;
    try {
      let began = performance.now();
      for (const text of otlpJsonPieces(parts)) {
        const piece = Buffer.from(text);
        const pause = (performance.now() - began) * PAUSE_FACTOR;
        pieces.push(piece);
        held += piece.length;
        const isWhole = text.endsWith("\n");
        if (isWhole || held >= MOST_HELD_BYTES) {
          // Nobody knows how long the rest is, so such a line begins a file.
          const needed = isWhole ? held : Infinity;
          if (start === undefined && this.#size > 0 && this.#size + needed > this.#options.maxBytes / 2) {
            await this.#rotate();
          }
          start ??= this.#size;
          await this.#handle.appendFile(Buffer.concat(pieces));
          this.#size += held;
          pieces = [];
          held = 0;
        }
        await (this.#drains ? nextTurn() : after(pause));
        if (this.#ended && !isWhole) throw new Error("the forwarder stopped");
        began = performance.now();
      }
    } catch (error) {
      if (start !== undefined) {
        await this.#handle.truncate(start);
        this.#size = start;
      }
      throw error;
    }
  }

  async #rotate(): Promise<void> {
    const { file } = this.#options;
    await rename(file, `${file}.1`);
    const handle = await openForAppending(file);
    await this.#handle.close();
    this.#handle = handle;
    this.#size = await endHalfLine(handle);
  }
}

/** What of a chunk is in the file. */
interface Written {
  readonly spans: number;
  readonly bytes: number;
}

/** Cuts spans into lines of some {@link LINE_BYTES}, each with at least one span. */
function* linesOf(parts: readonly SpanPart[]): Generator<readonly SpanPart[]> {
  let from = 0;
  let bytes = 0;
  for (const [at, { span }] of parts.entries()) {
    if (at > from && bytes + span.length > LINE_BYTES) {
      yield parts.slice(from, at);
      from = at;
      bytes = 0;
    }
    bytes += span.length;
  }
  if (from < parts.length) yield parts.slice(from);
}

/** Somebody may have put a link or a FIFO at the path: a link is not followed, and a FIFO is not waited for. */
async function openForAppending(file: string): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = fs.constants;
  const handle = await open(file, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new Error("it is not a regular file");
}

/** Ends a line that a process which was killed has left half. Resolves with the file's size. */
async function endHalfLine(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  if (!endsInHalfLine(handle.fd, size)) return size;
  await handle.appendFile("\n");
  return size + 1;
}
