import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { Fifo } from "../../base/fifo.ts";
import { ownCommand } from "../../base/own-command.ts";
import type { Logger } from "../../base/log.ts";
import { Chunk } from "../../pipeline/destination.ts";
import { LossyDestination } from "../../pipeline/lossy-destination.ts";
import type { DestinationMetrics, DropReason } from "../../pipeline/metrics.ts";
import type { Source } from "../../pipeline/source.ts";
import type { ViewerSettings } from "../../pipeline/settings.ts";
import { MARK_BYTES, MessageWriter, type SourceNotice, type ViewerReport } from "./protocol.ts";
import { type ProcessSettings, VIEWER_VARIABLE } from "./viewer-settings.ts";

/** What may wait for the viewer's process, bytes; then the oldest chunks are dropped. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** What is written to the pipe before the viewer has read it, bytes: what has been written cannot be dropped. */
const PIPE_BYTES = 1024 * 1024;
/** How long the viewer's process may take to serve, milliseconds: a store of a gigabyte is opened in less. */
const START_MS = 15_000;

/** The viewer cannot be started; the message says why and what to do. */
export class ViewerError extends Error {
  override readonly name = "ViewerError";
}

export interface ViewDestinationOptions {
  readonly viewer: ViewerSettings;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** Whom to run the viewer's process as; absent: as this one. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** The command line that runs this program; default: the one that runs it now. */
  readonly command?: readonly string[];
}

/**
 * The trace store and its viewer as a destination: everything is handed to a process of its own through a pipe. If that
 * process is behind, its oldest chunks are dropped and counted; it never pauses anybody. If it is killed, its
 * supervisor starts it again, because a forwarder that reads guests' bytes may start no programs itself.
 */
export class ViewDestination extends LossyDestination {
  override readonly name = "store";
  readonly #options: ViewDestinationOptions;
  #child: ChildProcess | undefined;
  #pipe: Writable | undefined;
  /** Chunks and notices that are not in the pipe yet. */
  readonly #waiting = new Fifo<Chunk | Uint8Array>();
  #waitingBytes = 0;
  /** Bytes of chunks that the pipe has not taken yet. Bun's `writableLength` does not count them. */
  #inPipe = 0;
  #ended = false;
  #url = "";
  readonly #mark = randomBytes(MARK_BYTES);
  readonly #messages = new MessageWriter(this.#mark);
  /** Connections that are open, for a viewer that is started again. */
  readonly #open = new Map<Source, number>();

  private constructor(options: ViewDestinationOptions) {
    super(options.metrics, MAX_WAITING_BYTES);
    this.#options = options;
  }

  /** Starts the viewer's process. Resolves when it serves its page; rejects with a {@link ViewerError}. */
  static async start(options: ViewDestinationOptions): Promise<ViewDestination> {
    const destination = new ViewDestination(options);
    await destination.#start();
    return destination;
  }

  /** What to open in a browser. */
  get url(): string {
    return this.#url;
  }

  override opened(source: Source): void {
    this.#open.set(source, (this.#open.get(source) ?? 0) + 1);
    this.#enqueue(this.#messages.source("opened", noticeOf(source)));
  }

