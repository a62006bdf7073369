import type { Logger } from "../base/log.ts";
import { EventLog, StateLog } from "../base/quiet-log.ts";
import type { DestinationMetrics } from "../pipeline/metrics.ts";
import type { WhenFull } from "../pipeline/settings.ts";
import type { AccountQueue } from "./account-queue.ts";
import type { FairBudget } from "./fair-budget.ts";
import { AHEAD_BYTES, AHEAD_LOW_WATER, type Pace } from "./pace.ts";

/**
 * A pause ends when less than this part of the limit, or of the account's share, is held, so that it does not end with
 * every request.
 */
const LOW_WATER = 7 / 8;

/**
 * What an account may bring when it has just been paused, bytes, because it had been read already: what a socket holds
 * by default (net.core.wmem_default, and 256 KiB for AF_VSOCK).
 */
const LATE_BYTES = 256 * 1024;
/** However many accounts there are, a place is not full below this part of its limit. */
const LEAST_FULL = 1 / 4;

/** Accounts' chunks are not made smaller than this, bytes: each takes some time and memory of its own. */
const SMALLEST_LIMIT_BYTES = 16 * 1024;

/** A budget, and what happens at which level of it. */
export interface Watermarks {
  readonly budget: FairBudget<AccountQueue>;
  /** From here on accounts that hold their fair share of it are paused; sooner if there are very many. Bytes. */
  readonly full: number;
  /**
   * While more than this waits, the account that has the most of it loses its oldest. The room in between is for
   * accounts that hold less than their share while one that came earlier has filled the rest, and for what was on its
   * way when its source was paused. What is under way to the destination does not count: it is bounded by itself, and
   * cannot be dropped. Bytes.
   */
  readonly most: number;
}

/** Where a chunk is dropped from. */
export type Place = "memory" | "disk";

/** What admission needs of the queue around it. */
export interface AdmissionOptions {
  readonly memory: Watermarks;
  /** Absent: there is no spool. */
  readonly disk: Watermarks | undefined;
  readonly whenFull: WhenFull;
  /** Absent where nobody is paused for the destination's pace. */
  readonly pace: Pace | undefined;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** Drops an account's oldest chunk that waits in this place. Returns how many spans it had; 0 where there is none. */
  readonly dropOldest: (account: AccountQueue, place: Place, reason: "queue-full" | "paused-too-long") => number;
  /** `isPaused` of an account has changed; without one, of any number of accounts. */
  readonly onPausedChange: (account?: string) => void;
}

