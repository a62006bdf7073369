import { freeBytes } from "../base/free-bytes.ts";
import type { Logger } from "../base/log.ts";
import type { DestinationMetrics } from "../pipeline/metrics.ts";
import type { QueueSettings } from "../pipeline/settings.ts";
import { type Batch, BATCH_OVERHEAD_BYTES, LEAST_SPOOLED_BYTES, WaitingBatches } from "./batch.ts";
import { Pace } from "./pace.ts";
import { StateLog } from "../base/quiet-log.ts";
import type { Spool } from "./spool/spool.ts";
import { SpoolWriter } from "./spool/spool-writer.ts";

/** Once full, the queue takes spans again when it is filled to less than this: not at every request that goes out. */
const LOW_WATER = 7 / 8;

/** What the queue needs of the rooms around it. */
export interface QueueOptions {
  readonly settings: QueueSettings;
  /** Absent: memory only. */
  readonly spool?: Spool | undefined;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** `paused` has changed. */
  readonly onPausedChange: () => void;
  /** There may be a batch to take. */
  readonly onReady: () => void;
}

/**
 * Closed batches on their way to the collector, oldest first, bounded in bytes.
 *
 * Without a spool the bound is on the requests in memory, those under way included; it is for a collector that is
 * away. While it takes requests, guests are paused much earlier (see {@link Pace}), unless the oldest spans may be
 * dropped for new ones. With a spool it is on the disk:
 * requests that are committed stay in memory too while there is room, so that they need not be read again. What is not
 * committed yet (because the disk is full, say) can be sent all the same.
 */
export class BatchQueue {
  readonly #options: QueueOptions;
  readonly #waiting = new WaitingBatches();
  readonly #underWay = new Set<Batch>();
  readonly #writer: SpoolWriter | undefined;
  #memoryBytes = 0;
  #nextSequence = 1;
  /** Absent where guests are never paused for the collector's pace. */
  readonly #pace: Pace | undefined;
  #full = false;
  #paused = false;
  #dropped = 0;
  readonly #pauseLog: StateLog;
  readonly #dropLog: StateLog;

