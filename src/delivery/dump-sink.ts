import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import type { Metrics } from "../metrics.ts";
import type { GuestSink, SpanSink } from "./sink.ts";

/** Makes the readable record of one span: what `--dump-only` prints for it, newline included. */
export type SpanFormatter = (
  resourceHeader: Uint8Array,
  scopeHeader: Uint8Array,
  span: Uint8Array,
) => string;

/** What the dump needs of the rooms around it. */
export interface DumpOptions {
  readonly format: SpanFormatter;
  /** Lays the host's attributes over a guest's resource (see `otlp/resource.ts`). */
  readonly overlay: (
    resource: Uint8Array,
    hostAttributes: ReadonlyMap<string, string | number>,
  ) => Uint8Array;
  /** Writes text completely before it returns. */
  readonly write: (text: string) => void;
  readonly metrics: Metrics;
}

/** `--dump-only`: shows each span as soon as it is read, and needs no collector. */
export class DumpSink implements SpanSink {
  readonly full = false;
  onChange: () => void = () => {};
  readonly #options: DumpOptions;

  constructor(options: DumpOptions) {
    this.#options = options;
  }

  open(hostAttributes: ReadonlyMap<string, string | number>): GuestSink {
    return { accept: (spans) => this.#show(spans, hostAttributes), close: () => {} };
  }

  drain(): Promise<number> {
    return Promise.resolve(0);
  }

  abort(): Promise<number> {
    return Promise.resolve(0);
  }

  #show(spans: EncodedSpans, hostAttributes: ReadonlyMap<string, string | number>): void {
    const { format, overlay, write, metrics } = this.#options;
    const { buffer } = spans.writer;
    let text = "";
    for (let i = 0; i < spans.count; i++) {
      const resource = buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i));
      text += format(
        overlay(resource, hostAttributes),
        buffer.subarray(spans.scopeStart(i), spans.scopeEnd(i)),
        buffer.subarray(spans.spanStart(i), spans.spanEnd(i)),
      );
    }
    write(text);
    metrics.forwarded += spans.count;
  }
}
