import type { GuestSink, SpanSink } from "../../../src/pipeline/sink.ts";
import type { GuestConnection } from "../../../src/receivers/vsock/listener.ts";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import type { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { Receiver } from "../../../src/receivers/vsock/receiver.ts";
import type { GuestLimits } from "../../../src/pipeline/settings.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";

/** A sink that keeps how many spans each guest has given it, and is full when it is told. */
export class FakeSink implements SpanSink {
  full = false;
  paused = false;
  onChange: () => void = () => {};
  /** Spans of each guest, in the order in which they came. */
  readonly accepted: number[] = [];
  readonly closed: number[] = [];
  /** Called within each `accept`. */
  onAccept: () => void = () => {};

  open(): GuestSink {
    const guest = this.accepted.push(0) - 1;
    return {
      accept: (spans: EncodedSpans) => {
        this.accepted[guest] = (this.accepted[guest] ?? 0) + spans.count;
        this.onAccept();
      },
      close: () => this.closed.push(guest),
    };
  }

  setPaused(paused: boolean): void {
    this.paused = this.full = paused;
    this.onChange();
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
  readonly identity;
  isPaused = false;
  isDestroyed = false;

  constructor(peer = "sandbox") {
    this.identity = { peer, attributes: new Map<string, string>() };
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

const LIMITS: GuestLimits = {
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
}

/** A receiver with all that it needs. */
export function setUp(limits: Partial<GuestLimits> = {}) {
  const sink = new FakeSink();
  const metrics = new Metrics();
  const log = new RecordingLogger();
  const receiver = new TestReceiver(sink, { ...LIMITS, ...limits }, metrics, log);
  const messages = () => log.records.map(({ message }) => message);
  return { sink, metrics, log, receiver, messages };
}
