import { performance } from "node:perf_hooks";
import type { InvalidReason } from "./invalid-reason.ts";

/**
 * Why a span that was read is not delivered.
 *
 * - `queue-full`: the oldest made room for the newest (`--when-full drop-oldest`, or a source that is never paused);
 * - `paused-too-long`: the oldest made room for the newest of the same guest, which could not be paused any longer, or
 *   what was over its rate was dropped for the same reason;
 * - `rejected`: the collector refused it for good;
 * - `shutdown`: still waiting when the process ended, and no spool to stay in;
 * - `spool-corrupt`: what the spool gave back is not what was put in;
 * - `viewer-gone`: the viewer's process had ended.
 */
export type DropReason = "queue-full" | "paused-too-long" | "rejected" | "shutdown" | "spool-corrupt" | "viewer-gone";

/** Why a guest was disconnected, or not taken in. */
export type DisconnectReason =
  | "frame-timeout"
  | "idle-timeout"
  | "guest-bytes"
  | "total-guest-bytes"
  | "invalid-rate"
  | "max-guests";

/**
 * Upper bounds of export times, seconds, the last one open: those that OpenTelemetry's semantic conventions advise
 * for `http.client.request.duration`.
 */
export const DURATION_BOUNDS: readonly number[] = [
  0.005,
  0.01,
  0.025,
  0.05,
  0.075,
  0.1,
  0.25,
  0.5,
  0.75,
  1,
  2.5,
  5,
  7.5,
  10,
];

/** A histogram with fixed buckets. */
export class Histogram {
  readonly bounds: readonly number[];
  /** How many observations fell into each bucket, not cumulated; the last is above every bound. */
  readonly counts: Float64Array;
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** Counts one value; a value equal to a bound belongs below it, as Prometheus's `le` says. */
  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > (this.bounds[bucket] as number)) bucket++;
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
    this.sum += value;
    this.count++;
  }
}

/**
 * Why a span that came in is not wanted, and does not count as received.
 *
 * - `http2-noise`: it is of the HTTP/2 client that a runtime sends its spans with.
 */
export type LeftOutReason = "http2-noise";

/** What one receiver has taken in: plain numbers, so that counting costs nothing on the span path. */
export class ReceiverMetrics {
  /** The value of the label `receiver`. */
  readonly name: string;
  /** The encodings that its payloads may have, which are the values of the label `encoding`. */
  readonly encodings: readonly string[];
  /** Spans that came in, and payloads that were not valid. */
  received = 0;
  receivedBytes = 0;
  readonly invalid: { [reason in InvalidReason]?: number } = {};
  readonly leftOut: { [reason in LeftOutReason]?: number } = {};
  /** Payloads by encoding. */
  readonly payloads: { [encoding: string]: number } = {};

  constructor(name: string, encodings: readonly string[]) {
    this.name = name;
    this.encodings = encodings;
  }

  /** Counts payloads that are not spans, or invalid spans of a payload. Each counts as one received. */
  invalidate(reason: InvalidReason, count = 1): void {
    this.received += count;
    this.invalid[reason] = (this.invalid[reason] ?? 0) + count;
  }

  /** Counts spans that are not wanted. */
  leaveOut(reason: LeftOutReason, spans: number): void {
    this.leftOut[reason] = (this.leftOut[reason] ?? 0) + spans;
  }

  get invalidTotal(): number {
    return total(this.invalid);
  }
}

/** What became of the spans at one destination. */
export class DestinationMetrics {
  /** The value of the label `destination`. */
  readonly name: string;
  /** Spans that an earlier process had received and left in this destination's spool. */
  recovered = 0;
  /** Spans that the destination (the collector, the dump) has taken. */
  forwarded = 0;
  readonly dropped: { [reason in DropReason]?: number } = {};
  /** Spans in closed chunks, in memory, in the spool or on their way. */
  heldQueued = 0;
  /** Bytes of the requests that the destination has taken. */
  exportedBytes = 0;
  /** How often sources were paused because the queue was full. */
  backpressurePauses = 0;
  /** How often sources were paused for a destination that takes requests, but more slowly than they send. */
  pacePauses = 0;

