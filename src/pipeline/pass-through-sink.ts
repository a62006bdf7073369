import type { SourceSink, SpanSink } from "./sink.ts";
import type { Source } from "./source.ts";

/** A sink before another one, which does something to what is opened through it, and hands everything else on. */
export abstract class PassThroughSink implements SpanSink {
  protected readonly next: SpanSink;

  constructor(next: SpanSink) {
    this.next = next;
  }

  abstract open(source: Source): SourceSink;

  isPaused(account: string): boolean {
    return this.next.isPaused(account);
  }

  readOn(account: string): void {
    this.next.readOn(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.next.subscribe(onChange);
  }

  drain(timeoutMs: number): Promise<number> {
    return this.next.drain(timeoutMs);
  }

  abort(): Promise<number> {
    return this.next.abort();
  }
}
