import type { InvalidReason } from "../decode/wire-error.ts";

/**
 * Why a span that was read is not delivered.
 *
 * - `queue-full`: the oldest made room for the newest (`--when-full drop-oldest`);
 * - `rejected`: the collector refused it for good;
 * - `shutdown`: still waiting when the process ended, and no spool to stay in;
 * - `spool-corrupt`: what the spool gave back is not what was put in.
 */
export type DropReason = "queue-full" | "rejected" | "shutdown" | "spool-corrupt";

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
 * The process's counters: plain numbers, so that counting costs nothing on the span path.
 *
 * At each moment received = forwarded + dropped + invalid + held, where an invalid payload counts as one received.
 * Each of the five is counted where it happens and none is worked out from the others, so the equation can fail, and
 * a test can find out: `received` where a guest is read, just before its spans are handed to delivery, `invalid` there
 * too, the rest by delivery.
 */
export class Metrics {
  /** Spans read from guests, payloads that were none, and `recovered`. */
  received = 0;
  /** Of those received, how many an earlier process had received and left in the spool. */
  recovered = 0;
  /** Spans that the collector (or the dump) has taken. */
  forwarded = 0;
  readonly dropped: { [reason in DropReason]?: number } = {};
  readonly invalid: { [reason in InvalidReason]?: number } = {};
  /** Spans in the batch that is still open. */
  heldOpen = 0;
  /** Spans in closed batches, in memory, in the spool or on their way. */
  heldQueued = 0;

  receivedBytes = 0;
  /** Bytes of the requests that the collector has taken. */
  exportedBytes = 0;
  guestsConnected = 0;
  guestsAccepted = 0;
  readonly disconnected: { [reason in DisconnectReason]?: number } = {};
  /** How often a guest was paused for `--max-spans-per-second`. */
  rateLimitPauses = 0;
  /** How often all guests were paused because delivery was full. */
  backpressurePauses = 0;
  /** How often all guests were paused for a collector that takes requests, but more slowly than guests send. */
  pacePauses = 0;
  /** Payloads by encoding. */
  readonly payloads: { [encoding: string]: number } = {};

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
  /** How full delivery is, 1 being full: of the queue in memory, or with a spool of the disk. */
  deliveryFill = 0;
  /** What the requests held in memory take, waiting or on their way, bytes. */
  queueBytes = 0;
  /** Batches waiting or on their way, in memory or in the spool. */
  queueBatches = 0;
  /** What the spool's batches take on disk, bytes. */
  spoolBytes = 0;
  spoolBatches = 0;

  drop(reason: DropReason, spans: number): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + spans;
  }

  invalidate(reason: InvalidReason): void {
    this.received++;
    this.invalid[reason] = (this.invalid[reason] ?? 0) + 1;
  }

  disconnect(reason: DisconnectReason): void {
    this.disconnected[reason] = (this.disconnected[reason] ?? 0) + 1;
  }

  get droppedTotal(): number {
    return total(this.dropped);
  }

  get invalidTotal(): number {
    return total(this.invalid);
  }

  /** Spans that are neither delivered nor given up: in a batch, in the queue, in the spool or on their way. */
  get held(): number {
    return this.heldOpen + this.heldQueued;
  }
}

function total(counts: { readonly [key: string]: number | undefined }): number {
  let sum = 0;
  for (const count of Object.values(counts)) sum += count ?? 0;
  return sum;
}
