import type { ReleaseChunk } from "../../decode/frame-reader.ts";
import type { GuestConnection, GuestReceiver } from "./listener.ts";
import { describeError, type Logger } from "../../base/log.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import type { SourceSink } from "../../pipeline/sink.ts";
import type { ConnectionSpan, SelfTrace } from "../../pipeline/self-trace.ts";
import type { Source } from "../../pipeline/source.ts";
import { type GuestAccount, MAX_INVALID_PER_SECOND } from "../accounts/guest-account.ts";
import { MOST_DEBT_S, type RateWaiter } from "../accounts/span-rate.ts";
import type { Turns, TurnTaker } from "../accounts/turns.ts";
import { type FramesOwner, GuestFrames } from "./guest-frames.ts";
import { type PauseReason, Pauses } from "./pauses.ts";

/** What a guest needs of the receiver that owns it. */
export interface GuestOwner {
  readonly limits: GuestLimits;
  readonly metrics: Metrics;
  /** What has come in over vsock, of all guests. */
  readonly received: ReceiverMetrics;
  /** One for all guests: a payload is decoded and handed on before the next is looked at. */
  readonly spans: EncodedSpans;
  readonly trace: SelfTrace;
  /** Whose turn it is to be processed. */
  readonly turns: Turns;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** {@link Guest.nextCheck} has become as early as it can be. */
  watch(): void;
  /** The bytes this connection holds of unfinished frames changed by `bytes`. */
  held(guest: Guest, bytes: number): void;
  /** The connection has ended, though something that was read of it may still be worked on. */
  closed(guest: Guest): void;
  gone(guest: Guest): void;
}

/**
 * One connection of a guest: bytes in, spans out to delivery, within its limits.
 *
 * It is open until the connection ends, then finishing while something that was read of it waits for its account's
 * turn, then gone.
 */
export class Guest implements GuestReceiver, FramesOwner, RateWaiter, TurnTaker {
  /** Shared with the guest's other connections. */
  readonly account: GuestAccount<Guest>;
  readonly limits: GuestLimits;
  readonly received: ReceiverMetrics;
  readonly spans: EncodedSpans;
  readonly #connection: GuestConnection;
  readonly #owner: GuestOwner;
  readonly #sink: SourceSink;
  readonly #log: Logger;
  readonly #frames: GuestFrames;
  readonly #trace: ConnectionSpan | undefined;
  readonly #pauses: Pauses;
  #spanRateReported = false;
  /** Set when the process stops. */
  #rateLifted = false;
  #state: "open" | "finishing" | "gone" = "open";
  /** The other end has closed, and what it has written is read to its end, whatever the reasons to pause. */
  #isLeaving = false;
  /** What broke the connection. */
  #error: Error | undefined;
  /** The connection has ended, and what is left of it waits for the account's turn. */
  #waitsToFinish = false;
  #bytes = 0;
  #heldBytes = 0;
  #lastData: number;
  #frameBegan: number;

  constructor(
    connection: GuestConnection,
    account: GuestAccount<Guest>,
    sink: SourceSink,
    owner: GuestOwner,
    log: Logger,
  ) {
    this.#connection = connection;
    this.account = account;
    this.limits = owner.limits;
    this.received = owner.received;
    this.spans = owner.spans;
    this.#sink = sink;
    this.#owner = owner;
    this.#log = log;
    this.#trace = owner.trace.connection();
    this.#pauses = new Pauses(connection, owner.now);
    this.#frames = new GuestFrames(this, connection.source.name, log);
    this.#lastData = this.#frameBegan = owner.now();
  }

