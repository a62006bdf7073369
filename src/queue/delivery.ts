import { performance } from "node:perf_hooks";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { Exporter } from "../pipeline/exporter.ts";
import type { SelfTrace } from "../pipeline/self-trace.ts";
import type { BatchSettings, QueueSettings } from "../pipeline/settings.ts";
import type { RetrySettings } from "./backoff.ts";
import { Batcher } from "./batcher.ts";
import { BatchQueue } from "./queue.ts";
import { Sender } from "./sender.ts";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";
import { type HostResource, overlayFor } from "../pipeline/source-overlay.ts";
import { Subscribers } from "../pipeline/subscribers.ts";
import type { Spool } from "./spool/spool.ts";

/** What delivery needs of the rooms around it. */
export interface DeliveryOptions extends HostResource {
  readonly exporter: Exporter;
  readonly batch: BatchSettings;
  readonly queue: QueueSettings;
  /** Opened by `Spool.open`; closed here. */
  readonly spool?: Spool | undefined;
  /** Takes requests that are given up: see `DeadLetterFile.writer`. */
  readonly deadLetter?: { write(request: Uint8Array): void } | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Default: `DEFAULT_RETRY`. */
  readonly retry?: RetrySettings | undefined;
  /** Absent: exports have no spans of their own. */
  readonly trace?: SelfTrace | undefined;
}

/**
 * Everything between guests and the collector: spans are collected in batches, batches wait in a bounded queue (and a
 * spool), and are sent until the collector has answered for them.
 *
 * Delivery is at least once. A request whose answer was lost is sent again, and so is one that the spool still had when
 * the process was killed, so a span can arrive twice; its trace id and span id are then the same both times.
 */
export class Delivery implements SpanSink {
  readonly #subscribers = new Subscribers<[account?: string]>();
  readonly #options: DeliveryOptions;
  readonly #batcher: Batcher;
  readonly #queue: BatchQueue;
  readonly #sender: Sender;
  /** Spans lost at the end; set when it has come. */
  #lost: number | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    const { log, spool, exporter, deadLetter, retry, trace } = options;
    const metrics = options.metrics.destination("collector");
    this.#queue = new BatchQueue({
      settings: options.queue,
      spool,
      metrics,
      log,
      onPausedChange: () => this.#subscribers.notify(),
      onReady: () => this.#sender.pump(),
    });
    this.#sender = new Sender(this.#queue, { exporter, metrics, log, deadLetter, retry, trace });
    this.#batcher = new Batcher(
      options.batch,
      options.metrics,
      (request, spans) => {
        if (this.#lost === undefined) this.#queue.push(request, spans);
        else metrics.drop("shutdown", spans);
      },
    );
    this.#sender.pump();
  }

  isPaused(_account: string): boolean {
    return this.#queue.paused;
  }

  readOn(): void {}

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#subscribers.add(onChange);
  }

  open(source: Source): SourceSink {
    const batcher = this.#batcher.open(overlayFor(source, this.#options));
    return {
      accept: (spans) => batcher.accept(spans),
      settled: () => {
        if (this.#options.spool !== undefined) {
          this.#batcher.flush();
          this.#queue.commit();
        }
        return Promise.resolve();
      },
      close: () => batcher.close(),
    };
  }

  /** Counts the spans that are held, one batch at a time: what `Metrics.held` must say. */
  countHeld(): number {
    return this.#batcher.builder.spans + this.#queue.countSpans();
  }

  async drain(timeoutMs: number): Promise<number> {
    if (this.#lost !== undefined) return this.#lost;
    const deadline = performance.now() + timeoutMs;
    this.#batcher.flush();
    this.#queue.commit();
    await this.#sender.finish(deadline);
    return this.#end();
  }

  abort(): Promise<number> {
    return Promise.resolve(this.#end());
  }

  #end(): number {
    if (this.#lost !== undefined) return this.#lost;
    const { log } = this.#options;
    this.#batcher.flush();
    this.#sender.close();
    this.#lost = this.#queue.close();
    const spooled = this.#queue.countSpans();
    if (this.#lost > 0) {
      log.error("spans are lost: the collector has not taken them in time", { spans: this.#lost });
    }
    if (spooled > 0) log.info("spans stay in the spool until the next start", { spans: spooled });
    return this.#lost;
  }
}
