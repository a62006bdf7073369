import type { SourceSink, SpanSink } from "../../../src/pipeline/sink.ts";
import type { Source } from "../../../src/pipeline/source.ts";
import { Subscribers } from "../../../src/pipeline/subscribers.ts";
import type { SpanRecord } from "../../../src/otlp/json-record.ts";
import { recordsOf } from "../../otlp/support/encoded.ts";

/** What one source has given. */
export interface RecordedSource {
  readonly source: Source;
  readonly spans: SpanRecord[];
  isClosed: boolean;
}

/** A sink that keeps sources and their spans, and is paused and settled as a test says. */
export class RecordingSink implements SpanSink {
  readonly sources: RecordedSource[] = [];
  /** Accounts that are paused. */
  readonly paused = new Set<string>();
  /** Called within each `accept`, at its end. */
  onAccept: () => void = () => {};
  /** What `settled` waits for. */
  settling: Promise<void> = Promise.resolve();
  readonly #subscribers = new Subscribers<[account?: string]>();

  /** All spans, in the order in which they came. */
  readonly spans: SpanRecord[] = [];

  open(source: Source): SourceSink {
    const recorded: RecordedSource = { source, spans: [], isClosed: false };
    this.sources.push(recorded);
    return {
      accept: (spans) => {
        if (recorded.isClosed) throw new Error(`spans of ${source.name} after its end`);
        const records = recordsOf(spans);
        recorded.spans.push(...records);
        this.spans.push(...records);
        this.onAccept();
      },
      settled: () => this.settling,
      close: () => {
        recorded.isClosed = true;
      },
    };
  }

  /** The names of the spans of each account. */
  namesByAccount(): Record<string, string[]> {
    const names: Record<string, string[]> = {};
    for (const { source, spans } of this.sources) {
      (names[source.account] ??= []).push(...spans.map(({ name }) => name));
    }
    return names;
  }

  isPaused(account: string): boolean {
    return this.paused.has(account);
  }

  readOn(): void {}

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#subscribers.add(onChange);
  }

  drain(): Promise<number> {
    return Promise.resolve(0);
  }

  abort(): Promise<number> {
    return Promise.resolve(0);
  }
}
