import type { GuestConnection, GuestReceiver } from "./listener.ts";
import { describeError, type Logger } from "../../base/log.ts";
import { LONGEST_TIMER_MS } from "../../base/longest-timer.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import type { SourceSink } from "../../pipeline/sink.ts";
import type { ConnectionSpan, SelfTrace } from "../../pipeline/self-trace.ts";
import type { Source } from "../../pipeline/source.ts";
import { CERTAIN_BYTES, FrameReader, type FrameSink, TAKEN, type UnfinishedFrame } from "../../decode/frame-reader.ts";
import { PayloadDecoder } from "../../decode/payload-decoder.ts";
import { WireError } from "../../decode/wire-error.ts";
import { type GuestAccount, MAX_INVALID_PER_SECOND } from "../accounts/guest-account.ts";

/** Why a guest is not read at the moment; it is read again when the last reason has gone. */
type PauseReason = "delivery" | "rate" | "stop";

/** What a guest needs of the receiver that owns it. */
export interface GuestOwner {
  readonly limits: GuestLimits;
  readonly metrics: Metrics;
  /** What has come in over vsock, of all guests. */
  readonly received: ReceiverMetrics;
  /** One for all guests: a payload is decoded and handed on before the next is looked at. */
  readonly spans: EncodedSpans;
  readonly trace: SelfTrace;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** The bytes this connection holds of unfinished frames changed by `bytes`. */
  held(guest: Guest, bytes: number): void;
  gone(guest: Guest): void;
}

/** One connection of a guest: bytes in, spans out to delivery, within its limits. */
export class Guest implements GuestReceiver, FrameSink {
  /** Shared with the guest's other connections. */
  readonly account: GuestAccount;
  readonly #connection: GuestConnection;
  readonly #owner: GuestOwner;
  readonly #sink: SourceSink;
  readonly #log: Logger;
  readonly #frames: FrameReader;
  readonly #decoder = new PayloadDecoder();
  readonly #trace: ConnectionSpan | undefined;
  readonly #pauses = new Set<PauseReason>();
  #pausedAt = 0;
  #rateTimer: ReturnType<typeof setTimeout> | undefined;
  #spanRateReported = false;
  /** Set when the process stops. */
  #rateLifted = false;
  /** It is being ended, or has ended: nothing ends it once more. */
  #ending = false;
  #ended = false;
  /** What is given up now is given up because it did not come in time. */
  #isLate = false;
  /** A frame did not come in time, and no whole one has come since. */
  #stalled = false;
  #spans = 0;
  #bytes = 0;
  #invalid = 0;
  #heldBytes = 0;
  /** Whether the frame that was found by searching is one, as far as it has come. */
  #isCertain = false;
  #lastData: number;
  #frameBegan: number;

  constructor(
    connection: GuestConnection,
    account: GuestAccount,
    sink: SourceSink,
    owner: GuestOwner,
    log: Logger,
  ) {
    this.#connection = connection;
    this.account = account;
    this.#sink = sink;
    this.#owner = owner;
    this.#log = log;
    this.#trace = owner.trace.connection();
    this.#frames = new FrameReader(owner.limits.maxFrameBytes, this);
    this.#lastData = this.#frameBegan = owner.now();
  }

  /** To be called once, before anything is read: what the guest's other connections took may have to be waited for. */
  begin(): void {
    this.#limitRate(0, this.#owner.now());
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
    return this.#stalled;
  }
  get paused(): boolean {
    return this.#pauses.size > 0;
  }
  /** Read to its end, as far as it had come when the process was told to stop. */
  get stopped(): boolean {
    return this.#pauses.has("stop");
  }

