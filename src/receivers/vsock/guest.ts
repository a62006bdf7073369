import type { GuestConnection, GuestReceiver } from "./listener.ts";
import { describeError, type Logger } from "../../base/log.ts";
import { LONGEST_TIMER_MS } from "../../base/longest-timer.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import type { SourceSink } from "../../pipeline/sink.ts";
import type { ConnectionSpan, SelfTrace } from "../../pipeline/self-trace.ts";
import type { Source } from "../../pipeline/source.ts";
import { FrameReader } from "../../decode/frame-reader.ts";
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
export class Guest implements GuestReceiver {
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
  #ended = false;
  #spans = 0;
  #bytes = 0;
  #invalid = 0;
  #heldBytes = 0;
  /** The number of the last frame that was skipped: its end is no further loss. */
  #skippedFrame = 0;
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
    try {
      this.#frames.push(chunk);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (!this.#ended) {
      if (this.#frames.framesBegun !== framesBefore) this.#frameBegan = now;
      this.#accountHeld(this.#frames.heldBytes);
    }
    this.#limitRate(this.#spans - spansBefore, now);
  }

  /** A whole payload (see `FrameSink`). */
  payload(buffer: Uint8Array, start: number, end: number): void {
    // It was disconnected for what came earlier in the chunk.
    if (this.#ended) return;
    const { spans, received } = this.#owner;
    spans.clear();
    try {
      const seen = this.#decoder.seen.size;
      const encoding = this.#decoder.decode(buffer, start, end, spans);
      received.payloads[encoding] = (received.payloads[encoding] ?? 0) + 1;
      if (this.#decoder.seen.size !== seen) {
        this.#log.info("guest's encoding", { guest: this.source.name, encoding });
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#reportInvalid(error);
      return;
    }
    this.#spans += spans.count;
    received.received += spans.count;
    this.#sink.accept(spans);
  }

  /** A frame that is skipped for its length (see `FrameSink`). */
  oversized(length: bigint): void {
    if (this.#ended) return;
    this.#skippedFrame = this.#frames.framesBegun;
    this.#reportInvalid(
      new WireError(
        "too-large",
        0,
        `frame of ${length} bytes is over --max-frame-bytes ${this.#owner.limits.maxFrameBytes}`,
      ),
    );
  }

  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#rateTimer);
    const unfinished = this.#frames.unfinished;
    if (unfinished !== undefined && this.#skippedFrame !== this.#frames.framesBegun) {
      const { headerBytes, payloadBytes, expectedBytes } = unfinished;
      this.#reportInvalid(
        new WireError(
          "truncated",
          Number(payloadBytes),
          expectedBytes === undefined
            ? `the stream ended after ${headerBytes} bytes of a frame's header,`
            : `the stream ended inside a frame of ${expectedBytes} bytes,`,
        ),
      );
    }
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
    this.#ended = true;
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
    if (this.#ended) return;
    this.#log.warn("guest disconnected", { guest: this.source.name, reason: why });
    this.close();
  }

  /** Ends the connection. */
  close(): void {
    if (this.#ended) return;
    this.#connection.destroy();
    this.end();
  }

  /** Does not count milliseconds until `now` in which nobody was read. */
  excuse(ms: number, now: number): void {
    // A pause is not counted as a whole.
    if (this.paused) return;
    this.#lastData = Math.min(now, this.#lastData + ms);
    this.#frameBegan = Math.min(now, this.#frameBegan + ms);
  }

  /** Disconnects the guest if one of its time limits has passed. */
  checkTimeouts(now: number): void {
    if (this.paused) return;
    const { frameTimeoutMs, idleTimeoutMs } = this.#owner.limits;
    if (frameTimeoutMs > 0 && this.#frames.inFrame && now - this.#frameBegan > frameTimeoutMs) {
      this.#owner.metrics.disconnect("frame-timeout");
      this.disconnect(`a frame was not whole after ${frameTimeoutMs} ms (--frame-timeout)`);
    } else if (idleTimeoutMs > 0 && now - this.#lastData > idleTimeoutMs) {
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
    if (this.#ended || this.account.invalid.take(1, this.#lastData) === 0) return;
    this.#owner.metrics.disconnect("invalid-rate");
    this.disconnect(
      `its guest sends more than ${MAX_INVALID_PER_SECOND} invalid payloads a second`,
    );
  }
}
