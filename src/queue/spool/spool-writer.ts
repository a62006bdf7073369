import { describeError, type Logger } from "../../base/log.ts";
import type { Batch } from "../batch.ts";
import { StateLog } from "../../base/quiet-log.ts";
import type { Spool } from "./spool.ts";
import { SpoolError } from "./spool-error.ts";

/** How long after a failure the spool is tried again, where nothing has been taken out of it before. */
const RETRY_MS = 1000;

/** What the writer needs of the queue around it. */
export interface SpoolWriterOptions {
  readonly spool: Spool;
  readonly log: Logger;
  /** Drops old batches of at least so many bytes from the spool; false where there are none, or none may be dropped. */
  readonly makeRoom: (bytes: number) => boolean;
  /** The batch is on disk. */
  readonly committed: (batch: Batch) => void;
  /** Something has been committed, or could not be. */
  readonly onChange: () => void;
}

/**
 * Brings batches to the spool and takes them out again, with one transaction for all that a turn of the event loop
 * has brought. A spool that cannot be written, the disk being full for one, is tried again from time to time.
 */
export class SpoolWriter {
  readonly #options: SpoolWriterOptions;
  readonly #spool: Spool;
  /** To be committed, oldest first; some may be settled meanwhile. */
  #pending: Batch[] = [];
  #pendingBytes = 0;
  #deletes: number[] = [];
  #deletedBytes = 0;
  #immediate: ReturnType<typeof setImmediate> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failure: SpoolError | undefined;
  #isShrinkable = true;
  readonly #failureLog: StateLog;

  constructor(options: SpoolWriterOptions) {
    this.#options = options;
    this.#spool = options.spool;
    const { log } = options;
    this.#failureLog = new StateLog({
      begun: () =>
        log.error("the spool cannot be used: new batches are in memory only, and tried again", {
          error: this.#failure && describeError(this.#failure),
        }),
      ended: (seconds, times) => log.info("the spool can be used again", { seconds, times }),
    });
  }

  /** Bytes of requests that are not on disk yet. */
  get uncommittedBytes(): number {
    return this.#pendingBytes;
  }

  /** How full the spool is; 1, full, also while it does not take what there is. */
  get fill(): number {
    const fill = this.#spool.fill();
    return this.#failure !== undefined && this.#pendingBytes > 0 ? Math.max(1, fill) : fill;
  }

  /** The oldest batch that is not on disk yet and for which `matches` is true. */
  oldestUncommitted(matches: (batch: Batch) => boolean): Batch | undefined {
    return this.#pending.find((batch) => !batch.settled && matches(batch));
  }

  /** Has a batch committed soon. */
  add(batch: Batch): void {
    this.#pending.push(batch);
    this.#pendingBytes += batch.size;
    // While the spool fails, the next try has its own time.
    if (this.#failure === undefined) this.#schedule();
  }

  /** A batch is settled: takes it out soon, or does not put it in. */
  remove(batch: Batch): void {
    if (!batch.spooled) {
      this.#pendingBytes -= batch.size;
      return;
    }
    this.#deletes.push(batch.sequence);
    this.#deletedBytes += batch.size;
    this.#schedule();
  }

  /** A batch's request; `lost` where the spool has it no more, `later` where it cannot be read at the moment. */
  read(batch: Batch): Uint8Array | "lost" | "later" {
    try {
      return this.#spool.read(batch.sequence) ?? "lost";
    } catch (error) {
      if (!(error instanceof SpoolError)) throw error;
      if (error.kind === "damaged") return "lost";
      this.#fail(error);
      return "later";
    }
  }

  /** Commits now what there is to commit. */
  commit(): void {
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const spool = this.#spool;
    const fill = spool.fill(this.#pendingBytes - this.#deletedBytes);
    if (fill > 1) this.#options.makeRoom((fill - 1) * spool.limitBytes);
    this.#pending = this.#pending.filter((batch) => !batch.settled);
    try {
      this.#commitAll();
      this.#failure = undefined;
      this.#failureLog.set(false);
    } catch (error) {
      if (!(error instanceof SpoolError)) throw error;
      this.#fail(error);
    }
    this.#options.onChange();
  }

  /** Commits what can be, and waits for nothing more. */
  close(): void {
    this.commit();
    clearImmediate(this.#immediate);
    clearTimeout(this.#retry);
    this.#failureLog.close();
  }

  #schedule(): void {
    this.#immediate ??= setImmediate(() => this.commit());
  }

  #fail(error: SpoolError): void {
    this.#failure = error;
    this.#failureLog.set(true);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.commit();
    }, RETRY_MS);
  }

  #commitAll(): void {
    // Once only: where what was dropped makes no room, because the disk has no room for the log, more would be in vain.
    let mayMakeRoom = true;
    let careful = this.#failure !== undefined;
    while (this.#pending.length > 0 || this.#deletes.length > 0) {
      // What has failed together may succeed one by one, and taking out may make room for putting in.
      const group = careful && this.#deletes.length > 0 ? [] : this.#nextGroup(careful ? 1 : this.#spool.commitBytes);
      try {
        this.#commitGroup(group);
        // It works again: each transaction waits for the disk, and there may be thousands of batches.
        if (group.length > 0) careful = false;
      } catch (error) {
        if (!(error instanceof SpoolError) || (careful && error.kind !== "full")) throw error;
        const wanted = group[0]?.size ?? 0;
        if (careful) {
          if (wanted === 0 || !mayMakeRoom || !this.#options.makeRoom(wanted)) throw error;
          mayMakeRoom = false;
        }
        careful = true;
      }
    }
    if (this.#spool.count === 0 && this.#isShrinkable) this.#shrink();
  }

  /** The oldest pending batches, together at most so large, and at least one. */
  #nextGroup(maxBytes: number): Batch[] {
    let count = 0;
    let bytes = 0;
    for (const batch of this.#pending) {
      bytes += batch.size;
      if (count > 0 && bytes > maxBytes) break;
      count++;
    }
    return this.#pending.slice(0, count);
  }

  #commitGroup(group: readonly Batch[]): void {
    this.#spool.commit(
      group.map(({ sequence, spans, request }) => ({
        sequence,
        spans,
        request: request as Uint8Array,
      })),
      this.#deletes,
    );
    this.#deletes = [];
    this.#deletedBytes = 0;
    this.#pending = this.#pending.slice(group.length);
    for (const batch of group) {
      batch.spooled = true;
      this.#pendingBytes -= batch.size;
      this.#options.committed(batch);
    }
  }

  #shrink(): void {
    try {
      this.#spool.shrink();
    } catch (error) {
      if (!(error instanceof SpoolError)) throw error;
      this.#isShrinkable = false;
      this.#options.log.warn("the emptied spool keeps its size on disk", { error });
    }
  }
}
