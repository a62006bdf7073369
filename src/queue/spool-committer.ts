import { performance } from "node:perf_hooks";
import { describeError, type Logger } from "../base/log.ts";
import { StateLog } from "../base/quiet-log.ts";
import { Fifo } from "../base/fifo.ts";
import type { AccountQueue, QueuedChunk } from "./account-queue.ts";
import type { SplitRecord } from "./replay.ts";
import { SpoolError } from "./spool/spool-error.ts";
import type { SpoolStore } from "./spool-store.ts";

/** How long after a failure the spool is tried again, milliseconds. */
const RETRY_MS = 1000;
/**
 * How long a chunk waits for a destination that takes requests before it is written, milliseconds. What is delivered
 * within that time need not be written at all: a killed process does not lose it, because the journal has it, and a
 * power loss costs a fraction of a second in any case.
 */
const COMMIT_DELAY_MS = 100;

/** What the committer needs of the queue around it. */
export interface SpoolCommitterOptions {
  readonly store: SpoolStore;
  readonly log: Logger;
  /**
   * Drops old chunks from the spool that together are at least as large as this one, if any may be dropped for it.
   * Returns whether that was anything.
   *
   * @param isDiskFull the spool has room, but the disk has not.
   */
  readonly makeRoom: (chunk: QueuedChunk, isDiskFull: boolean) => boolean;
  /** Whether the destination takes requests, so that a chunk is likely to be settled soon. */
  readonly isTaking: () => boolean;
  /** The chunk is safe on disk. */
  readonly committed: (chunk: QueuedChunk) => void;
  /** Something has been committed, or could not be. */
  readonly onChange: () => void;
  /** For tests; see {@link COMMIT_DELAY_MS}. */
  readonly commitDelayMs?: number;
}

/** A chunk that has not been appended yet. */
interface PendingChunk {
  readonly chunk: QueuedChunk;
  /** When it is to be appended, monotonic milliseconds. */
  readonly due: number;
}

/**
 * Writes chunks to the spool and removes them again, with one commit for all that has become due while the last one was
 * under way. A spool that cannot be written, for example because the disk is full, is tried again from time to time.
 *
 * ```
 *          append, when it is due and there is room             commit
 * pending ─────────────────────────────────────────▶ appended ─────────▶ spooled
 * ```
 *
 * A chunk may be settled at any of these points, since the destination does not wait for the disk. One that is settled
 * before it is due is never written.
 */
export class SpoolCommitter {
  readonly #options: SpoolCommitterOptions;
  readonly #store: SpoolStore;
  readonly #commitDelayMs: number;
  /** Not appended yet, oldest first; some may be settled meanwhile. */
  readonly #pending = new Fifo<PendingChunk>();
  /** Appended and not committed; some may be settled meanwhile. */
  #appended: QueuedChunk[] = [];
  #immediate: ReturnType<typeof setImmediate> | undefined;
  /** Runs until the first pending chunk is due. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** The commit that is under way; never rejects. */
  #committing: Promise<void> | undefined;
  #failure: SpoolError | undefined;
  #removals: number[] = [];
  /** Records of which only parts are settled, by their numbers. */
  readonly #partRemovals = new Map<number, SplitRecord>();
  #closed = false;
  readonly #failureLog: StateLog;

