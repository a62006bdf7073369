import { performance } from "node:perf_hooks";
import type { Logger } from "../base/log.ts";
import type { DeadLetters } from "../pipeline/dead-letters.ts";
import type { Chunk, ChunkJournal, Destination } from "../pipeline/destination.ts";
import type { Exporter } from "../pipeline/exporter.ts";
import type { DestinationMetrics } from "../pipeline/metrics.ts";
import type { SelfTrace } from "../pipeline/self-trace.ts";
import type { QueueSettings } from "../pipeline/settings.ts";
import { Subscribers } from "../pipeline/subscribers.ts";
import type { RetrySettings } from "./backoff.ts";
import { FairQueue } from "./fair-queue.ts";
import type { RequestLimits } from "./rounds.ts";
import { Sender } from "./sender.ts";
import type { SpoolStore } from "./spool-store.ts";

/** What a collector's destination needs of the forwarder around it. */
export interface CollectorOptions {
  /** Closed here. */
  readonly exporter: Exporter;
  readonly limits: RequestLimits;
  readonly queue: QueueSettings;
  /** Closed here. Absent: what is not delivered when the process ends is lost. */
  readonly spool?: SpoolStore | undefined;
  /** Takes requests that are given up: see `DeadLetterFile.writer`. */
  readonly deadLetter?: DeadLetters | undefined;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** Default: `DEFAULT_RETRY`. */
  readonly retry?: RetrySettings | undefined;
  /** Absent: exports have no spans of their own. */
  readonly trace?: SelfTrace | undefined;
}

/**
 * A collector: chunks wait in a bounded queue that is fair to accounts (and in a spool), and are sent until the
 * collector has answered for them.
 *
 * Delivery is at least once. A request whose answer was lost is sent again, and so is one that the spool still had when
 * the process was killed, so a span can arrive twice; its trace id and span id are then the same both times.
 */
export class CollectorDestination implements Destination {
  readonly name: string;
  readonly settled: (() => Promise<void>) | undefined;
  readonly journal: ChunkJournal | undefined;
  readonly #options: CollectorOptions;
  readonly #queue: FairQueue;
  readonly #sender: Sender;
  readonly #subscribers = new Subscribers<[account?: string]>();
  #ended: Promise<number> | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
    const { queue, spool, metrics, log } = options;
    this.name = metrics.name;
    this.#queue = new FairQueue({
      settings: queue,
      spool,
      metrics,
      log,
      onPausedChange: (account) => this.#subscribers.notify(account),
      onReady: () => this.#sender.schedulePump(),
    });
    this.journal = spool?.journal;
    this.settled = spool && (() => this.#queue.settled());
    this.#sender = new Sender(this.#queue, options);
    this.#sender.schedulePump();
  }

  // Only the trace store shows who is connected.
  opened(): void {}
  closed(): void {}

  push(chunk: Chunk): void {
    if (this.#ended === undefined) return this.#queue.push(chunk);
    this.#options.metrics.drop("shutdown", chunk.spans);
    chunk.release();
  }

  get chunkBytes(): number {
    return this.#queue.chunkBytes;
  }

  isPaused(account: string): boolean {
    return this.#queue.isPaused(account);
  }

  readOn(account: string): void {
    this.#queue.readOn(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#subscribers.add(onChange);
  }

  /** Counts the spans that are held, one chunk at a time: what `heldQueued` must be. */
  countSpans(): number {
    return this.#queue.countSpans();
  }

  async drain(timeoutMs: number): Promise<number> {
    if (this.#ended !== undefined) return this.#ended;
    const deadline = performance.now() + timeoutMs;
    // What the spool has is safe, so the stop need not wait until it is delivered.
    void this.#queue.settled();
    await this.#sender.finish(deadline);
    return this.abort();
  }

  abort(): Promise<number> {
    return this.#ended ??= this.#end();
  }

  async #end(): Promise<number> {
    const { log } = this.#options;
    const closed = this.#sender.close();
    const lost = await this.#queue.close();
    await closed;
    this.#sender.closeTraces();
    const spooled = this.#queue.countSpans();
    if (lost > 0) log.error("spans are lost: the collector has not taken them in time", { spans: lost });
    if (spooled > 0) log.info("spans stay in the spool until the next start", { spans: spooled });
    return lost;
  }
}
