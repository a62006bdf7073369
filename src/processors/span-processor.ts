import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { PassThroughSink } from "../pipeline/pass-through-sink.ts";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";

/** Changes the spans of a payload in place. It must neither wait nor throw. */
export type SpanTransform = (spans: EncodedSpans) => void;

/**
 * A processor: a sink that changes spans on their way into another sink, and passes on everything else.
 */
export class SpanProcessor extends PassThroughSink {
  readonly #transformOf: (source: Source) => SpanTransform | undefined;

  /** @param transformOf what to do to the spans of a source; undefined: nothing. */
  constructor(sink: SpanSink, transformOf: (source: Source) => SpanTransform | undefined) {
    super(sink);
    this.#transformOf = transformOf;
  }

  override open(source: Source): SourceSink {
    const sink = this.next.open(source);
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
}
