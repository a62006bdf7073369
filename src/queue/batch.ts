import type { ExportSpan } from "../pipeline/self-trace.ts";

/**
 * What a batch takes in memory beside its request, bytes (some 300 measured on Bun): guests that come and go with one
 * span each make many small batches, which must not take more than the queue may.
 */
export const BATCH_OVERHEAD_BYTES = 512;

/**
 * What a batch in the spool counts for at least, bytes: more than a small one takes on disk, so that their number is
 * bounded too, and with it the memory that knows of them (at most some 40 MB for each GiB of spool).
 */
export const LEAST_SPOOLED_BYTES = 4096;

/** A part of a batch that the collector has not yet answered for. */
export interface BatchPart {
  readonly request: Uint8Array;
  readonly spans: number;
}

/** A closed batch: one encoded `ExportTraceServiceRequest`, on its way from guests to the collector. */
export interface Batch {
  /** Its place among all batches, of this process and of those before it that used the same spool. */
  readonly sequence: number;
  /** Bytes that it takes in memory: the whole request and {@link BATCH_OVERHEAD_BYTES}. */
  readonly size: number;
  /** How many of its spans are neither delivered nor given up. */
  spans: number;
  /** The whole request; absent while only the spool has it. */
  request: Uint8Array | undefined;
  /** What is left to send once it had to be taken apart, the next one last. */
  parts?: BatchPart[];
  /** Whether the spool has it. */
  spooled: boolean;
  /** Delivered or given up: nothing more is done with it. */
  settled: boolean;
  /** Of its export, from its first request on; absent where there is no self-tracing. */
  trace?: ExportSpan | undefined;
}

/** Batches that wait, oldest first. */
export class WaitingBatches {
  #batches: (Batch | undefined)[] = [];
  /** Where the oldest is; what lies before has been taken. */
  #head = 0;

  get length(): number {
    return this.#batches.length - this.#head;
  }

  [Symbol.iterator](): Iterator<Batch> {
    return (this.#batches.slice(this.#head) as Batch[]).values();
  }

  /** The oldest, which stays. */
  first(): Batch | undefined {
    return this.#batches[this.#head];
  }

  /** Adds a batch that is younger than all. */
  push(batch: Batch): void {
    this.#batches.push(batch);
  }

  /** Takes the oldest. */
  shift(): Batch | undefined {
    const batch = this.#batches[this.#head];
    if (batch === undefined) return undefined;
    this.#batches[this.#head++] = undefined;
    // Half of the array is gone before it is copied, so that each batch is copied once on average.
    if (this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
    return batch;
  }

  /** Takes out a batch, wherever it is. */
  remove(batch: Batch): void {
    let [low, high] = [this.#head, this.#batches.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#batches[middle] as Batch).sequence < batch.sequence) low = middle + 1;
      else high = middle;
    }
    if (this.#batches[low] !== batch) return;
    if (low === this.#head) this.shift();
    else this.#batches.splice(low, 1);
  }

  /** Puts back a batch that was taken, at its place by age: near the front, since those taken were the oldest. */
  putBack(batch: Batch): void {
    let at = this.#head;
    while (at < this.#batches.length && (this.#batches[at] as Batch).sequence < batch.sequence) {
      at++;
    }
    this.#batches.splice(at, 0, batch);
  }
}