/**
 * Decides which accounts have to wait, and which lose spans, when the queue is full or the destination falls behind.
 *
 * - An account that holds less than its fair share is never paused and loses nothing.
 * - One that holds more is paused (guests), refused (host programs: the receiver asks whether the account is paused) or
 *   loses its own oldest (runtimes, since a sandbox's start waits for them).
 * - One that is read on although it is paused loses as much of its own oldest as it adds.
 * - Where nobody is paused (`drop-oldest`), and where the reserve above the limit is used up too, the account that
 *   holds the most loses its oldest.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #paused = new Set<AccountQueue>();
  /** The places whose budget is at its limit, and has not sunk below the low-water mark since. */
  readonly #full: Record<Place, boolean> = { memory: false, disk: false };
  #isAhead = false;
  #dropped = 0;
  readonly #pauseLog: StateLog;
  readonly #dropLog: StateLog;
  readonly #readOnLog: EventLog;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    const { log } = options;
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
    this.#readOnLog = new EventLog((spans, account) =>
      log.warn("guests were paused for too long: they are read on, and their oldest spans are dropped", {
        spans,
        account,
      })
    );
  }

  /** How full the queue is; 1 or more means full. */
  get level(): number {
    const { memory, disk } = this.#options;
    const inMemory = memory.budget.total / this.#fullFrom(memory);
    if (disk === undefined) return inMemory;
    // What is in memory is on its way to the disk.
    return Math.max(inMemory, (disk.budget.total + memory.budget.total) / this.#fullFrom(disk));
  }

  /**
   * How large an account's chunk may become before it is to be {@link added}, bytes. An account is paused by what it
   * has added, so while accounts have to wait none adds much more than its share of what they may be ahead.
   */
  get chunkBytes(): number {
    const isAnyFull = this.#full.memory || this.#full.disk;
    if (this.#options.whenFull !== "pause" || (!isAnyFull && !this.#isAhead)) return Infinity;
    return Math.max(SMALLEST_LIMIT_BYTES, this.#options.memory.budget.share(AHEAD_BYTES));
  }

  /** An account holds `bytes` more than before. */
  added(account: AccountQueue, bytes: number): void {
    this.#update();
    if (this.#options.whenFull === "pause") {
      if (account.kind === "runtime") this.#dropShare(account);
      else if (!account.isPaused) {
        if (this.#mustWait(account)) this.#pause(account);
      } else if (account.isReadOn && this.#isOverShare(account)) this.#dropOwn(account, bytes);
    }
    this.#makeRoom();
  }

  /** An account holds less than before. */
  removed(account: AccountQueue): void {
    this.#update();
    this.#resumeIfWithinShare(account);
  }

  /** The budget's state may have changed otherwise: the destination has taken a request, or has failed to. */
  refresh(): void {
    this.#update();
  }

  /** Whether an account is paused for as long as its share of the room is used up. */
  waits(account: AccountQueue): boolean {
    return account.isPaused && !account.isReadOn && this.#isOverShare(account);
  }

  /**
   * Drops at least so many bytes on the disk, of the accounts that have the most there. Returns whether there was
   * anything to drop.
   */
  makeRoomOnDisk(bytes: number): boolean {
    const { disk } = this.#options;
    return disk !== undefined && this.#drop(disk, "disk", disk.budget.droppable - bytes);
  }

  /** Reads on: see `SpanSink.readOn`. */
  readOn(account: AccountQueue): void {
    if (account.isPaused) account.isReadOn = true;
  }

  /** Logs what is still to be logged. */
  close(): void {
    this.#dropLog.set(false);
    for (const log of [this.#dropLog, this.#pauseLog, this.#readOnLog]) log.close();
  }

  /**
   * From how many bytes on a place is full: its limit, or less where so many accounts have to be paused that what they
   * bring meanwhile would not fit into the reserve.
   */
  #fullFrom({ budget, full, most }: Watermarks): number {
    if (this.#options.whenFull !== "pause") return full;
    return Math.min(full, Math.max(full * LEAST_FULL, most - budget.holders * LATE_BYTES));
  }

  /** Drops what is beyond the most that each place may hold. */
  #makeRoom(): void {
    const { memory, disk } = this.#options;
    this.#drop(memory, "memory", memory.most);
    if (disk !== undefined) this.#drop(disk, "disk", disk.most);
  }

  /** Brings the levels up to date, and ends all pauses if there is no more reason for any. */
  #update(): void {
    const { memory, disk, pace, whenFull, metrics } = this.#options;
    const wasFull = this.#full.memory || this.#full.disk;
    this.#full.memory = isAbove(memory.budget.total, this.#fullFrom(memory), this.#full.memory);
    this.#full.disk = disk !== undefined &&
      isAbove(disk.budget.total + memory.budget.total, this.#fullFrom(disk), this.#full.disk);
    metrics.deliveryFill = this.level;
    if (this.#dropLog.active && this.level < LOW_WATER) this.#dropLog.set(false);
    if (whenFull !== "pause") return;
    const full = this.#full.memory || this.#full.disk;
    const wasAhead = this.#isAhead;
    this.#isAhead = pace?.isAhead(memory.budget.total) === true;
    if (full && !wasFull) metrics.backpressurePauses++;
    if (this.#isAhead && !full && !wasAhead && !wasFull) metrics.pacePauses++;
    // A pause that began because there was no room has ended when guests are read again.
    if (full || !this.#isAhead) this.#pauseLog.set(full);
    // One reason is gone: accounts may be within their share of what is left.
    if ((wasFull && !full) || (wasAhead && !this.#isAhead)) this.#resumeWithinShare();
  }

  #resumeWithinShare(): void {
    let resumed = false;
    for (const account of [...this.#paused]) {
      if (this.#mustWait(account)) continue;
      this.#paused.delete(account);
      account.isPaused = account.isReadOn = false;
      resumed = true;
    }
    if (resumed) this.#options.onPausedChange();
  }

  /** Whether an account is to be paused, or to stay paused. */
  #mustWait(account: AccountQueue): boolean {
    if (this.#isOverShare(account)) return true;
    if (!this.#isAhead) return false;
    const share = this.#options.memory.budget.share(AHEAD_BYTES);
    return account.memory.bytes >= share * (account.isPaused ? AHEAD_LOW_WATER : 1);
  }

  /** Whether an account holds its share of a place that is full; if it is paused, whether nearly so. */
  #isOverShare(account: AccountQueue): boolean {
    const { memory, disk } = this.#options;
    const held = account.memory.bytes;
    const enough = account.isPaused ? LOW_WATER : 1;
    if (this.#full.memory && held >= memory.budget.share(this.#fullFrom(memory)) * enough) return true;
    return this.#full.disk && disk !== undefined &&
      account.disk.bytes + held >= disk.budget.share(this.#fullFrom(disk)) * enough;
  }

  #pause(account: AccountQueue): void {
    account.isPaused = true;
    this.#paused.add(account);
    this.#options.onPausedChange(account.key);
  }

  #resumeIfWithinShare(account: AccountQueue): void {
    if (!account.isPaused || this.#mustWait(account)) return;
    account.isPaused = account.isReadOn = false;
    this.#paused.delete(account);
    this.#options.onPausedChange(account.key);
  }

  /** Drops so many bytes of an account's oldest, in the place that it fills. */
  #dropOwn(account: AccountQueue, bytes: number): void {
    const place: Place = this.#full.disk ? "disk" : "memory";
    const before = account[place].bytes;
    while (before - account[place].bytes < bytes) {
      const spans = this.#options.dropOldest(account, place, "paused-too-long");
      if (spans === 0) return;
      this.#readOnLog.note(spans, account.key);
    }
    this.#resumeIfWithinShare(account);
  }

  /** Drops an account's oldest until it is within its share. */
  #dropShare(account: AccountQueue): void {
    const place: Place = this.#full.disk ? "disk" : "memory";
    while (this.#isOverShare(account)) {
      if (!this.#dropOne(account, place)) return;
    }
  }

  /**
   * Drops the oldest of the accounts that have the most, until no more than `most` bytes wait. Returns whether it
   * dropped any.
   */
  #drop({ budget }: Watermarks, place: Place, most: number): boolean {
    const before = budget.droppable;
    while (budget.droppable > most) {
      const largest = budget.largest();
      if (largest === undefined || !this.#dropOne(largest.owner, place)) break;
    }
    return budget.droppable < before;
  }

  #dropOne(account: AccountQueue, place: Place): boolean {
    const spans = this.#options.dropOldest(account, place, "queue-full");
    if (spans === 0) return false;
    this.#dropped += spans;
    this.#dropLog.set(true);
    this.#resumeIfWithinShare(account);
    return true;
  }

  #fill(): Readonly<Record<string, number | undefined>> {
    const { metrics, disk } = this.#options;
    return {
      queueBytes: metrics.queueBytes,
      spoolBytes: disk && metrics.spoolBytes,
      batches: metrics.queueBatches,
    };
  }
}

function isAbove(total: number, full: number, was: boolean): boolean {
  return total >= (was ? full * LOW_WATER : full);
}
