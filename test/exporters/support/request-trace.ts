import type { RequestTrace } from "../../../src/pipeline/exporter.ts";
import { spanId } from "../../support/numbers.ts";

/** A trace that counts how often its request went out. */
export class CountingTrace implements RequestTrace {
  readonly traceparent: string;
  tries = 0;

  constructor(number: number) {
    this.traceparent = `00-0af7651916cd43dd8448eb211c80319c-${spanId(number)}-01`;
  }

  tried(): void {
    this.tries++;
  }
}