  data(chunk: Uint8Array): void {
    if (this.#ended) return;
    const now = this.#owner.now();
    const spansBefore = this.#spans;
    const framesBefore = this.#frames.framesBegun;
    this.#lastData = now;
    this.#bytes += chunk.length;
    this.#owner.received.receivedBytes += chunk.length;
    this.#process(() => this.#frames.push(chunk));
    if (!this.#ended) {
      if (this.#frames.framesBegun !== framesBefore) this.#frameBegan = now;
      this.#accountHeld(this.#frames.heldBytes);
    }
    this.#limitRate(this.#spans - spansBefore, now);
  }

  /** Does something with what has come. An error that it throws is a defect of ours, which costs this guest alone. */
  #process(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A whole payload (see `FrameSink`). */
  payload(buffer: Uint8Array, start: number, end: number, isFound: boolean): number {
    const { spans, received } = this.#owner;
    spans.clear();
    const seen = this.#decoder.seen.size;
    const encoding = this.#decoder.read(buffer, start, end, spans);
    if (encoding instanceof WireError) {
      if (!isFound || this.isText || encoding.offset >= CERTAIN_BYTES) this.#reportInvalid(encoding);
      return encoding.offset;
    }
    received.payloads[encoding] = (received.payloads[encoding] ?? 0) + 1;
    if (this.#decoder.seen.size !== seen) {
      this.#log.info("guest's encoding", { guest: this.source.name, encoding });
    }
    this.#stalled = false;
    this.#spans += spans.count;
    received.received += spans.count;
    this.#sink.accept(spans);
    return TAKEN;
  }

  /** See `FrameSink`. */
  resembles(buffer: Uint8Array, start: number, end: number, length: number): boolean {
    return this.#decoder.resembles(buffer, start, end, length);
  }

  /** See `FrameSink`. */
  begun(buffer: Uint8Array, start: number, end: number): number {
    const error = this.#decoder.checkBeginning(buffer, start, end);
    this.#isCertain = error === undefined || error.offset >= CERTAIN_BYTES;
    if (error === undefined || error.reason === "truncated") return TAKEN;
    if (this.#isCertain) this.#reportInvalid(error);
    return error.offset;
  }

  /** See `FrameSink`. */
  get isText(): boolean {
    return this.#decoder.isText;
  }

  /** A frame that is skipped for its length (see `FrameSink`). */
  oversized(length: bigint): void {
    this.#reportInvalid(
      new WireError(
        "too-large",
        0,
        `frame of ${length} bytes is over --max-frame-bytes ${this.#owner.limits.maxFrameBytes}`,
      ),
    );
  }

  /** A frame of which no more comes (see `FrameSink`). */
  givenUp({ headerBytes, payloadBytes, expectedBytes }: UnfinishedFrame, isFound = false): void {
    if (isFound && !this.#isCertain) return;
    const what = expectedBytes === undefined ? "a frame" : `a frame of ${expectedBytes} bytes`;
    const header = expectedBytes === undefined ? `, after ${headerBytes} bytes of its header,` : "";
    const late = this.#isLate ? ` was not whole after ${this.#owner.limits.frameTimeoutMs} ms (--frame-timeout),` : "";
    this.#reportInvalid(new WireError("truncated", payloadBytes, `${what}${late} ends${header}`));
  }

  /** See `FrameSink`. */
  turnIsOver(): boolean {
    return false;
  }

  end(error?: Error): void {
    if (this.#ending) return;
    this.#ending = true;
    clearTimeout(this.#rateTimer);
    this.#process(() => this.#frames.finish());
    this.#ended = true;
    this.#leave("guest gone", error);
  }

  /** Gives back what it uses, and says what has come of it. */
  #leave(message: string, error?: Error): void {
    this.#accountHeld(0);
    this.#sink.close();
    this.#owner.gone(this);
    const counts = { spans: this.#spans, bytes: this.#bytes, invalid: this.#invalid };
    this.#trace?.end({ source: this.source, ...counts, error });
    this.#log.info(message, {
      guest: this.source.name,
      ...counts,
      error: error === undefined ? undefined : describeError(error),
    });
  }

  /**
   * Leaves the connection to another process, without ending it. Returns what has been read of a frame that is not
   * whole, for that process to begin with.
   */
  suspend(): Uint8Array {
    this.#connection.pause();
    const { unread } = this.#frames;
    this.#ending = this.#ended = true;
    clearTimeout(this.#rateTimer);
    this.#leave("guest handed over");
    return unread;
  }

  pause(reason: PauseReason): void {
    if (this.#pauses.size === 0) {
      this.#connection.pause();
      this.#pausedAt = this.#owner.now();
    }
    this.#pauses.add(reason);
  }

  resume(reason: PauseReason): void {
    if (!this.#pauses.delete(reason) || this.#pauses.size > 0 || this.#ended) return;
    // Time spent paused is ours, not the guest's.
    const paused = this.#owner.now() - this.#pausedAt;
    this.#lastData += paused;
    this.#frameBegan += paused;
    this.#connection.resume();
  }

  /** Reads what is left as fast as it comes: the process stops, and what waits in the guest would be lost. */
  liftRateLimit(): void {
    this.#rateLifted = true;
    clearTimeout(this.#rateTimer);
    this.resume("rate");
  }

  /** Ends the connection for a limit that the guest went over. */
  disconnect(why: string): void {
    if (this.#ending) return;
    this.#log.warn("guest disconnected", { guest: this.source.name, reason: why });
    this.close();
  }

  /** Ends the connection. */
  close(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#frames.unfinished !== undefined) this.givenUp(this.#frames.unfinished);
    this.#frames.close();
    this.#connection.destroy();
    this.#ending = false;
    this.end();
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
    if (this.paused) return;
    const { frameTimeoutMs, idleTimeoutMs } = this.#owner.limits;
    if (frameTimeoutMs > 0 && this.#frames.inFrame && now - this.#frameBegan > frameTimeoutMs) {
      this.#stalled = this.#isLate = true;
      this.#frameBegan = now;
      this.#process(() => this.#frames.giveUp());
      this.#isLate = false;
      if (!this.#ended) this.#accountHeld(this.#frames.heldBytes);
    }
    if (idleTimeoutMs > 0 && now - this.#lastData > idleTimeoutMs) {
      this.#owner.metrics.disconnect("idle-timeout");
      this.disconnect(`nothing came for ${idleTimeoutMs} ms (--idle-timeout)`);
    }
  }

  /** A defect of ours that this guest's bytes have found: it costs this guest alone, and does not go unnoticed. */
  #fail(error: unknown): void {
    const stack = error instanceof Error ? error.stack : undefined;
    this.#log.error("internal error while a guest was read: it is disconnected", {
      guest: this.source.name,
      error: stack ?? describeError(error),
    });
    this.close();
  }

  #accountHeld(bytes: number): void {
    const change = bytes - this.#heldBytes;
    this.#heldBytes = bytes;
    if (change !== 0) this.#owner.held(this, change);
  }

  /** Pauses after so many spans in one chunk, where they were too many. */
  #limitRate(spans: number, now: number): void {
    if (this.#rateLifted) return;
    const wait = this.account.spans?.take(spans, now) ?? 0;
    if (wait === 0 || this.#ended) return;
    const { metrics, limits } = this.#owner;
    if (!this.#pauses.has("rate")) metrics.rateLimitPauses++;
    if (!this.#spanRateReported) {
      this.#spanRateReported = true;
      this.#log.warn("guest is over its rate: it is read more slowly, its spans wait in it", {
        guest: this.source.name,
        limit: limits.maxSpansPerSecond,
      });
    }
    clearTimeout(this.#rateTimer);
    this.pause("rate");
    this.#rateTimer = setTimeout(() => this.resume("rate"), Math.min(wait, LONGEST_TIMER_MS));
  }

  #reportInvalid(error: WireError): void {
    this.#invalid++;
    this.#owner.received.invalidate(error.reason);
    this.#log.warn("invalid payload skipped", {
      guest: this.source.name,
      reason: error.reason,
      offset: error.offset,
      error: error.message,
    });
    // Not paused: who waits here for what a guest owes would keep a place and a descriptor, though it may be gone.
    if (this.account.invalid.take(1, this.#lastData) === 0 || this.#ending) return;
    this.#owner.metrics.disconnect("invalid-rate");
    this.disconnect(
      `its guest sends more than ${MAX_INVALID_PER_SECOND} invalid payloads a second`,
    );
  }
}
