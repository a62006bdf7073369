import type { RequestTrace } from "../../../src/pipeline/exporter.ts";

/** A trace that counts how often its request went out. */
export class CountingTrace implements RequestTrace {
  readonly traceparent: string;
  tries = 0;

  constructor(number: number) {
    const spanId = number.toString(16).padStart(16, "0");
    this.traceparent = `00-0af7651916cd43dd8448eb211c80319c-${spanId}-01`;
  }

  tried(): void {
    this.tries++;
  }
}
