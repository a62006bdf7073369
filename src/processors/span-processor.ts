import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";

/** Changes the spans of a payload in place. It must neither wait nor throw. */
export type SpanTransform = (spans: EncodedSpans) => void;

/**
 * A processor: a sink that changes spans on their way into another sink, and passes on everything else.
 */
export class SpanProcessor implements SpanSink {
  readonly #sink: SpanSink;
  readonly #transformOf: (source: Source) => SpanTransform | undefined;

  /** @param transformOf what to do to the spans of a source; undefined: nothing. */
  constructor(sink: SpanSink, transformOf: (source: Source) => SpanTransform | undefined) {
    this.#sink = sink;
    this.#transformOf = transformOf;
  }

  open(source: Source): SourceSink {
    const sink = this.#sink.open(source);
    const transform = this.#transformOf(source);
    if (transform === undefined) return sink;
    return {
      accept: (spans) => {
        transform(spans);
        sink.accept(spans);
      },
      settled: () => sink.settled(),
      close: () => sink.close(),
    };
  }

  isPaused(account: string): boolean {
    return this.#sink.isPaused(account);
  }

  readOn(account: string): void {
    this.#sink.readOn(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#sink.subscribe(onChange);
  }

  drain(timeoutMs: number): Promise<number> {
    return this.#sink.drain(timeoutMs);
  }

  abort(): Promise<number> {
    return this.#sink.abort();
  }
}
