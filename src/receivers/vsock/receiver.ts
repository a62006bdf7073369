import { performance } from "node:perf_hooks";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { GuestConnection, GuestReceiver } from "./listener.ts";
import { LONGEST_TIMER_MS } from "../../base/longest-timer.ts";
import { type Logger, rateLimited, type RateLimitedLogger } from "../../base/log.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import { ENCODINGS } from "../../decode/payload-decoder.ts";
import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { NO_SELF_TRACE, type SelfTrace } from "../../pipeline/self-trace.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";
import { Guest, type GuestOwner } from "./guest.ts";
import { GuestAccount } from "../accounts/guest-account.ts";
import { type TurnLengths, Turns } from "../accounts/turns.ts";
import { Places } from "./places.ts";
import { Silence, SILENCE_INTERVAL_MS } from "./silence.ts";

/**
 * How often time limits are looked at while a guest is in the middle of a frame or paused, milliseconds. This is far
 * below the shortest sensible limit, and short enough to notice that the process itself was held.
 */
export const TICK_MS = 500;

/**
 * For how long a guest may not be read, milliseconds, whatever it is paused for. An agent whose export takes 30 s gives
 * it up in the middle of a write, and loses the rest of that batch; one that was unread for 19 s lost nothing.
 */
export const MOST_UNREAD_MS = 18_000;

/** All guests: accepts them within the host's limits, pauses them while delivery says so, reads them out at the end. */
export class Receiver implements GuestOwner {
  readonly limits: GuestLimits;
  readonly metrics: Metrics;
  readonly received: ReceiverMetrics;
  readonly spans = new EncodedSpans();
  readonly trace: SelfTrace;
  readonly turns: Turns;
  readonly #sink: SpanSink;
  readonly #log: RateLimitedLogger;
  readonly #guests = new Set<Guest>();
  readonly #places: Places;
  /** What each guest uses, by its source's account. */
  readonly #accounts = new Map<string, GuestAccount<Guest>>();
  #heldBytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When time limits are to be looked at next. */
  #due = Infinity;
  /** Whether that is as soon as it can be. */
  #isWatching = false;
  #refusing = false;

