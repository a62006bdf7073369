import type { EncodedSpans } from "../otlp/encoded-spans.ts";

/** One guest's way into delivery (or the dump). */
export interface GuestSink {
  /** Takes all spans of a payload; copies what it keeps, since `spans` is reused. */
  accept(spans: EncodedSpans): void;
  /** The guest is gone: what it sent waits for no timer any more. */
  close(): void;
}

/** Everything behind the wire: takes spans, answers for them. */
export interface SpanSink {
  /** Opens a way in for a guest. `identity` is what says who it is (see `GuestIdentity.attributes`): it is laid over its resources. */
  open(identity: ReadonlyMap<string, string | number>): GuestSink;
  /** True while guests must not be read, be it only for the collector to keep up; `onChange` tells. */
  readonly paused: boolean;
  /** True while nothing more can be held. */
  readonly full: boolean;
  /** Called each time `paused` changes. Set by the forwarder before the first guest. */
  onChange: () => void;
  /**
   * Closes all batches and delivers what it can within `timeoutMs`; resolves with how many spans were lost
   * (spooled spans are not).
   */
  drain(timeoutMs: number): Promise<number>;
  /** Ends at once. Resolves with how many spans were lost. */
  abort(): Promise<number>;
}
