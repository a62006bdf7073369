import { performance } from "node:perf_hooks";
import type { Chunk, Destination } from "./destination.ts";
import type { DestinationMetrics, DropReason } from "./metrics.ts";
import type { Source } from "./source.ts";

/** How often a stop looks whether everything is written, milliseconds. */
const DRAIN_POLL_MS = 5;

/**
 * A destination that never pauses anybody: when it is slow or away it drops its oldest chunks, and counts them. It is
 * therefore for what is kept besides the delivery to a collector.
 */
export abstract class LossyDestination implements Destination {
  abstract readonly name: string;
  protected readonly metrics: DestinationMetrics;
  readonly #capacityBytes: number;

  /** @param capacityBytes what may wait. */
  constructor(metrics: DestinationMetrics, capacityBytes: number) {
    this.metrics = metrics;
    this.#capacityBytes = capacityBytes;
    metrics.queueCapacityBytes = capacityBytes;
  }

  opened(_source: Source): void {}
  closed(_source: Source): void {}
  abstract push(chunk: Chunk): void;

  isPaused(): boolean {
    return false;
  }

  readOn(): void {}

  subscribe(): () => void {
    return () => {};
  }

  abstract drain(timeoutMs: number): Promise<number>;
  abstract abort(): Promise<number>;

  /** Gives up a chunk that is counted as held. */
  protected drop(chunk: Chunk, reason: DropReason): void {
    this.metrics.heldQueued -= chunk.spans;
    this.metrics.drop(reason, chunk.spans);
    chunk.release();
  }

  /** Shows in the metrics how much waits. */
  protected showFill(bytes: number, batches: number): void {
    this.metrics.queueBytes = bytes;
    this.metrics.queueBatches = batches;
    this.metrics.deliveryFill = bytes / this.#capacityBytes;
  }

  /** Resolves when everything is written, or at a deadline (`performance.now()`). */
  protected async untilWritten(isWritten: () => boolean, deadline: number): Promise<void> {
    while (!isWritten() && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
  }
}