  constructor(options: QueueOptions) {
    this.#options = options;
    const { spool, log, metrics, settings } = options;
    metrics.queueCapacityBytes = settings.maxBytes;
    metrics.spoolCapacityBytes = spool === undefined ? 0 : settings.spool?.maxBytes ?? 0;
    this.#pauseLog = new StateLog({
      begun: () => log.warn("queue full: guests are not read until there is room", this.#fill()),
      ended: (seconds, times) => log.info("queue has room: guests are read again", { seconds, times }),
    });
    this.#dropLog = new StateLog({
      begun: () => log.warn("queue full: the oldest spans are dropped", this.#fill()),
      ended: (seconds) => {
        log.warn("queue has room: no more spans are dropped", { seconds, dropped: this.#dropped });
        this.#dropped = 0;
      },
    });
    if (spool === undefined) {
      const isPaced = options.settings.whenFull === "pause";
      this.#pace = isPaced ? new Pace(() => this.#refresh()) : undefined;
      return;
    }
    this.#writer = new SpoolWriter({
      spool,
      log,
      makeRoom: (bytes) => this.#makeRoomOnDisk(bytes),
      committed: (batch) => this.#releaseRequest(batch),
      onChange: () => {
        this.#refresh();
        options.onReady();
      },
    });
    this.#recover(spool);
  }

  /** True while guests must not be read. */
  get paused(): boolean {
    return this.#paused;
  }
  /** How many batches wait or are under way. */
  get length(): number {
    return this.#waiting.length + this.#underWay.size;
  }
  /** Of the spans here, those that end with the process. */
  get spansAtRisk(): number {
    let spans = 0;
    for (const batch of this.#all()) if (!batch.spooled) spans += batch.spans;
    return spans;
  }

  /** Counts the spans one batch at a time, where `Metrics.heldQueued` adds and subtracts: the two must agree. */
  countSpans(): number {
    let spans = 0;
    for (const batch of this.#all()) spans += batch.spans;
    return spans;
  }

  /** Takes over a closed batch. It can be taken out at once: the collector need not wait for the disk. */
  push(request: Uint8Array, spans: number): void {
    const batch: Batch = {
      sequence: this.#nextSequence++,
      size: request.length + BATCH_OVERHEAD_BYTES,
      spans,
      request,
      spooled: false,
      settled: false,
    };
    this.#waiting.push(batch);
    this.#memoryBytes += batch.size;
    this.#options.metrics.heldQueued += spans;
    this.#writer?.add(batch);
    this.#options.onReady();
    this.#refresh();
  }

  /** The oldest batch that waits, with its request; it is under way until `done` or `putBack`. */
  take(): (Batch & { request: Uint8Array }) | undefined {
    for (let batch = this.#waiting.first(); batch !== undefined; batch = this.#waiting.first()) {
      if (batch.request === undefined && !this.#load(batch)) return undefined;
      this.#waiting.shift();
      if (batch.request === undefined) continue;
      this.#underWay.add(batch);
      return batch as Batch & { request: Uint8Array };
    }
    return undefined;
  }

  /** The batch could not be sent now: it waits again, at its place. */
  putBack(batch: Batch): void {
    this.#underWay.delete(batch);
    this.#waiting.putBack(batch);
    this.#pace?.refused();
    this.#releaseRequest(batch);
    this.#refresh();
  }

  /** Some of a batch's spans have been delivered or given up, and counted as that. */
  settle(batch: Batch, spans: number): void {
    batch.spans -= spans;
    this.#options.metrics.heldQueued -= spans;
  }

  /** All of a batch's spans are settled; with `released` nothing reads its request any more. */
  done(batch: Batch, released = false): void {
    this.#underWay.delete(batch);
    const { request } = batch;
    this.#remove(batch);
    this.#pace?.taken();
    if (released && request !== undefined) freeBytes(request);
    this.#refresh();
  }

  /** Commits now what waits for it, where there is a spool. */
  commit(): void {
    this.#writer?.commit();
  }

  /** Commits what can be, closes the spool, and gives up what is in memory only; returns how many spans that are. */
  close(): number {
    this.#writer?.close();
    this.#options.spool?.close();
    let lost = 0;
    for (const batch of this.#all()) {
      batch.trace?.end(batch.spooled ? "spooled" : "lost");
      if (batch.spooled) continue;
      lost += batch.spans;
      this.#options.metrics.drop("shutdown", batch.spans);
      this.settle(batch, batch.spans);
    }
    this.#dropLog.set(false);
    this.#dropLog.close();
    this.#pauseLog.close();
    this.#pace?.close();
    return lost;
  }

  *#all(): Generator<Batch> {
    yield* this.#underWay;
    yield* this.#waiting;
  }

  #recover(spool: Spool): void {
    const { metrics, log } = this.#options;
    this.#nextSequence = spool.nextSequence;
    let spans = 0;
    for (const found of spool.backlog) {
      this.#waiting.push({
        ...found,
        size: found.size + BATCH_OVERHEAD_BYTES,
        request: undefined,
        spooled: true,
        settled: false,
      });
      spans += found.spans;
    }
    metrics.recovered += spans;
    metrics.heldQueued += spans;
    if (spans > 0) {
      log.info("spool holds spans of an earlier run: they are sent first", {
        spans,
        batches: spool.backlog.length,
      });
    }
    this.#refresh();
  }

  /** Reads a batch's request from the spool; leaves it absent where the spool has lost it. False: not now. */
  #load(batch: Batch): boolean {
    const { metrics, log } = this.#options;
    const read = (this.#writer as SpoolWriter).read(batch);
    if (read === "later") return false;
    if (read === "lost") {
      log.error("a batch in the spool is damaged: its spans are dropped", {
        batch: batch.sequence,
        spans: batch.spans,
      });
      metrics.drop("spool-corrupt", batch.spans);
      batch.trace?.end("dropped");
      this.settle(batch, batch.spans);
      batch.settled = true;
      this.#refresh();
      return true;
    }
    batch.request = read;
    this.#memoryBytes += batch.size;
    this.#refresh();
    return true;
  }

  /** Lets a request go that is in the spool too, where the memory is wanted. */
  #releaseRequest(batch: Batch): void {
    if (!batch.spooled || batch.settled || this.#underWay.has(batch) || batch.parts !== undefined) {
      return;
    }
    if (batch.request === undefined || this.#memoryBytes <= this.#options.settings.maxBytes) return;
    batch.request = undefined;
    this.#memoryBytes -= batch.size;
  }

  #remove(batch: Batch): void {
    batch.settled = true;
    if (batch.request !== undefined) this.#memoryBytes -= batch.size;
    batch.request = undefined;
    this.#writer?.remove(batch);
  }

  #drop(batch: Batch): void {
    const { spans } = batch;
    this.#options.metrics.drop("queue-full", spans);
    batch.trace?.end("dropped");
    this.settle(batch, spans);
    this.#dropped += spans;
    this.#remove(batch);
    this.#dropLog.set(true);
  }

  /** Drops the oldest of the spooled batches that wait, of at least so many bytes. */
  #makeRoomOnDisk(bytes: number): boolean {
    if (this.#options.settings.whenFull !== "drop-oldest") return false;
    let freed = 0;
    for (let batch = this.#waiting.first(); freed < bytes; batch = this.#waiting.first()) {
      if (batch === undefined || !batch.spooled) break;
      this.#waiting.shift();
      freed += Math.max(batch.size, LEAST_SPOOLED_BYTES);
      this.#drop(batch);
    }
    return freed > 0;
  }

  /** How full the queue is, 1 and more being full. */
  #level(): number {
    const memory = this.#options.settings.maxBytes;
    if (this.#writer === undefined) return this.#memoryBytes / memory;
    return Math.max(this.#writer.fill, this.#writer.uncommittedBytes / memory);
  }

  /** Brings `paused`, the metrics and the bound up to date with what is here now. */
  #refresh(): void {
    const { settings, metrics, spool } = this.#options;
    const drops = settings.whenFull === "drop-oldest";
    if (drops) this.#dropFromMemory();
    const level = this.#level();
    if (!drops) {
      this.#setPaused(
        level >= (this.#full ? LOW_WATER : 1),
        this.#pace?.isAhead(this.#memoryBytes) === true,
      );
    }
    if (this.#dropLog.active && level < LOW_WATER) this.#dropLog.set(false);
    metrics.deliveryFill = level;
    metrics.queueBytes = this.#memoryBytes;
    metrics.queueBatches = this.length;
    metrics.spoolBytes = spool?.usedBytes ?? 0;
    metrics.spoolBatches = spool?.count ?? 0;
  }

  #setPaused(full: boolean, isAhead: boolean): void {
    const { metrics } = this.#options;
    const paused = full || isAhead;
    if (full && !this.#full) metrics.backpressurePauses++;
    if (paused && !full && !this.#paused) metrics.pacePauses++;
    this.#full = full;
    // A pause that began because there was no room has ended when guests are read again.
    if (full || !paused) this.#pauseLog.set(full);
    if (paused === this.#paused) return;
    this.#paused = paused;
    this.#options.onPausedChange();
  }

  /** Drops the oldest batches that are only in memory while there are too many bytes of them. */
  #dropFromMemory(): void {
    const limit = this.#options.settings.maxBytes;
    const writer = this.#writer;
    while ((writer?.uncommittedBytes ?? this.#memoryBytes) > limit) {
      const oldest = writer === undefined
        ? this.#waiting.first()
        : writer.oldestUncommitted((batch) => !this.#underWay.has(batch));
      if (oldest === undefined) break;
      this.#waiting.remove(oldest);
      this.#drop(oldest);
    }
  }

  #fill(): Readonly<Record<string, number | undefined>> {
    return {
      queueBytes: this.#memoryBytes,
      spoolBytes: this.#options.spool?.usedBytes,
      batches: this.length,
    };
  }
}
