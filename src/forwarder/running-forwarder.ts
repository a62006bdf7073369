import type { LogFields, Logger, RateLimitedLogger } from "../base/log.ts";
import type { Continuation, OnTakenOver } from "../continuation.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { SelfTrace } from "../pipeline/self-trace.ts";
import type { Settings } from "../pipeline/settings.ts";
import type { SpanSink } from "../pipeline/sink.ts";
import type { JoinTraces } from "../processors/join-traces/join-traces.ts";
import type { HostReceivers } from "../receivers/host/host-receivers.ts";
import type { DescribedGuests } from "../receivers/vsock/described-guests.ts";
import type { Listener } from "../receivers/vsock/listener.ts";
import type { Receiver } from "../receivers/vsock/receiver.ts";
import { figures } from "../telemetry/metrics-families.ts";
import type { MetricsServer } from "../telemetry/metrics-server.ts";

/** The share of the time for a stop in which guests' data is read. The rest is for delivering it. */
const READING_SHARE = 0.5;

/** How long the end waits for own spans to be sent, milliseconds, because they matter less than a quick stop. */
export const OWN_SPANS_MS = 2_000;

/** A running forwarder. */
export interface Forwarder {
  /** Where it listens. */
  readonly address: string;
  /**
   * Accepts no more guests, reads what guests have already sent, delivers it within the time in the settings, and ends.
   * Guests whose connections survive the process are left to the next one instead of being read to their end. Resolves
   * with how many spans were lost.
   */
  stop(): Promise<number>;
  /** Ends at once, even while it stops. Resolves with how many spans were lost. */
  abort(): Promise<number>;
  /** Logs the counters. */
  logFigures(): void;
}

/** What a forwarder is made of, once it has started. */
export interface ForwarderParts {
  readonly settings: Settings;
  readonly listener: Listener;
  readonly listenLog: RateLimitedLogger;
  readonly guests: DescribedGuests | undefined;
  readonly receiver: Receiver;
  readonly hosts: HostReceivers | undefined;
  readonly sink: SpanSink;
  readonly joinTraces: JoinTraces | undefined;
  readonly server: MetricsServer | undefined;
  readonly metrics: Metrics;
  readonly trace: SelfTrace;
  readonly log: Logger;
  readonly continuation: Continuation | undefined;
  readonly onTakenOver: OnTakenOver;
}

/**
 * The forwarder that is made of these parts, which are all at work.
 *
 * @param setNotReady says why the forwarder is not ready from now on.
 */
export function runningForwarder(parts: ForwarderParts, setNotReady: (why: string) => void): Forwarder {
  const { settings, listener, guests, receiver, joinTraces, trace, continuation } = parts;
  const logFigures = (): void => {
    const all = figures(parts.metrics, { guests: settings.limits.maxGuests });
    // People look for what happened; programs want every series.
    parts.log.info("figures", settings.log.format === "text" ? withoutZeros(all) : all);
  };

  async function stop(): Promise<number> {
    setNotReady("stopping");
    if (continuation?.persists === true) {
      await listener.settle?.();
      leave(continuation);
    } else {
      guests?.flush();
      joinTraces?.stopping(false);
      // Once its name is gone no new guest finds the socket. Guests that have connected are still accepted.
      listener.cleanUp();
    }
    return await deliver();
  }
  /** Leaves guests to another process. Synchronous, so that nothing is read in between. */
  function leave(continuation: Continuation): void {
    joinTraces?.stopping(true);
    // What is held for a guest that waits for its pod is part of what is left.
    guests?.flush();
    continuation.leave(listener, receiver);
  }
  async function deliver(): Promise<number> {
    const deadline = performance.now() + settings.shutdownTimeoutMs;
    const readingMs = settings.shutdownTimeoutMs * READING_SHARE;
    await Promise.all([receiver.drain(readingMs), parts.hosts?.stop(readingMs)]);
    await listener.stopAccepting();
    receiver.close();
    const timeLeft = (): number => Math.max(0, deadline - performance.now());
    const lost = await parts.sink.drain(timeLeft());
    await trace.stop(Math.min(OWN_SPANS_MS, timeLeft()));
    await end();
    return lost;
  }
  async function abort(): Promise<number> {
    if (continuation?.persists === true) leave(continuation);
    await Promise.all([listener.stopAccepting(), parts.hosts?.abort()]);
    receiver.close();
    const lost = await parts.sink.abort();
    await trace.stop(0);
    await end();
    return lost;
  }
  async function end(): Promise<void> {
    parts.listenLog.flush();
    logFigures();
    await parts.server?.close();
  }
  continuation?.serve({
    settle: async () => {
      setNotReady("another process takes over");
      await listener.settle?.();
    },
    leave: () => {
      leave(continuation);
    },
    deliver,
    timeoutMs: settings.shutdownTimeoutMs,
  }, parts.onTakenOver);
  return { address: listener.address, stop, abort, logFigures };
}

function withoutZeros(fields: LogFields): LogFields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== 0));
}