  /** To be called once, before anything is read: what the guest's other connections took may have to be waited for. */
  begin(): void {
    if (this.#state === "open") this.#owner.turns.join(this.account.turns, this);
    this.#limitRate();
  }

  /** See `GuestConnection.keptAs`. */
  get keptAs(): string | undefined {
    return this.#connection.keptAs;
  }
  get source(): Source {
    return this.#connection.source;
  }
  /** Bytes held of a frame that is not whole yet. */
  get heldBytes(): number {
    return this.#heldBytes;
  }
  /** When bytes came last, monotonic milliseconds. */
  get lastData(): number {
    return this.#lastData;
  }
  /** How many bytes have come. */
  get bytes(): number {
    return this.#bytes;
  }
  /** True after a frame that did not come in time, until a whole one comes. */
  get stalled(): boolean {
    return this.#frames.isStalled;
  }
  get paused(): boolean {
    return this.#pauses.any;
  }
  /**
   * When its time limits have to be looked at next, monotonic milliseconds: always while it is in the middle of a frame
   * or paused (-Infinity), never if it may be silent for as long as it likes (Infinity).
   */
  get nextCheck(): number {
    const { frameTimeoutMs, idleTimeoutMs } = this.limits;
    if (this.paused || (frameTimeoutMs > 0 && this.#frames.reader.inFrame)) return -Infinity;
    return idleTimeoutMs > 0 ? this.#lastData + idleTimeoutMs : Infinity;
  }
  /** For how long the connection has not been read, milliseconds. */
  get unreadMs(): number {
    return this.#pauses.has("stop") ? 0 : this.#pauses.unreadMs;
  }
  /** Whether the other end has closed the connection, though something of it has not been read. */
  get isClosed(): boolean {
    return this.paused && this.#connection.isClosed === true;
  }
  /** Read to its end, as far as it had come when the process was told to stop. */
  get stopped(): boolean {
    return this.#pauses.has("stop");
  }

  data(chunk: Uint8Array, release?: ReleaseChunk): void {
    if (this.#state !== "open") return;
    this.#lastData = this.#owner.now();
    const { length } = chunk;
    this.#bytes += length;
    this.received.receivedBytes += length;
    const { reader } = this.#frames;
    this.#work((mayBegin) => mayBegin ? reader.push(chunk, release) : reader.defer(chunk, release));
    this.#limitRate();
  }

  /** Goes on with what has been read; see `TurnTaker`. */
  proceed(): boolean {
    if (this.#state === "gone") return false;
    this.#process(() => this.#frames.reader.proceed());
    if (this.#state === "finishing") this.#finish();
    else this.#limitRate();
    return this.#isLeft;
  }

  pauseForTurn(): void {
    this.pause("turn");
  }

  resumeForTurn(): void {
    this.resume("turn");
  }

  resumeForRate(): void {
    this.resume("rate");
  }

  /** Takes spans (see `FramesOwner`). */
  accept(spans: EncodedSpans): void {
    if (this.#rateLifted || this.account.spans === undefined || this.account.spans.take(spans.count)) {
      this.#sink.accept(spans);
      return;
    }
    this.#owner.metrics.dropEverywhere("paused-too-long", spans.count);
    this.#log.warn("guest is over its rate for too long: its excess spans are dropped", {
      guest: this.source.name,
      limit: this.limits.maxSpansPerSecond,
      seconds: MOST_DEBT_S,
    });
  }

  /** See `FramesOwner`. */
  hasRate(spans: number): boolean {
    return this.#rateLifted || this.account.spans === undefined || this.account.spans.has(spans);
  }

  /** A payload was not valid (see `FramesOwner`). */
  invalid(): void {
    // It is not paused: while it waited, it would keep a place and a descriptor, although the guest may be gone.
    if (this.account.invalid.take(1, this.#lastData) === 0 || this.#state !== "open") return;
    this.#owner.metrics.disconnect("invalid-rate");
    this.disconnect(`its guest sends more than ${MAX_INVALID_PER_SECOND} invalid payloads a second`);
  }

  /** See `FramesOwner`. */
  turnIsOver(): boolean {
    return this.#owner.turns.isOver;
  }

  end(error?: Error): void {
    if (this.#state !== "open") return;
    this.#state = "finishing";
    this.#error = error;
    this.account.spans?.leave(this);
    this.#owner.turns.detach(this.account.turns, this);
    this.#owner.closed(this);
    this.#work((mayBegin) => {
      if (mayBegin) this.#finish();
      // In its turn.
      else this.#waitsToFinish = true;
    });
  }

  /** Hands out what is whole, once the connection has ended, and leaves. */
  #finish(): void {
    this.#waitsToFinish = false;
    let isDone = true;
    this.#process(() => isDone = this.#frames.reader.finish());
    if (isDone) this.#depart();
  }

  /** Leaves, and nothing of it is left to the next process. */
  #depart(): void {
    this.#connection.reads?.end();
    this.#leave("guest gone");
  }

  /** Gives back what it uses, and says what has come of it. */
  #leave(message: string): void {
    if (this.#state === "gone") return;
    this.#state = "gone";
    this.#frames.reader.close();
    this.account.spans?.leave(this);
    this.#owner.turns.leave(this.account.turns, this);
    this.#accountHeld(0);
    this.#sink.close();
    this.#owner.gone(this);
    const counts = { spans: this.#frames.spans, bytes: this.#bytes, invalid: this.#frames.invalid };
    const error = this.#error;
    this.#trace?.end({ source: this.source, ...counts, error });
    this.#log.info(message, {
      guest: this.source.name,
      ...counts,
      error: error === undefined ? undefined : describeError(error),
    });
  }

  /** The connection ends with this process, so nothing of it is for the next one. */
  keepToItself(): void {
    this.#connection.reads?.end();
  }

  /**
   * Leaves the connection to another process, without ending it. Returns what has been read of a frame that is not
   * whole, for that process to begin with.
   */
  suspend(): Uint8Array {
    this.#connection.pause();
    this.#connection.reads?.leave();
    const { unread } = this.#frames.reader;
    if (this.#state === "open") this.#owner.closed(this);
    this.#leave("guest handed over");
    return unread;
  }

  pause(reason: PauseReason): void {
    if (this.#state !== "open" || (this.#isLeaving && reason !== "turn")) return;
    this.#pauses.add(reason);
    this.#owner.watch();
  }

  resume(reason: PauseReason): void {
    if (this.#state !== "open") return;
    // Time spent paused is ours, not the guest's.
    const paused = this.#pauses.remove(reason);
    this.#lastData += paused;
    this.#frameBegan += paused;
  }

  /** Reads on, whatever it is paused for but its turn: it cannot wait any longer. */
  readOn(): void {
    this.account.spans?.leave(this);
    this.resume("rate");
    this.resume("delivery");
  }

  /** Reads the rest of a connection that the other end has closed: there is nobody that a pause could hold up. */
  readToEnd(): void {
    this.#isLeaving = true;
    this.readOn();
  }

  /** Reads what is left as fast as it comes: the process stops, and what waits in the guest would be lost. */
  liftRateLimit(): void {
    this.#rateLifted = true;
    this.account.spans?.leave(this);
    this.resume("rate");
  }

  /** Ends the connection for a limit that the guest went over. */
  disconnect(why: string): void {
    if (this.#state === "gone") return;
    this.#log.warn("guest disconnected", { guest: this.source.name, reason: why });
    this.close();
  }

  /** Ends the connection. */
  close(): void {
    if (this.#state === "gone") return;
    const wasOpen = this.#state === "open";
    // Whatever is given up now does not end it once more.
    this.#state = "finishing";
    this.#frames.close();
    if (wasOpen) {
      this.#connection.destroy();
      this.#owner.closed(this);
    }
    this.#depart();
  }

  /** Does not count milliseconds until `now` in which nobody was read. */
  excuse(ms: number, now: number): void {
    // A pause is not counted as a whole.
    if (this.paused) return;
    this.#lastData = Math.min(now, this.#lastData + ms);
    this.#frameBegan = Math.min(now, this.#frameBegan + ms);
  }

  /** Gives up a frame, or disconnects the guest, if the time limit for that has passed. */
  checkTimeouts(now: number): void {
    if (this.paused || this.#state !== "open") return;
    const { frameTimeoutMs, idleTimeoutMs } = this.limits;
    if (frameTimeoutMs > 0 && this.#frames.reader.inFrame && now - this.#frameBegan > frameTimeoutMs) {
      this.#frameBegan = now;
      this.#work(() => this.#frames.timeOut());
    }
    if (idleTimeoutMs > 0 && now - this.#lastData > idleTimeoutMs) {
      this.#owner.metrics.disconnect("idle-timeout");
      this.disconnect(`nothing came for ${idleTimeoutMs} ms (--idle-timeout)`);
    }
  }

  get #isLeft(): boolean {
    return this.#state !== "gone" && (this.#frames.reader.isStopped || this.#waitsToFinish);
  }

  /**
   * Does something with what has come, as far as the account's turn goes.
   *
   * @param step is told whether it may begin now, or everything has to wait.
   */
  #work(step: (mayBegin: boolean) => void): void {
    const { turns } = this.#owner;
    const { turns: account } = this.account;
    const mayBegin = turns.begin(account);
    this.#process(() => step(mayBegin));
    turns.end(account, this, this.#isLeft);
  }

  /** An error that a step throws is a defect of ours that this guest's bytes have found: it costs this guest alone. */
  #process(step: () => void): void {
    const { reader } = this.#frames;
    const before = reader.framesBegun;
    try {
      step();
    } catch (error) {
      const stack = error instanceof Error ? error.stack : undefined;
      this.#log.error("internal error while a guest was read: it is disconnected", {
        guest: this.source.name,
        error: stack ?? describeError(error),
      });
      this.close();
    }
    if (this.#state === "gone") return;
    this.#connection.reads?.processed(reader);
    if (reader.framesBegun !== before) this.#frameBegan = this.#owner.now();
    // The guest is not to blame for what waits for its turn.
    if (!reader.isStopped) this.#accountHeld(reader.heldBytes);
    if (reader.inFrame) this.#owner.watch();
  }

  #accountHeld(bytes: number): void {
    const change = bytes - this.#heldBytes;
    this.#heldBytes = bytes;
    if (change !== 0) this.#owner.held(this, change);
  }

  /** Pauses where the guest has sent too many spans. */
  #limitRate(): void {
    const { spans } = this.account;
    if (spans === undefined || this.#rateLifted || this.#state !== "open" || spans.wait === 0) return;
    if (!this.#pauses.has("rate")) this.#owner.metrics.rateLimitPauses++;
    if (!this.#spanRateReported) {
      this.#spanRateReported = true;
      this.#log.warn("guest is over its rate: it is throttled, and its spans wait in the guest", {
        guest: this.source.name,
        limit: this.limits.maxSpansPerSecond,
      });
    }
    this.pause("rate");
    spans.enqueue(this);
  }
}
