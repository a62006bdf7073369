import type { InvalidReason } from "./wire/wire-error.ts";

/** Why a span that was read is not delivered. */
export type DropReason = "queue-full" | "rejected" | "rate-limited" | "shutdown";

/**
 * The process's counters: plain numbers, so that counting costs nothing on the span path.
 *
 * At each moment received = forwarded + dropped + invalid + held, where an invalid payload counts as one received.
 */
export class Metrics {
  /** Spans read from guests, and payloads that were none. */
  received = 0;
  /** Spans that the collector (or the dump) has taken. */
  forwarded = 0;
  readonly dropped: { [reason in DropReason]?: number } = {};
  readonly invalid: { [reason in InvalidReason]?: number } = {};
  receivedBytes = 0;
  exportedBytes = 0;
  guestsConnected = 0;
  guestsAccepted = 0;
  exportRetries = 0;
  exportFailures = 0;
  /** Unix time in milliseconds of the last success, 0 before the first. */
  lastSuccess = 0;
  /** Payloads by encoding. */
  readonly payloads: { [encoding: string]: number } = {};

  drop(reason: DropReason, spans: number): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + spans;
  }

  invalidate(reason: InvalidReason): void {
    this.received++;
    this.invalid[reason] = (this.invalid[reason] ?? 0) + 1;
  }

  get droppedTotal(): number {
    return total(this.dropped);
  }

  get invalidTotal(): number {
    return total(this.invalid);
  }

  /** Spans that are neither delivered nor given up: in a batch, in the queue, in the spool or on their way. */
  get held(): number {
    return this.received - this.forwarded - this.droppedTotal - this.invalidTotal;
  }
}

function total(counts: { readonly [key: string]: number | undefined }): number {
  let sum = 0;
  for (const count of Object.values(counts)) sum += count ?? 0;
  return sum;
}
