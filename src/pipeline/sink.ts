import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import type { Source } from "./source.ts";

/** One source's way into delivery (or the dump). */
export interface SourceSink {
  /**
   * Takes all spans of a payload, and copies what it keeps, because `spans` is reused. Also while the account is
   * paused: a read that was under way when the pause began must not lose anything.
   */
  accept(spans: EncodedSpans): void;
  /**
   * Resolves once everything accepted so far is as safe as it gets: written to the spool, or given up because the spool
   * cannot be written (which is logged), or already answered for by the collector. Without a spool it resolves at once.
   * Never rejects.
   */
  settled(): Promise<void>;
  /** The source has gone, so what it sent no longer waits for a batch to fill. */
  close(): void;
}

/** Everything behind the receivers: takes spans, and accounts for each of them. */
export interface SpanSink {
  /** Opens a way in for a source. */
  open(source: Source): SourceSink;
  /**
   * Whether an account's sources must not be read, or must be refused, at the moment. Always false for runtimes, which
   * lose their own oldest spans instead. An account that holds less than its fair share is never paused.
   */
  isPaused(account: string): boolean;
  /**
   * Reads on although the account is paused, because its sources cannot wait any longer. Until the pause ends, which
   * `isPaused` still says, spans that there is no room for displace the oldest ones of the same account, which are
   * counted as dropped for `paused-too-long`. To be called once a pause; does nothing where the account is not paused.
   */
  readOn(account: string): void;
  /**
   * Calls `onChange` whenever {@link isPaused} has changed for an account, or for any number of accounts where it is
   * called without one. Returns what ends the subscription.
   */
  subscribe(onChange: (account?: string) => void): () => void;
  /**
   * Closes all batches and delivers what it can within `timeoutMs`; resolves with how many spans were lost
   * (spooled spans are not).
   */
  drain(timeoutMs: number): Promise<number>;
  /** Ends at once. Resolves with how many spans were lost. */
  abort(): Promise<number>;
}
