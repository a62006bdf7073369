import type { SourceSink, SpanSink } from "../../../src/pipeline/sink.ts";
import type { Source } from "../../../src/pipeline/source.ts";
import type { GuestConnection } from "../../../src/receivers/vsock/listener.ts";
import { Subscribers } from "../../../src/pipeline/subscribers.ts";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import type { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { Turns } from "../../../src/receivers/accounts/turns.ts";
import { Receiver } from "../../../src/receivers/vsock/receiver.ts";
import type { GuestLimits } from "../../../src/pipeline/settings.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";

/** A sink that keeps how many spans each guest has given it, and is full when it is told. */
export class FakeSink implements SpanSink {
  /** Whether all accounts are paused. */
  paused = false;
  /** The accounts that are paused by themselves. */
  readonly pausedAccounts = new Set<string>();
  readonly #subscribers = new Subscribers<[account?: string]>();
  /** Spans of each guest, in the order in which they came. */
  readonly accepted: number[] = [];
  readonly closed: number[] = [];
  /** Called within each `accept`. */
  onAccept: () => void = () => {};

  open(): SourceSink {
    const guest = this.accepted.push(0) - 1;
    return {
      accept: (spans: EncodedSpans) => {
        this.accepted[guest] = (this.accepted[guest] ?? 0) + spans.count;
        this.onAccept();
      },
      settled: () => Promise.resolve(),
      close: () => this.closed.push(guest),
    };
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
    this.#subscribers.notify();
  }

  /** Pauses one account, or ends its pause. */
  setAccountPaused(account: string, paused: boolean): void {
    if (paused) this.pausedAccounts.add(account);
    else this.pausedAccounts.delete(account);
    this.#subscribers.notify(account);
  }

  isPaused(account: string): boolean {
    return this.paused || this.pausedAccounts.has(account);
  }

  /** The accounts that are to be read on although they are paused. */
  readonly readOnAccounts: string[] = [];

  readOn(account: string): void {
    this.readOnAccounts.push(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#subscribers.add(onChange);
  }

  drain(): Promise<number> {
    return Promise.resolve(0);
  }
  abort(): Promise<number> {
    return Promise.resolve(0);
  }
}

/** A connection that keeps what is done to it. */
export class FakeConnection implements GuestConnection {
  readonly source: Source;
  isPaused = false;
  isDestroyed = false;
  /** Whether the other end has closed it. */
  isClosed = false;

  /**
   * @param source its name is enough: its account is then what stands before the second colon, a CID's of `vsock:3:1`.
   */
  constructor(source: string | Source = "sandbox") {
    this.source = typeof source === "string"
      ? { kind: "guest", name: source, account: source.split(":", 2).join(":"), attributes: new Map() }
      : source;
  }

  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  destroy(): void {
    this.isDestroyed = true;
  }
}

export const LIMITS: GuestLimits = {
  maxFrameBytes: 4 * 1024 * 1024,
  frameTimeoutMs: 30_000,
  idleTimeoutMs: 0,
  maxGuestBytes: 8 * 1024 * 1024,
  maxTotalGuestBytes: 64 * 1024 * 1024,
  maxGuests: 100,
  maxSpansPerSecond: 0,
};

/** A receiver whose clock stands still until a test moves it. */
export class TestReceiver extends Receiver {
  time = 1000;
  override readonly now = (): number => this.time;
  override readonly turns: Turns = new Turns(() => this.time);
}

/** A receiver with all that it needs. */
export function setUp(limits: Partial<GuestLimits> = {}) {
  const sink = new FakeSink();
  const metrics = new Metrics();
  const log = new RecordingLogger();
  const receiver = new TestReceiver(sink, { ...LIMITS, ...limits }, metrics, log);
  const messages = () => log.records.map(({ message }) => message);
  return { sink, metrics, vsock: metrics.receiver("vsock"), log, receiver, messages };
}
