import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { type SpanRecord, spanToRecord } from "../otlp/json-record.ts";
import { type HostAttributes, hostAttributes, ResourceOverlay } from "../otlp/resource.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { GuestSink, SpanSink } from "../pipeline/sink.ts";

/** Where the dump's text goes. */
export interface DumpWriter {
  /** Takes a text; never waits for whoever reads it. */
  write(text: string): void;
  /** Called each time that the reader has all there was; may be called within `write`. Set by the dump. */
  onTaken: () => void;
}

/** What the dump needs of the process around it. */
export interface DumpOptions {
  /** Makes the record of one span, its newline included. */
  readonly format: (record: SpanRecord) => string;
  readonly output: DumpWriter;
  readonly traceName: string;
  /** What the host adds to each resource beside the guest's identity. */
  readonly resourceAttributes: ReadonlyMap<string, string>;
  readonly metrics: Metrics;
}

/**
 * `--dump-only`: shows each span as soon as it is read, and needs no collector. While the dump's reader is behind,
 * guests are not read.
 */
export class DumpSink implements SpanSink {
  onChange: () => void = () => {};
  readonly #options: DumpOptions;
  /** Spans whose text the reader may not have yet. */
  #held = 0;
  #full = false;
  #finished: () => void = () => {};

  constructor(options: DumpOptions) {
    this.#options = options;
    options.output.onTaken = () => this.#taken();
  }

  get full(): boolean {
    return this.#full;
  }
  get paused(): boolean {
    return this.#full;
  }

  open(identity: HostAttributes): GuestSink {
    const { traceName, resourceAttributes } = this.#options;
    const overlay = new ResourceOverlay(hostAttributes(traceName, resourceAttributes, identity));
    return { accept: (spans) => this.#show(spans, overlay), close: () => {} };
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
    if (lost > 0) this.#options.metrics.drop("shutdown", lost);
    this.#finished();
    return Promise.resolve(lost);
  }

  #show(spans: EncodedSpans, overlay: ResourceOverlay): void {
    const { format, output, metrics } = this.#options;
    const { buffer } = spans.writer;
    let text = "";
    for (let i = 0; i < spans.count; i++) {
      const resource = buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i));
      const record = spanToRecord(
        overlay.apply(resource),
        buffer.subarray(spans.scopeStart(i), spans.scopeEnd(i)),
        buffer.subarray(spans.spanStart(i), spans.spanEnd(i)),
      );
      text += format(record);
    }
    this.#held += spans.count;
    metrics.heldQueued += spans.count;
    output.write(text);
    this.#setFull(this.#held > 0);
  }

  #taken(): void {
    this.#options.metrics.forwarded += this.#held;
    this.#release();
    this.#setFull(false);
    this.#finished();
  }

  #release(): void {
    this.#options.metrics.heldQueued -= this.#held;
    this.#held = 0;
  }

  #setFull(full: boolean): void {
    if (full === this.#full) return;
    this.#full = full;
    if (full) this.#options.metrics.backpressurePauses++;
    this.onChange();
  }
}