  constructor(
    sink: SpanSink,
    limits: GuestLimits,
    metrics: Metrics,
    log: Logger,
    trace: SelfTrace = NO_SELF_TRACE,
    turnLengths?: TurnLengths,
  ) {
    this.turns = new Turns(() => this.now(), setImmediate, turnLengths);
    this.#sink = sink;
    this.limits = limits;
    this.metrics = metrics;
    this.received = metrics.receiver("vsock", ENCODINGS);
    this.trace = trace;
    this.#log = rateLimited(log);
    this.#places = new Places(limits, metrics, () => this.now());
    sink.subscribe((account) => this.#applyBackpressure(account));
  }

  readonly now = (): number => performance.now();

  /** Takes a guest in. */
  accept(connection: GuestConnection): GuestReceiver {
    const { source } = connection;
    const account = this.#account(source.account);
    if (!this.#places.makeRoom(account)) {
      if (account.isUnused) this.#forgetUnused(source.account, account);
      return this.#refuse(connection);
    }
    // One guest's records are limited together, whatever its connections are called.
    const log = this.#log.keyed(source.account);
    const guest = new Guest(connection, account, this.#sink.open(source), this, log);
    this.#guests.add(guest);
    account.connections.add(guest);
    this.#places.take(guest);
    this.metrics.guestsAccepted++;
    log.info("guest connected", { guest: source.name, guests: this.#places.taken });
    if (this.#sink.isPaused(source.account) && !account.isReadOn) guest.pause("delivery");
    guest.begin();
    this.#tickBy(guest.nextCheck);
    return guest;
  }

  /** See {@link GuestOwner}. */
  watch(): void {
    this.#tickBy(-Infinity);
  }

  /**
   * Gives up frames whose time has passed, disconnects guests that were silent for too long, and reads on what could
   * not wait any longer. If it comes later than it was due, the process was held (SIGSTOP, a slow disk, a busy machine)
   * and read nobody, so the time does not count against guests.
   *
   * While guests are only silent, nothing is looked at before the first of them has been silent for too long.
   */
  tick(): void {
    const now = this.now();
    const late = Math.max(0, now - this.#due);
    this.#stopTicking();
    for (const guest of [...this.#guests]) {
      guest.excuse(late, now);
      guest.checkTimeouts(now);
      if (guest.unreadMs >= MOST_UNREAD_MS) this.#readOn(guest);
    }
    let next = Infinity;
    for (const guest of this.#guests) next = Math.min(next, guest.nextCheck);
    this.#tickBy(next);
  }

  /**
   * Makes sure that time limits are looked at by `time`, but not within {@link TICK_MS}: what has come while the
   * process was held is read first.
   */
  #tickBy(time: number): void {
    // Nearly always so, and without a look at the clock: guests call this for each chunk that ends within a frame.
    if (time === Infinity || this.#isWatching || this.#due <= time) return;
    const now = this.now();
    const due = Math.max(time, now + TICK_MS);
    this.#isWatching = time === -Infinity;
    if (this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.tick(), Math.min(due - now, LONGEST_TIMER_MS));
  }

  #stopTicking(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = Infinity;
    this.#isWatching = false;
  }

  /** Reads a guest that has been paused for as long as its agent can bear. */
  #readOn(guest: Guest): void {
    const { account: key } = guest.source;
    if (this.#sink.isPaused(key) && !guest.account.isReadOn) {
      guest.account.isReadOn = true;
      this.#sink.readOn(key);
      this.#applyBackpressure(key);
    }
    guest.readOn();
  }

  /** See {@link GuestOwner}: unfinished frames of one guest, and of all together, stay within their budgets. */
  held(guest: Guest, bytes: number): void {
    const { account } = guest;
    const { maxGuestBytes, maxTotalGuestBytes } = this.limits;
    account.heldBytes += bytes;
    this.#heldBytes += bytes;
    if (bytes <= 0) return;
    if (account.heldBytes > maxGuestBytes) {
      this.metrics.disconnect("guest-bytes");
      this.#largestOf(account)?.disconnect(
        `its guest holds more than ${maxGuestBytes} bytes (--max-guest-bytes)`,
      );
    } else if (this.#heldBytes > maxTotalGuestBytes) {
      let largest = account;
      for (const other of this.#accounts.values()) {
        if (other.heldBytes > largest.heldBytes) largest = other;
      }
      this.metrics.disconnect("total-guest-bytes");
      this.#largestOf(largest)?.disconnect(
        `all guests together hold more than ${maxTotalGuestBytes} bytes (--max-total-guest-bytes), and its guest most`,
      );
    }
  }

  /** See {@link GuestOwner}. */
  closed(guest: Guest): void {
    this.#places.leave(guest);
    if (this.#places.taken < this.limits.maxGuests) this.#refusing = false;
  }

  /** See {@link GuestOwner}. */
  gone(guest: Guest): void {
    if (!this.#guests.delete(guest)) return;
    const { account } = guest;
    account.connections.delete(guest);
    if (account.isUnused) this.#forgetUnused(guest.source.account, account);
    if (this.#guests.size === 0) this.#stopTicking();
  }

  /**
   * Reads what guests have already sent, those included that the listener is about to accept. A guest is read no more
   * once nothing is left to read, and after `timeoutMs` even if it never stops sending or delivery keeps it paused.
   */
  async drain(timeoutMs: number): Promise<void> {
    const deadline = this.now() + timeoutMs;
    const accepting = new Silence();
    const reading = new Map<Guest, Silence>();
    for (let isDone = false; !isDone && this.now() < deadline;) {
      await new Promise((resolve) => setTimeout(resolve, SILENCE_INTERVAL_MS));
      isDone = accepting.lasts(this.metrics.guestsAccepted, this.now());
      for (const guest of this.#guests) {
        if (guest.stopped) continue;
        const silence = reading.get(guest) ?? new Silence();
        reading.set(guest, silence);
        guest.liftRateLimit();
        if (guest.paused) silence.broken();
        if (!guest.paused && silence.lasts(guest.bytes, this.now())) guest.pause("stop");
        else isDone = false;
      }
    }
  }

  /**
   * Reads those guests no more whose connections another process goes on with. Returns what has been read of frames
   * that are not whole, by the names that the connections are kept as.
   *
   * @param outlives whether a connection that is kept under a name is there for another process.
   */
  handOver(outlives: (name: string) => boolean): Map<string, Uint8Array> {
    const unread = new Map<string, Uint8Array>();
    for (const guest of [...this.#guests]) {
      const { keptAs } = guest;
      if (keptAs === undefined || !outlives(keptAs)) {
        guest.keepToItself();
        continue;
      }
      const bytes = guest.suspend();
      if (bytes.length > 0) unread.set(keptAs, bytes);
    }
    return unread;
  }

  /** Ends all connections, and says what the log has held back. */
  close(): void {
    for (const guest of [...this.#guests]) guest.close();
    this.#log.flush();
  }

  #account(key: string): GuestAccount<Guest> {
    let account = this.#accounts.get(key);
    if (account === undefined) {
      account = new GuestAccount(this.limits.maxSpansPerSecond, () => this.now());
      this.#accounts.set(key, account);
    }
    return account;
  }

  /** An account without connections goes, but not before its rates allow as much as a new one's. */
  #forgetUnused(key: string, account: GuestAccount<Guest>): void {
    account.whenRested(this.now(), () => {
      if (account.isUnused && this.#accounts.get(key) === account) this.#accounts.delete(key);
    });
  }

  /** The connection that holds most of what its guest holds. */
  #largestOf(account: GuestAccount<Guest>): Guest | undefined {
    let largest: Guest | undefined;
    for (const guest of account.connections) {
      if (largest === undefined || guest.heldBytes > largest.heldBytes) largest = guest;
    }
    return largest;
  }

  #refuse(connection: GuestConnection): GuestReceiver {
    this.metrics.disconnect("max-guests");
    if (!this.#refusing) {
      this.#refusing = true;
      this.#log.warn("guest refused: too many guests; more refusals are counted, not logged", {
        guest: connection.source.name,
        limit: this.limits.maxGuests,
      });
    }
    connection.reads?.end();
    connection.destroy();
    return { data: () => {}, end: () => {} };
  }

  /** @param changed the only account that may be paused or read again; absent: any may. */
  #applyBackpressure(changed?: string): void {
    if (changed === undefined) {
      for (const key of this.#accounts.keys()) this.#applyBackpressure(key);
      return;
    }
    const account = this.#accounts.get(changed);
    if (account === undefined) return;
    const isPaused = this.#sink.isPaused(changed);
    if (!isPaused) account.isReadOn = false;
    for (const guest of account.connections) {
      if (isPaused && !account.isReadOn) guest.pause("delivery");
      else guest.resume("delivery");
    }
  }
}
