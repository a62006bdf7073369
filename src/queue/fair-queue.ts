import type { Logger } from "../base/log.ts";
import type { Chunk } from "../pipeline/destination.ts";
import type { DestinationMetrics, DropReason } from "../pipeline/metrics.ts";
import type { QueueSettings } from "../pipeline/settings.ts";
import type { SourceKind } from "../pipeline/source.ts";
import { AccountQueue, QueuedChunk } from "./account-queue.ts";
import { Admission, type Place } from "./admission.ts";
import type { FairBudget } from "./fair-budget.ts";
import { Pace } from "./pace.ts";
import { diskLimits, memoryLimits } from "./queue-limits.ts";
import { splitSpans } from "../otlp/request.ts";
import { Replay, SplitRecord } from "./replay.ts";
import { type RequestLimits, Rounds } from "./rounds.ts";
import { SpoolCommitter } from "./spool-committer.ts";
import type { SpoolStore } from "./spool-store.ts";

/**
 * How many chunks are read from the spool in one turn of the event loop. Each takes some 30 µs, or 100 if its file has
 * to be opened again, and those of a guest that sends a span now and then have one span each.
 */
const MOST_READS = 64;

/** What the queue needs of the destination around it. */
export interface QueueOptions {
  readonly settings: QueueSettings;
  /** Absent: memory only. */
  readonly spool?: SpoolStore | undefined;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** See {@link Admission}. */
  readonly onPausedChange: (account?: string) => void;
  /** There may be a chunk to take. */
  readonly onReady: () => void;
}

/**
 * The chunks that wait for one destination, in a list for each account. Bounded in bytes, and so that no account can
 * fill it at the expense of another: see {@link Admission}. Taken in turns: see {@link Rounds}.
 *
 * Without a spool the bound is on the bytes in memory, those under way included. With one it is on the disk; what is
 * written there stays in memory too while there is room, so that it need not be read again, and what is not written yet
 * (because the disk is full, say) can be sent all the same.
 */
export class FairQueue {
  readonly #options: QueueOptions;
  readonly #accounts = new Map<string, AccountQueue>();
  readonly #memory: FairBudget<AccountQueue>;
  /** Absent: there is no spool. */
  readonly #disk: FairBudget<AccountQueue> | undefined;
  readonly #admission: Admission;
  readonly #rounds: Rounds;
  readonly #underWay = new Set<QueuedChunk>();
  readonly #committer: SpoolCommitter | undefined;
  /** Absent where nobody is paused for the destination's pace. */
  readonly #pace: Pace | undefined;
  #waiting = 0;
  #memoryBytes = 0;
  #spooledSpans = 0;
  /** How many chunks may still be read from the spool in this turn of the event loop. */
  #readsLeft = MOST_READS;