  override closed(source: Source): void {
    const left = (this.#open.get(source) ?? 0) - 1;
    if (left > 0) this.#open.set(source, left);
    else this.#open.delete(source);
    this.#enqueue(this.#messages.source("closed", noticeOf(source)));
  }

  override push(chunk: Chunk): void {
    this.metrics.heldQueued += chunk.spans;
    if (this.#ended) return this.drop(chunk, "shutdown");
    if (this.#pipe === undefined) return this.drop(chunk, "viewer-gone");
    this.#enqueue(chunk);
    while (this.#waitingBytes > MAX_WAITING_BYTES) this.#dropOldest();
    this.#showWaiting();
  }

  override async drain(timeoutMs: number): Promise<number> {
    const deadline = performance.now() + timeoutMs;
    const child = this.#child;
    await this.untilWritten(() => this.#pipe === undefined || this.#waiting.length === 0, deadline);
    const lost = this.#end();
    // The viewer stores what is in the pipe, and then ends because its input has.
    this.#pipe?.end();
    if (child !== undefined) await ended(child, Math.max(0, deadline - performance.now()));
    return lost;
  }

  override abort(): Promise<number> {
    const lost = this.#end();
    if (this.#child !== undefined) killAll(this.#child);
    return Promise.resolve(lost);
  }

  #end(): number {
    if (this.#ended) return 0;
    this.#ended = true;
    return this.#dropAll("shutdown");
  }

  /** Drops everything that waits; returns how many spans that are. */
  #dropAll(reason: DropReason): number {
    let spans = 0;
    while (this.#waiting.length > 0) {
      const first = this.#shift();
      if (first instanceof Uint8Array) continue;
      spans += first.spans;
      this.drop(first, reason);
    }
    this.#showWaiting();
    return spans;
  }

  #enqueue(item: Chunk | Uint8Array): void {
    if (this.#pipe === undefined) return;
    this.#waiting.push(item);
    this.#waitingBytes += sizeOf(item);
    this.#write();
  }

  #shift(): Chunk | Uint8Array {
    const first = this.#waiting.shift() as Chunk | Uint8Array;
    this.#waitingBytes -= sizeOf(first);
    return first;
  }

  /** Notices go last, because a sandbox whose end is lost would seem to run for ever. */
  #dropOldest(): void {
    const oldest = this.#waiting.shiftFirst((item): item is Chunk => item instanceof Chunk);
    if (oldest === undefined) {
      this.#shift();
      return;
    }
    this.#waitingBytes -= sizeOf(oldest);
    this.drop(oldest, "queue-full");
  }

  #write(): void {
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    while (this.#waiting.length > 0 && this.#inPipe < PIPE_BYTES) {
      const item = this.#shift();
      if (item instanceof Uint8Array) pipe.write(item);
      else this.#writeChunk(pipe, item);
    }
    this.#showWaiting();
  }

  #writeChunk(pipe: Writable, chunk: Chunk): void {
    const { metrics } = this;
    const { length } = chunk.bytes;
    this.#inPipe += length;
    pipe.write(this.#messages.chunkHeader(chunk.kind, length));
    pipe.write(chunk.bytes, (error) => {
      this.#inPipe -= length;
      metrics.heldQueued -= chunk.spans;
      if (error) metrics.drop("viewer-gone", chunk.spans);
      else metrics.deliver(chunk.spans, length);
      chunk.release();
      this.#write();
    });
  }

  #showWaiting(): void {
    this.showFill(this.#waitingBytes, this.#waiting.length);
  }

  async #start(): Promise<void> {
    const { viewer, user, log, command = ownCommand() } = this.#options;
    const [program = "", ...words] = command;
    const settings: ProcessSettings = { role: "supervisor", viewer, mark: this.#mark.toString("hex") };
    const child = spawn(program, words, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, [VIEWER_VARIABLE]: JSON.stringify(settings) },
      // A process group of its own, so that the supervisor and the viewer can be killed together.
      detached: true,
      ...user,
    });
    this.#child = child;
    // A pipe that breaks is told by "exit" as well.
    child.stdin.on("error", () => {});
    child.once("exit", (code, signal) => this.#exited(child, signal ?? code));
    this.#url = await serving(child, child.stdout, log, () => this.#startedAgain());
    this.#pipe = child.stdin;
    this.#write();
  }

  /** Another viewer reads from the pipe: it does not know who is connected. */
  #startedAgain(): void {
    this.#options.log.info("the viewer serves its page again", { url: this.#url });
    this.#enqueue(this.#messages.reset());
    for (const [source, connections] of this.#open) {
      for (let i = 0; i < connections; i++) this.#enqueue(this.#messages.source("opened", noticeOf(source)));
    }
  }

  #exited(child: ChildProcess, how: string | number | null): void {
    if (this.#child !== child) return;
    const wasServing = this.#pipe !== undefined;
    // Without its supervisor a viewer would stay for ever, because nothing is written to it any more.
    if (wasServing && !this.#ended) killAll(child);
    this.#child = this.#pipe = undefined;
    if (this.#ended || !wasServing) return;
    this.#dropAll("viewer-gone");
    this.#options.log.error("the viewer's supervisor has ended: restart the forwarder to have the viewer again", {
      how: String(how),
    });
  }
}

/** What an entry takes in memory beside its bytes. */
const OVERHEAD_BYTES = 256;

function sizeOf(item: Chunk | Uint8Array): number {
  return (item instanceof Uint8Array ? item.length : item.bytes.length) + OVERHEAD_BYTES;
}

function noticeOf({ kind, account, attributes }: Source): SourceNotice {
  const sandbox = attributes.get("kata.sandbox.id");
  const cid = attributes.get("kata.vsock.cid");
  return {
    kind,
    account,
    ...(sandbox !== undefined && { sandbox: String(sandbox) }),
    ...(cid !== undefined && { cid: Number(cid) }),
  };
}

/** The supervisor and its viewer. */
function killAll(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    // They have all ended.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/**
 * Follows what the viewer says; resolves with its URL.
 *
 * @param again is called whenever another viewer has been started in the place of one that was killed.
 */
function serving(child: ChildProcess, output: Readable, log: Logger, again: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new ViewerError(`the viewer cannot be started: ${why}`));
    const timer = setTimeout(() => {
      killAll(child);
      fail(`it did not serve within ${START_MS / 1000} s`);
    }, START_MS);
    let said: string | undefined;
    let isServing = false;
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      fail(said ?? `it ended with ${signal ?? code}`);
    });
    let text = "";
    output.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (text + chunk).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const report = JSON.parse(line) as ViewerReport;
        if (report.event === "log") log[report.level](report.message, { error: report.error });
        else if (report.event === "failed" && isServing) {
          log.error("the viewer cannot be started again", { error: report.error });
        } else if (report.event === "failed") said = report.error;
        else if (isServing) again();
        else {
          isServing = true;
          clearTimeout(timer);
          resolve(report.url);
        }
      }
    });
  });
}

/** Resolves when a process has ended, or after a time, in which case it is killed. */
function ended(child: ChildProcess, timeoutMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      killAll(child);
      resolve();
    }, timeoutMs);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