  /** Requests that will be tried again. */
  exportRetries = 0;
  /** Requests that failed, tried again or not. */
  exportFailures = 0;
  /** Seconds from a request's start to its answer, whatever the answer. */
  readonly exportDuration: Histogram = new Histogram(DURATION_BOUNDS);
  /** Unix time in milliseconds of the last success, 0 before the first. */
  lastSuccess = 0;
  /** The same as monotonic milliseconds, 0 at the process's start. */
  lastSuccessAt = 0;
  /** How full the queue is, 1 being full: in memory, or with a spool on the disk. */
  deliveryFill = 0;
  /** What the spans held in memory take, waiting or on their way, bytes. */
  queueBytes = 0;
  /** What they may take. */
  queueCapacityBytes = 0;
  /** Chunks waiting or on their way, in memory or in the spool. */
  queueBatches = 0;
  /** What the spool's chunks take on disk, bytes. */
  spoolBytes = 0;
  /** What they may take; 0 without a spool. */
  spoolCapacityBytes = 0;
  spoolBatches = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Counts a request that the destination has just taken: its spans, and its size in bytes. */
  deliver(spans: number, bytes: number): void {
    this.forwarded += spans;
    this.exportedBytes += bytes;
    this.lastSuccess = Date.now();
    this.lastSuccessAt = performance.now();
  }

  drop(reason: DropReason, spans: number): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + spans;
  }

  get droppedTotal(): number {
    return total(this.dropped);
  }
}

/**
 * The process's counters.
 *
 * At each moment received + recovered = forwarded + dropped + invalid + held holds for each destination, where an
 * invalid payload counts as one received. Each of these is counted where it happens and none is worked out from the
 * others, so the equation can fail, and a test can find out: `received` where a receiver reads, just before its spans
 * are handed to delivery, `invalid` there too, `heldOpen` where chunks are built, the rest by the destination.
 */
export class Metrics {
  readonly receivers = new Map<string, ReceiverMetrics>();
  readonly destinations = new Map<string, DestinationMetrics>();
  /** Spans in chunks that are still open, which no destination has yet. */
  heldOpen = 0;

  guestsConnected = 0;
  guestsAccepted = 0;
  readonly disconnected: { [reason in DisconnectReason]?: number } = {};
  /** How often a guest was paused for `--max-spans-per-second`. */
  rateLimitPauses = 0;
  /** How many values of attributes were cut because they were too long. */
  truncatedAttributes = 0;

  /**
   * The counters of a receiver, made if there are none yet. To be called when the receiver is made, so that its series
   * are there from the start.
   *
   * @param encodings that its payloads may have; only the first call for a name needs them.
   */
  receiver(name: string, encodings: readonly string[] = []): ReceiverMetrics {
    let receiver = this.receivers.get(name);
    if (receiver === undefined) this.receivers.set(name, receiver = new ReceiverMetrics(name, encodings));
    return receiver;
  }

  /** The counters of a destination, made if there are none yet. */
  destination(name: string): DestinationMetrics {
    let destination = this.destinations.get(name);
    if (destination === undefined) this.destinations.set(name, destination = new DestinationMetrics(name));
    return destination;
  }

  /** Counts spans that no destination gets. */
  dropEverywhere(reason: DropReason, spans: number): void {
    for (const destination of this.destinations.values()) destination.drop(reason, spans);
  }

  disconnect(reason: DisconnectReason): void {
    this.disconnected[reason] = (this.disconnected[reason] ?? 0) + 1;
  }

  /** Spans, and payloads that were not valid, of all receivers. */
  get received(): number {
    let sum = 0;
    for (const { received } of this.receivers.values()) sum += received;
    return sum;
  }

  get invalidTotal(): number {
    let sum = 0;
    for (const { invalidTotal } of this.receivers.values()) sum += invalidTotal;
    return sum;
  }

  /**
   * Spans that are neither delivered to a destination nor given up there: in an open chunk, in the queue, in the spool
   * or on their way.
   */
  held(destination: DestinationMetrics): number {
    return this.heldOpen + destination.heldQueued;
  }
}

function total(counts: { readonly [key: string]: number | undefined }): number {
  let sum = 0;
  for (const count of Object.values(counts)) sum += count ?? 0;
  return sum;
}
