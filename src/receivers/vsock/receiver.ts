import { performance } from "node:perf_hooks";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { GuestConnection, GuestReceiver } from "./listener.ts";
import { type Logger, rateLimited, type RateLimitedLogger } from "../../base/log.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import { ENCODINGS } from "../../decode/payload-decoder.ts";
import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { NO_SELF_TRACE, type SelfTrace } from "../../pipeline/self-trace.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";
import { Guest, type GuestOwner } from "./guest.ts";
import { GuestAccount } from "../accounts/guest-account.ts";
import { Silence, SILENCE_INTERVAL_MS } from "./silence.ts";

/** How often time limits are looked at, milliseconds: far below the shortest sensible limit, and no load. */
export const TICK_MS = 500;

/** All guests: accepts them within the host's limits, pauses them while delivery says so, reads them out at the end. */
export class Receiver implements GuestOwner {
  readonly limits: GuestLimits;
  readonly metrics: Metrics;
  readonly received: ReceiverMetrics;
  readonly spans = new EncodedSpans();
  readonly trace: SelfTrace;
  readonly #sink: SpanSink;
  readonly #log: RateLimitedLogger;
  readonly #guests = new Set<Guest>();
  /** What each guest uses, by its source's account. */
  readonly #accounts = new Map<string, GuestAccount>();
  #heldBytes = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** When time limits were last looked at. */
  #ticked = 0;
  #refusing = false;

  constructor(
    sink: SpanSink,
    limits: GuestLimits,
    metrics: Metrics,
    log: Logger,
    trace: SelfTrace = NO_SELF_TRACE,
  ) {
    this.#sink = sink;
    this.limits = limits;
    this.metrics = metrics;
    this.received = metrics.receiver("vsock", ENCODINGS);
    this.trace = trace;
    this.#log = rateLimited(log);
    sink.subscribe((account) => this.#applyBackpressure(account));
  }

  readonly now = (): number => performance.now();

  /** Takes a guest in. */
  accept(connection: GuestConnection): GuestReceiver {
    const { source } = connection;
    if (this.#guests.size >= this.limits.maxGuests && !this.#makePlace(source.account)) {
      return this.#refuse(connection);
    }
    const account = this.#account(source.account);
    // One guest's records are limited together, whatever its connections are called.
    const log = this.#log.keyed(source.account);
    const guest = new Guest(connection, account, this.#sink.open(source), this, log);
    this.#guests.add(guest);
    account.connections++;
    this.metrics.guestsAccepted++;
    this.metrics.guestsConnected = this.#guests.size;
    log.info("guest connected", { guest: source.name, guests: this.#guests.size });
    if (this.#sink.isPaused(source.account)) guest.pause("delivery");
    guest.begin();
    if (this.#timer === undefined) {
      this.#ticked = this.now();
      this.#timer = setInterval(() => this.tick(), TICK_MS);
    }
    return guest;
  }

  /**
   * Disconnects guests whose time limits have passed. Called every {@link TICK_MS}; as much later as that comes, the
   * process was held (SIGSTOP, a slow disk, a busy machine) and read nobody, so that the time is ours.
   */
  tick(): void {
    const now = this.now();
    const late = Math.max(0, now - this.#ticked - TICK_MS);
    this.#ticked = now;
    for (const guest of [...this.#guests]) {
      guest.excuse(late, now);
      guest.checkTimeouts(now);
    }
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

  gone(guest: Guest): void {
    if (!this.#guests.delete(guest)) return;
    guest.account.connections--;
    if (guest.account.connections === 0) this.#forgetUnused(guest.source.account, guest.account);
    this.metrics.guestsConnected = this.#guests.size;
    if (this.#guests.size < this.limits.maxGuests) this.#refusing = false;
    if (this.#guests.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /**
   * Reads what guests have already sent, those included that the listener is about to accept. A guest of which there is
   * nothing to read is read no more; one that never stops sending, or that delivery keeps paused, not after
   * `timeoutMs`.
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
      if (keptAs === undefined || !outlives(keptAs)) continue;
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

  #account(key: string): GuestAccount {
    let account = this.#accounts.get(key);
    if (account === undefined) {
      account = new GuestAccount(this.limits.maxSpansPerSecond, this.now());
      this.#accounts.set(key, account);
    }
    return account;
  }

  /** An account without connections goes, but not before its rates allow as much as a new one's. */
  #forgetUnused(key: string, account: GuestAccount): void {
    account.whenRested(this.now(), () => {
      if (account.connections === 0 && this.#accounts.get(key) === account) this.#accounts.delete(key);
    });
  }

  /** The connection that holds most of what its guest holds. */
  #largestOf(account: GuestAccount): Guest | undefined {
    let largest: Guest | undefined;
    for (const guest of this.#guests) {
      if (guest.account !== account) continue;
      if (largest === undefined || guest.heldBytes > largest.heldBytes) largest = guest;
    }
    return largest;
  }

  /**
   * Takes a place for a newcomer, so that nobody keeps others out by connecting often: from the guest that has clearly
   * more places than the newcomer's; if there is none, from any guest that is stuck in a frame. False if there is no
   * place to take.
   */
  #makePlace(key: string): boolean {
    let most = (this.#accounts.get(key)?.connections ?? 0) + 1;
    let largest: GuestAccount | undefined;
    for (const account of this.#accounts.values()) {
      if (account.connections > most) [largest, most] = [account, account.connections];
    }
    const guest = this.#leastUseful(largest);
    if (guest === undefined || (largest === undefined && !guest.stalled)) return false;
    const { maxGuests, frameTimeoutMs } = this.limits;
    if (guest.stalled) {
      this.metrics.disconnect("frame-timeout");
      guest.disconnect(
        `all ${maxGuests} places are taken (--max-guests), and a frame was not whole after ${frameTimeoutMs} ms ` +
          "(--frame-timeout)",
      );
    } else {
      this.metrics.disconnect("max-guests");
      guest.disconnect(`all ${maxGuests} places are taken (--max-guests), ${most} of them by this guest`);
    }
    return true;
  }

  /** Of an account's connections, or of all, one that is stuck in a frame, if any; else the one silent for longest. */
  #leastUseful(account: GuestAccount | undefined): Guest | undefined {
    let least: Guest | undefined;
    for (const guest of this.#guests) {
      if (account !== undefined && guest.account !== account) continue;
      const isLess = least === undefined ||
        (guest.stalled === least.stalled ? guest.lastData < least.lastData : guest.stalled);
      if (isLess) least = guest;
    }
    return least;
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
    connection.destroy();
    return { data: () => {}, end: () => {} };
  }

  /** @param changed the only account that may be paused or read again; absent: any may. */
  #applyBackpressure(changed?: string): void {
    for (const guest of this.#guests) {
      const { account } = guest.source;
      if (changed !== undefined && account !== changed) continue;
      if (this.#sink.isPaused(account)) guest.pause("delivery");
      else guest.resume("delivery");
    }
  }
}
