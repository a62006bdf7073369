import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { SPAN_TRACE_ID } from "../../otlp/trace-fields.ts";
import { PassThroughSink } from "../../pipeline/pass-through-sink.ts";
import type { SourceSink } from "../../pipeline/sink.ts";
import type { Source } from "../../pipeline/source.ts";
import { type FollowLink, followLinks, joinSpan } from "./join-span.ts";
import type { JoinedSandbox } from "./joined-sandbox.ts";
import { JoinedSandboxes, type JoinedSandboxesOptions } from "./joined-sandboxes.ts";
import { isMarked, unmark } from "./sandbox-trace.ts";
import { SpanHead } from "./span-head.ts";

/**
 * Puts all spans of a sandbox into one trace, whose ID is made from the sandbox's. Spans without a parent get the
 * sandbox's root, which is made when the sandbox ends. Parents are taken by their span ID, because an agent's are right
 * even where its trace IDs are not. A span keeps its own trace ID as the attribute `kata.original_trace_id`, and links
 * into the sandbox follow.
 *
 * Which sandbox a span belongs to is what the host knows of its source. A guest whose sandbox is not known keeps its
 * traces, but cannot use the ID of a sandbox's.
 */
export class JoinTraces extends PassThroughSink {
  readonly sandboxes: JoinedSandboxes;
  readonly #head = new SpanHead();
  #outlive = false;

  constructor(options: JoinedSandboxesOptions) {
    super(options.sink);
    this.sandboxes = new JoinedSandboxes(options);
  }

  override open(source: Source): SourceSink {
    const way = this.next.open(source);
    const sandbox = this.sandboxes.opened(source);
    const join = this.#joining(source, sandbox);
    let isOpen = true;
    return {
      accept: (spans) => {
        join(spans);
        way.accept(spans);
      },
      settled: () => way.settled(),
      close: () => {
        if (isOpen && sandbox !== undefined) this.sandboxes.closed(sandbox);
        isOpen = false;
        way.close();
      },
    };
  }

  /**
   * The process is about to stop. To be called before connections are closed for that.
   *
   * @param outlive whether another process goes on with the guests.
   */
  stopping(outlive: boolean): void {
    this.#outlive ||= outlive;
    this.sandboxes.stopping();
    // Another process may begin before this one has ended.
    if (outlive) this.sandboxes.save();
  }

  override drain(timeoutMs: number): Promise<number> {
    this.sandboxes.stop(this.#outlive);
    return this.next.drain(timeoutMs);
  }

  override abort(): Promise<number> {
    this.sandboxes.stopping();
    this.sandboxes.save();
    return this.next.abort();
  }

  #joining(source: Source, sandbox: JoinedSandbox | undefined): (spans: EncodedSpans) => void {
    switch (source.kind) {
      case "guest": {
        if (sandbox === undefined) return unmarkSpans;
        const follow: FollowLink = (traceId) => sandbox.hasTrace(traceId) ? sandbox.trace.traceId : undefined;
        return (spans) => this.#join(spans, source, () => sandbox, follow);
      }
      case "runtime": {
        const { sandboxes } = this;
        const sandboxOf = (): JoinedSandbox | undefined => sandbox ?? sandboxes.ofRuntimeTrace(this.#head.traceId);
        return (spans) => this.#join(spans, source, sandboxOf, this.#followRuntime);
      }
      case "host":
        return (spans) => {
          for (let span = 0; span < spans.count; span++) followLinks(spans, span, this.#followRuntime);
        };
    }
  }

  /** The host's programs may link to any sandbox. */
  readonly #followRuntime: FollowLink = (traceId) => this.sandboxes.ofRuntimeTrace(traceId)?.trace.traceId;

  /** @param sandboxOf the sandbox of the span whose head was read last. */
  #join(
    spans: EncodedSpans,
    source: Source,
    sandboxOf: () => JoinedSandbox | undefined,
    follow: FollowLink,
  ): void {
    const head = this.#head;
    for (let span = 0; span < spans.count; span++) {
      const { buffer } = spans.writer;
      const [start, end] = contentOf(spans, span);
      head.read(buffer, start, end);
      const sandbox = sandboxOf();
      if (sandbox === undefined) continue;
      sandbox.note(head, source, () => buffer.subarray(spans.resourceStart(span), spans.resourceEnd(span)));
      if (sandbox.isChanged) this.sandboxes.changed();
      if (source.kind === "runtime") this.sandboxes.noteRuntimeTrace(head.traceId, sandbox);
      joinSpan(spans, span, head, sandbox.trace, follow);
    }
  }
}

/** Keeps a guest's spans out of the traces of sandboxes, whichever those are. */
function unmarkSpans(spans: EncodedSpans): void {
  const { buffer } = spans.writer;
  for (let span = 0; span < spans.count; span++) {
    const fields = new ProtobufReader(buffer, ...contentOf(spans, span));
    while (fields.next()) {
      if (fields.tag === SPAN_TRACE_ID && isMarked(buffer, fields.start)) unmark(buffer, fields.start);
    }
  }
}

const OUTER = new ProtobufReader(new Uint8Array(0));

/** Where a span's `Span` message lies in the writer's buffer. */
function contentOf(spans: EncodedSpans, span: number): [start: number, end: number] {
  OUTER.load(spans.writer.buffer, spans.spanStart(span), spans.spanEnd(span));
  OUTER.next();
  return [OUTER.start, OUTER.end];
}
