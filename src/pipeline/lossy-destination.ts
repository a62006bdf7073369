import type { Chunk, Destination } from "./destination.ts";
import type { Source } from "./source.ts";

/**
 * A destination that never pauses anybody: when it is slow or away it drops its oldest chunks, and counts them. It is
 * therefore for what is kept besides the delivery to a collector.
 */
export abstract class LossyDestination implements Destination {
  abstract readonly name: string;

  opened(_source: Source): void {}
  closed(_source: Source): void {}
  abstract push(chunk: Chunk): void;

  isPaused(): boolean {
    return false;
  }

  readOn(): void {}

  subscribe(): () => void {
    return () => {};
  }

  abstract drain(timeoutMs: number): Promise<number>;
  abstract abort(): Promise<number>;
}