  constructor(options: SpoolCommitterOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#commitDelayMs = options.commitDelayMs ?? COMMIT_DELAY_MS;
    const { log } = options;
    this.#failureLog = new StateLog({
      begun: () =>
        log.error("the spool cannot be used: new batches are in memory only, and tried again", {
          error: this.#failure && describeError(this.#failure),
        }),
      ended: (seconds, times) => log.info("the spool can be used again", { seconds, times }),
    });
  }

  /** Has a chunk committed, at once or if it has not been settled for {@link COMMIT_DELAY_MS}. */
  add(chunk: QueuedChunk): void {
    this.#pending.push({ chunk, due: performance.now() + (this.#options.isTaking() ? this.#commitDelayMs : 0) });
    // While the spool fails, the next try has its own time.
    if (this.#failure === undefined) this.#scheduleDue();
  }

  /**
   * A chunk is settled: removes it at the end of this turn of the event loop, because what has not been removed when
   * the process is killed is sent again. If it is not committed yet, its bytes are not read from now on.
   */
  remove(chunk: QueuedChunk): void {
    const { spoolId, isSpooled, origin: { part } } = chunk;
    if (spoolId === undefined) return;
    if (!isSpooled) this.#store.remove([spoolId]);
    else {
      if (this.#removals.length === 0 && this.#partRemovals.size === 0) queueMicrotask(() => this.#removeNow());
      part?.record.settle(part.index);
      if (part === undefined || part.record.isSettled) this.#removals.push(spoolId);
      else this.#partRemovals.set(spoolId, part.record);
    }
    // There may be room now.
    if (this.#failure !== undefined) this.#schedule();
  }

  /** A chunk's bytes; `lost` if the spool has it no more, `later` if it cannot be read at the moment. */
  read(chunk: QueuedChunk): Uint8Array | "lost" | "later" {
    try {
      return this.#store.read(chunk.spoolId as number) ?? "lost";
    } catch (error) {
      if (!(error instanceof SpoolError)) throw error;
      if (error.kind === "damaged") return "lost";
      this.#fail(error);
      return "later";
    }
  }

  /** Resolves when everything added so far has been committed, or has turned out not to be possible to commit. */
  async settled(): Promise<void> {
    await this.#committing;
    if (this.#pending.length > 0 || this.#appended.length > 0) await this.commit();
  }

  /**
   * Commits what is there now, after what is being committed. Never rejects.
   *
   * @param until only chunks that are due by then, monotonic milliseconds.
   */
  async commit(until = Infinity): Promise<void> {
    while (this.#committing !== undefined) await this.#committing;
    this.#cancelScheduled();
    this.#committing = this.#commit(until);
    try {
      await this.#committing;
    } finally {
      this.#committing = undefined;
    }
    // What has come meanwhile; a failure has its own time.
    if (this.#failure === undefined) this.#scheduleDue();
  }

  /** Commits what can be, and closes the spool. */
  async close(): Promise<void> {
    await this.commit();
    this.#closed = true;
    this.#cancelScheduled();
    this.#failureLog.close();
    await this.#store.close();
  }

  #removeNow(): void {
    this.#removeSettled();
    this.#options.onChange();
  }

  #removeSettled(): void {
    for (const [id, { removedSpans }] of this.#partRemovals) this.#store.removeSpans(id, removedSpans);
    this.#partRemovals.clear();
    if (this.#removals.length > 0) this.#store.remove(this.#removals.splice(0));
  }

  #schedule(): void {
    if (this.#immediate !== undefined || this.#committing !== undefined || this.#closed) return;
    this.#immediate = setImmediate(() => {
      this.#immediate = undefined;
      void this.commit();
    });
  }

  /** Has the first pending chunk committed when it is due, and all that are due by then. */
  #scheduleDue(): void {
    if (this.#timer !== undefined || this.#committing !== undefined || this.#closed) return;
    const first = this.#firstPending();
    if (first === undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = performance.now();
      // The one that it was set for may be settled.
      if ((this.#firstPending()?.due ?? Infinity) <= now) void this.commit(now);
      else this.#scheduleDue();
    }, Math.max(0, first.due - performance.now()));
  }

  #cancelScheduled(): void {
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#immediate = this.#timer = this.#retry = undefined;
  }

  /** The oldest pending chunk that is not settled. */
  #firstPending(): PendingChunk | undefined {
    let first = this.#pending.first();
    for (; first?.chunk.state === "settled"; first = this.#pending.first()) this.#pending.shift();
    return first;
  }

  #fail(error: SpoolError): void {
    this.#failure = error;
    this.#failureLog.set(true);
    if (this.#closed) return;
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      void this.commit();
    }, RETRY_MS);
  }

  async #commit(until: number): Promise<void> {
    this.#removeSettled();
    const refused = this.#appendPending(until);
    try {
      await this.#store.commit();
      for (const chunk of this.#appended.splice(0)) {
        if (chunk.state === "settled") continue;
        chunk.spooled();
        this.#options.committed(chunk);
      }
      if (refused !== undefined) throw refused;
      this.#failure = undefined;
      this.#failureLog.set(false);
    } catch (error) {
      if (!(error instanceof SpoolError)) throw error;
      this.#appended = this.#appended.filter((chunk) => chunk.state !== "settled");
      const [first] = this.#appended;
      if (error.kind === "full" && first !== undefined) this.#options.makeRoom(first, refused === undefined);
      this.#fail(error);
    }
    this.#options.onChange();
  }

  /** Appends what is due, oldest first of each account. Returns why the rest must wait. */
  #appendPending(until: number): SpoolError | undefined {
    const waiting: PendingChunk[] = [];
    const full = new Set<AccountQueue>();
    let refused: SpoolError | undefined;
    let mayMakeRoom = true;
    for (let first = this.#firstPending(); first !== undefined && first.due <= until; first = this.#firstPending()) {
      const { chunk } = first;
      const { bytes, account, spans } = chunk;
      if (full.has(account)) waiting.push(first);
      else if (bytes !== undefined) {
        try {
          chunk.spoolId = this.#store.append({ account: account.key, kind: account.kind, spans, bytes });
          this.#appended.push(chunk);
        } catch (error) {
          if (!(error instanceof SpoolError)) throw error;
          refused ??= error;
          if (error.kind !== "full") break;
          if (mayMakeRoom && this.#options.makeRoom(chunk, false)) {
            // Once only for each chunk: where that makes no room, more would be dropped in vain.
            mayMakeRoom = false;
            this.#removeSettled();
            continue;
          }
          // Others may have a right to room, or have less to write.
          full.add(account);
          waiting.push(first);
        }
      }
      this.#pending.shift();
      mayMakeRoom = true;
    }
    this.#pending.unshift(waiting);
    return refused;
  }
}
