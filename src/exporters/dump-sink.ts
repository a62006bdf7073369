import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { partsToRecords, type SpanRecord } from "../otlp/json-record.ts";
import type { SpanPart } from "../otlp/request-builder.ts";
import type { ResourceOverlay } from "../otlp/resource.ts";
import type { DestinationMetrics, Metrics } from "../pipeline/metrics.ts";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";
import { type HostResource, overlayFor } from "../pipeline/source-overlay.ts";
import { Subscribers } from "../pipeline/subscribers.ts";

/** Where the dump's text goes. */
export interface DumpWriter {
  /** Takes a text; never waits for whoever reads it. */
  write(text: string): void;
  /** Called each time that the reader has all there was; may be called within `write`. Set by the dump. */
  onTaken: () => void;
}

/**
 * The longest text that waits for a reader, UTF-16 units. Sources that can be paused stop long before; what others send
 * beyond this is dropped, since the memory is not theirs to fill.
 */
export const MOST_HELD_CHARACTERS = 16 * 1024 * 1024;

/** What the dump needs of the process around it. */
export interface DumpOptions extends HostResource {
  /** Makes the record of one span, its newline included. */
  readonly format: (record: SpanRecord) => string;
  readonly output: DumpWriter;
  readonly metrics: Metrics;
}

/**
 * `--dump-only`: shows each span as soon as it is read, and needs no collector. While the dump's reader is behind,
 * guests are not read.
 */
export class DumpSink implements SpanSink {
  readonly #options: DumpOptions;
  readonly #metrics: DestinationMetrics;
  readonly #subscribers = new Subscribers<[account?: string]>();
  /** Spans whose text the reader may not have yet. */
  #held = 0;
  /** How long that text is, UTF-16 units. */
  #heldCharacters = 0;
  #full = false;
  readonly #runtimes = new Set<string>();
  /** Accounts that are read although the reader is behind. */
  readonly #readOn = new Set<string>();
  #finished: () => void = () => {};

  constructor(options: DumpOptions) {
    this.#options = options;
    this.#metrics = options.metrics.destination("dump");
    options.output.onTaken = () => this.#taken();
  }

  /**
   * All sources wait together, because the text is written in the order in which spans come. Runtimes never wait: see
   * {@link SpanSink}.
   */
  isPaused(account: string): boolean {
    return this.#full && !this.#runtimes.has(account);
  }

  /** What is read on although the reader is behind is shown while there is room for it, and dropped from then on. */
  readOn(account: string): void {
    if (this.#full) this.#readOn.add(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#subscribers.add(onChange);
  }

  open(source: Source): SourceSink {
    const overlay = overlayFor(source, this.#options);
    const { account, kind } = source;
    if (kind === "runtime") this.#runtimes.add(account);
    return {
      accept: (spans) => {
        if (this.#heldCharacters < MOST_HELD_CHARACTERS) this.#show(spans, overlay);
        else this.#metrics.drop(this.#readOn.has(account) ? "paused-too-long" : "queue-full", spans.count);
      },
      settled: () => Promise.resolve(),
      close: () => {},
    };
  }

  async drain(timeoutMs: number): Promise<number> {
    if (this.#held > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#finished = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.abort();
  }

  abort(): Promise<number> {
    const lost = this.#held;
    this.#release();
    if (lost > 0) this.#metrics.drop("shutdown", lost);
    this.#finished();
    return Promise.resolve(lost);
  }

  #show(spans: EncodedSpans, overlay: ResourceOverlay): void {
    const { format, output } = this.#options;
    let text = "";
    for (const record of partsToRecords(partsOf(spans, overlay))) text += format(record);
    this.#heldCharacters += text.length;
    this.#held += spans.count;
    this.#metrics.heldQueued += spans.count;
    output.write(text);
    this.#setFull(this.#held > 0);
  }

  #taken(): void {
    this.#metrics.forwarded += this.#held;
    this.#release();
    this.#setFull(false);
    this.#finished();
  }

  #release(): void {
    this.#metrics.heldQueued -= this.#held;
    this.#held = this.#heldCharacters = 0;
  }

  #setFull(full: boolean): void {
    if (full === this.#full) return;
    this.#full = full;
    if (!full) this.#readOn.clear();
    if (full) this.#metrics.backpressurePauses++;
    this.#subscribers.notify();
  }
}

/** A payload's spans with the host's attributes. Those next to each other that have one resource share its bytes. */
function* partsOf(spans: EncodedSpans, overlay: ResourceOverlay): Generator<SpanPart> {
  const { buffer } = spans.writer;
  let resource: Uint8Array | undefined;
  let scope: Uint8Array | undefined;
  for (let i = 0; i < spans.count; i++) {
    const isSameResource = i > 0 && spans.resourceStart(i) === spans.resourceStart(i - 1) &&
      spans.resourceEnd(i) === spans.resourceEnd(i - 1);
    const isSameScope = i > 0 && spans.scopeStart(i) === spans.scopeStart(i - 1) &&
      spans.scopeEnd(i) === spans.scopeEnd(i - 1);
    if (resource === undefined || !isSameResource) {
      resource = overlay.apply(buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i)));
    }
    if (scope === undefined || !isSameScope) scope = buffer.subarray(spans.scopeStart(i), spans.scopeEnd(i));
    yield { resource, scope, span: buffer.subarray(spans.spanStart(i), spans.spanEnd(i)) };
  }
}
