import { Chunk, type Destination, type JournalEntry } from "../pipeline/destination.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { BatchSettings } from "../pipeline/settings.ts";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";
import { type HostResource, overlayFor } from "../pipeline/source-overlay.ts";
import { Batcher } from "./batcher.ts";

/** What delivery needs of the forwarder around it. */
export interface DeliveryOptions extends HostResource {
  readonly batch: BatchSettings;
  readonly metrics: Metrics;
  /** Where all spans go, each to every one of them; closed here. */
  readonly destinations: readonly Destination[];
}

/**
 * Everything between the receivers and the destinations: spans are collected in chunks, and each chunk goes to every
 * destination, which has a queue of its own. The destinations share the chunk's bytes; the last one gives them back.
 */
export class Delivery implements SpanSink {
  readonly #options: DeliveryOptions;
  readonly #batcher: Batcher;
  /** The end, once it has begun: how many spans it loses. */
  #ended: Promise<number> | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    const { batch, metrics, destinations } = options;
    const journal = destinations.find((destination) => destination.journal !== undefined)?.journal;
    this.#batcher = new Batcher(
      batch,
      metrics,
      (source, bytes, spans, entry) => this.#fanOut(source, bytes, spans, entry),
      journal,
      () => this.#chunkBytes(),
    );
  }

  open(source: Source): SourceSink {
    const { destinations } = this.#options;
    const batcher = this.#batcher.open(source, overlayFor(source, this.#options));
    for (const destination of destinations) destination.opened(source);
    return {
      accept: (spans) => batcher.accept(spans),
      settled: async () => {
        const lasting = destinations.flatMap(({ settled }) => settled ?? []);
        if (lasting.length === 0) return;
        batcher.flush();
        await Promise.all(lasting.map((settled) => settled()));
      },
      close: () => {
        batcher.close(() => {
          for (const destination of destinations) destination.closed(source);
        });
      },
    };
  }

  /** A killed process does not lose what was accepted before this, if there is a spool. */
  writeJournal(): void {
    this.#batcher.writeJournal();
  }

  isPaused(account: string): boolean {
    return this.#options.destinations.some((destination) => destination.isPaused(account));
  }

  readOn(account: string): void {
    for (const destination of this.#options.destinations) destination.readOn(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    const ends = this.#options.destinations.map((destination) => destination.subscribe(onChange));
    return () => ends.forEach((end) => end());
  }

  /** Counts the spans in open chunks, one chunk at a time: what `Metrics.heldOpen` must be. */
  countOpen(): number {
    return this.#batcher.countSpans();
  }

  drain(timeoutMs: number): Promise<number> {
    return this.#end((destination) => destination.drain(timeoutMs));
  }

  /** Ends also a {@link drain} that is under way. */
  async abort(): Promise<number> {
    this.#batcher.flush();
    const lost = await this.#sum((destination) => destination.abort());
    this.#ended ??= Promise.resolve(lost);
    return lost;
  }

  #end(end: (destination: Destination) => Promise<number>): Promise<number> {
    if (this.#ended === undefined) {
      this.#batcher.flush();
      this.#ended = this.#sum(end);
    }
    return this.#ended;
  }

  /** Spans that are lost at one destination or more count once for each, as they do in its counters. */
  async #sum(end: (destination: Destination) => Promise<number>): Promise<number> {
    const lost = await Promise.all(this.#options.destinations.map(end));
    return lost.reduce((sum, spans) => sum + spans, 0);
  }

  /** From how many bytes on a chunk is closed at the moment, for any of the destinations. */
  #chunkBytes(): number {
    let least = Infinity;
    for (const { chunkBytes = Infinity } of this.#options.destinations) least = Math.min(least, chunkBytes);
    return least;
  }

  #fanOut(source: Source, bytes: Uint8Array, spans: number, entry: JournalEntry | undefined): void {
    const { destinations } = this.#options;
    const chunk = new Chunk(source, bytes, spans, destinations.length, entry);
    for (const destination of destinations) destination.push(chunk);
  }
}