  constructor(options: QueueOptions) {
    this.#options = options;
    const { spool, log, metrics, settings } = options;
    const pauses = settings.whenFull === "pause";
    this.#pace = pauses ? new Pace(() => this.#admission.refresh()) : undefined;
    const memory = memoryLimits(settings);
    const disk = spool && diskLimits(spool, settings);
    this.#memory = memory.budget;
    this.#disk = disk?.budget;
    this.#admission = new Admission({
      memory,
      disk,
      whenFull: settings.whenFull,
      pace: this.#pace,
      metrics,
      log,
      dropOldest: (account, place, reason) => this.#dropOldest(account, place, reason),
      onPausedChange: options.onPausedChange,
    });
    this.#rounds = new Rounds((chunk) => this.#load(chunk), (account) => this.#forget(account));
    metrics.queueCapacityBytes = settings.maxBytes;
    metrics.spoolCapacityBytes = spool === undefined ? 0 : settings.spool?.maxBytes ?? spool.limitBytes;
    if (spool === undefined) return;
    this.#committer = new SpoolCommitter({
      store: spool,
      log,
      makeRoom: (chunk, isDiskFull) => this.#makeRoomOnDisk(chunk, isDiskFull),
      isTaking: () => this.#pace?.isTaking === true,
      committed: (chunk) => this.#committed(chunk),
      onChange: () => {
        this.#measure();
        options.onReady();
      },
    });
    this.#recover(spool);
  }

  /** How many chunks wait or are under way. */
  get length(): number {
    return this.#waiting + this.#underWay.size;
  }
  /** Whether any account's chunks wait for their turn, those in quarantine apart. */
  get isWaiting(): boolean {
    return this.#rounds.length > 0;
  }
  /** Of the spans here, those that end with the process. */
  get spansAtRisk(): number {
    return this.#options.metrics.heldQueued - this.#spooledSpans;
  }

  /** See {@link Admission}. */
  get chunkBytes(): number {
    return this.#admission.chunkBytes;
  }

  isPaused(account: string): boolean {
    return this.#accounts.get(account)?.isPaused === true;
  }

  readOn(account: string): void {
    const found = this.#accounts.get(account);
    if (found !== undefined) this.#admission.readOn(found);
  }

  /** Counts the spans one chunk at a time, where `heldQueued` adds and subtracts: the two must agree. */
  countSpans(): number {
    let spans = 0;
    for (const chunk of this.#all()) spans += chunk.spans;
    return spans;
  }

  /** Takes over a chunk. It can be taken out at once: the destination need not wait for the disk. */
  push(chunk: Chunk): void {
    const account = this.#account(chunk.account, chunk.kind);
    const queued = new QueuedChunk(account, chunk.spans, chunk.bytes.length, { chunk });
    this.#options.metrics.heldQueued += chunk.spans;
    this.#memoryBytes += queued.size;
    this.#memory.hold(account.memory, queued.size, true);
    this.#enqueue(queued);
    this.#committer?.add(queued);
    this.#options.onReady();
    this.#admission.added(account, queued.size);
    this.#measure();
  }

  /** The chunks of the next request, those of several accounts in turns. Empty if there are none. */
  take(limits: RequestLimits): QueuedChunk[] {
    return this.#took(this.#rounds.take(limits));
  }

  /** The chunks of the next request of one account in quarantine. */
  takeOf(account: AccountQueue, limits: RequestLimits): QueuedChunk[] {
    return this.#took(this.#rounds.takeOf(account, limits));
  }

  /** Keeps an account's chunks out of the turns of the others, or lets them in again. */
  setQuarantined(account: AccountQueue, isQuarantined: boolean): void {
    account.isQuarantined = isQuarantined;
    this.#rounds.enter(account);
    this.#forget(account);
  }

  /** Some of the spans of a chunk under way have been delivered or given up, and counted as that. */
  settle(chunk: QueuedChunk, spans: number): void {
    this.#options.metrics.heldQueued -= spans;
    if (chunk.isSpooled) this.#spooledSpans -= spans;
    if (!chunk.settle(spans)) return;
    this.#underWay.delete(chunk);
    this.#remove(chunk, false);
    this.#admission.removed(chunk.account);
    this.#forget(chunk.account);
    this.#measure();
  }

  /** The destination has taken a request. */
  taken(): void {
    this.#pace?.taken();
    this.#admission.refresh();
  }

  /** The destination could not be reached, or asked for time. */
  refused(): void {
    this.#pace?.refused();
    this.#admission.refresh();
  }

  /** See `Destination.settled`. */
  settled(): Promise<void> {
    return this.#committer?.settled() ?? Promise.resolve();
  }

  /** Commits what can be, closes the spool, and gives up what is in memory only; returns how many spans that are. */
  async close(): Promise<number> {
    await this.#committer?.close();
    let lost = 0;
    for (const chunk of this.#all()) if (!chunk.isSpooled) lost += chunk.abandon();
    if (lost > 0) this.#options.metrics.drop("shutdown", lost);
    this.#options.metrics.heldQueued -= lost;
    this.#admission.close();
    this.#pace?.close();
    return lost;
  }

  *#all(): Generator<QueuedChunk> {
    yield* this.#underWay;
    for (const account of this.#accounts.values()) yield* account.chunks();
  }

  #account(key: string, kind: SourceKind): AccountQueue {
    let account = this.#accounts.get(key);
    if (account === undefined) this.#accounts.set(key, account = new AccountQueue(key, kind));
    return account;
  }

  /** Forgets an account of which there is nothing to know. */
  #forget(account: AccountQueue): void {
    if (account.isIdle) this.#accounts.delete(account.key);
  }

  #enqueue(chunk: QueuedChunk): void {
    const { account } = chunk;
    account.push(chunk, this.#committer !== undefined && !chunk.isSpooled);
    this.#waiting++;
    this.#rounds.enter(account);
  }

  #took(chunks: QueuedChunk[]): QueuedChunk[] {
    for (const chunk of chunks) {
      chunk.take();
      this.#waiting--;
      this.#underWay.add(chunk);
      const { account, size } = chunk;
      if (chunk.isSpooled) this.#disk?.pin(account.disk, chunk.diskBytes);
      else this.#memory.pin(account.memory, size);
    }
    return chunks;
  }

  #recover(spool: SpoolStore): void {
    const { metrics, log } = this.#options;
    const replay = new Replay();
    let batches = 0;
    for (const { id, account: key, kind, spans, removedSpans, size } of spool.recovered()) {
      const account = this.#account(key, kind);
      const chunk = new QueuedChunk(account, spans, size, { replay, removedSpans });
      replay.found(spans);
      chunk.spoolId = id;
      chunk.spooled();
      this.#disk?.hold(account.disk, chunk.diskBytes, true);
      this.#spooledSpans += spans;
      metrics.recovered += spans;
      metrics.heldQueued += spans;
      this.#enqueue(chunk);
      batches++;
    }
    if (batches > 0) {
      log.info("spool holds spans of an earlier run: they are sent first", { spans: metrics.recovered, batches });
    }
    for (const account of this.#accounts.values()) this.#admission.added(account, 0);
    this.#measure();
  }

  /** Sees to it that a chunk's bytes are in memory. False: not now, or never, if it has been settled as lost. */
  #load(chunk: QueuedChunk): boolean {
    if (chunk.bytes !== undefined) return true;
    if (!this.#mayRead()) return false;
    const { account, spans } = chunk;
    const read = (this.#committer as SpoolCommitter).read(chunk);
    if (read === "later") return false;
    if (read === "lost") {
      this.#options.log.error("a batch in the spool is damaged: its spans are dropped", {
        batch: chunk.spoolId,
        spans,
      });
      this.#drop(chunk, "spool-corrupt");
      this.#admission.removed(account);
      return false;
    }
    if (this.#split(chunk, read)) return false;
    chunk.load(read);
    this.#memoryBytes += chunk.size;
    return true;
  }

  /** Whether one chunk more may be read in this turn of the event loop. What may not is taken in the next one. */
  #mayRead(): boolean {
    if (this.#readsLeft === 0) return false;
    if (this.#readsLeft === MOST_READS) {
      setImmediate(() => {
        const isWaiting = this.#readsLeft === 0;
        this.#readsLeft = MOST_READS;
        if (isWaiting) this.#options.onReady();
      });
    }
    this.#readsLeft--;
    return true;
  }

  /** Puts parts of a chunk that is being replayed in its place, if it is larger than may be under way at once. */
  #split(chunk: QueuedChunk, bytes: Uint8Array): boolean {
    const { account, spans, diskBytes, origin: { replay, removedSpans = 0 } } = chunk;
    if (replay === undefined || (spans <= replay.partSpans && removedSpans === 0)) return false;
    const pieces = splitSpans(bytes, removedSpans, replay.partSpans);
    const counts = pieces.map((piece) => piece.spans);
    // It says another number than it has, so that nothing can be noted of its parts.
    if (counts.reduce((sum, count) => sum + count, 0) !== spans) return false;
    const record = new SplitRecord(chunk.spoolId as number, removedSpans, counts);
    const parts = pieces.map((piece, index) => {
      const share = Math.floor(diskBytes / pieces.length) + (index === 0 ? diskBytes % pieces.length : 0);
      const origin = { replay, part: { record, index }, diskBytes: share };
      const part = new QueuedChunk(account, piece.spans, piece.bytes.length, origin);
      part.spoolId = record.id;
      part.spooled();
      part.load(piece.bytes);
      this.#memoryBytes += part.size;
      return part;
    });
    account.replaceFirst(parts);
    chunk.replaced();
    this.#waiting += parts.length - 1;
    return true;
  }

  /** A chunk has been written to the spool. Its bytes stay in memory only while there is room for them. */
  #committed(chunk: QueuedChunk): void {
    const { account, size } = chunk;
    const isWaiting = chunk.state === "waiting";
    this.#spooledSpans += chunk.spans;
    this.#memory.free(account.memory, size, isWaiting);
    this.#disk?.hold(account.disk, chunk.diskBytes, isWaiting);
    if (isWaiting && this.#memoryBytes > this.#options.settings.maxBytes && chunk.unload()) this.#memoryBytes -= size;
    this.#admission.removed(account);
    this.#admission.added(account, 0);
  }

  #dropOldest(account: AccountQueue, place: Place, reason: DropReason): number {
    const isSpooled = this.#committer !== undefined && place === "disk";
    const chunk = this.#committer === undefined || isSpooled ? account.first() : account.firstUncommitted();
    if (chunk === undefined || (isSpooled && !chunk.isSpooled)) return 0;
    return this.#drop(chunk, reason);
  }

  /** Gives up a chunk that waits. Returns how many spans it had. */
  #drop(chunk: QueuedChunk, reason: DropReason): number {
    const { account } = chunk;
    const { metrics } = this.#options;
    const spans = chunk.drop();
    metrics.drop(reason, spans);
    metrics.heldQueued -= spans;
    if (chunk.isSpooled) this.#spooledSpans -= spans;
    this.#waiting--;
    account.dropped();
    this.#remove(chunk, true);
    return spans;
  }

  /** Lets go of a settled chunk's bytes, in memory and on disk. */
  #remove(chunk: QueuedChunk, wasWaiting: boolean): void {
    const { account, size } = chunk;
    if (chunk.isSpooled) this.#disk?.free(account.disk, chunk.diskBytes, wasWaiting);
    else this.#memory.free(account.memory, size, wasWaiting);
    // Before its bytes are let go of, because a commit may be about to write them.
    this.#committer?.remove(chunk);
    if (chunk.unload()) this.#memoryBytes -= size;
  }

  #makeRoomOnDisk({ account, size }: QueuedChunk, isDiskFull: boolean): boolean {
    // Dropping what is in the spool does not help against others who fill the disk, unless nothing may be paused. Nor
    // does an account lose its oldest for its newest while it waits.
    const isPausing = this.#options.settings.whenFull === "pause";
    if (isPausing && (isDiskFull || this.#admission.waits(account))) return false;
    return this.#admission.makeRoomOnDisk(size);
  }

  #measure(): void {
    const { metrics, spool } = this.#options;
    metrics.queueBytes = this.#memoryBytes;
    metrics.queueBatches = this.length;
    metrics.spoolBytes = spool?.usedBytes ?? 0;
    metrics.spoolBatches = spool?.count ?? 0;
  }
}
