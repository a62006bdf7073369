import type { RequestTrace } from "./exporter.ts";
import type { Source } from "./source.ts";

/** What became of a batch. */
export type ExportOutcome =
  /** The collector took all of it. */
  | "delivered"
  /** The collector took some of it, and refused the rest for good. */
  | "partial"
  /** The collector refused all of it for good. */
  | "rejected"
  /** The process ended first; it stays in the spool. */
  | "spooled"
  /** The process ended first. */
  | "lost";

/** The span of a batch's export, from its first request to its end; requests in between carry its context. */
export interface ExportSpan extends RequestTrace {
  /** A request was not answered, or told to come again. */
  failed(error: Error): void;
  /** The collector refuses some of the spans for good. */
  refused(spans: number, reason: string): void;
  /** @param outcome default: what follows from the spans that were refused. */
  end(outcome?: ExportOutcome): void;
}

/** What a guest's connection was, when it ends. */
export interface ConnectionSummary {
  readonly source: Source;
  readonly spans: number;
  readonly bytes: number;
  readonly invalid: number;
  readonly error?: Error | undefined;
}

/** The span of a guest's connection. */
export interface ConnectionSpan {
  end(summary: ConnectionSummary): void;
}

/**
 * The forwarder's own spans, as the pipeline sees them. Nothing here throws, waits or holds the pipeline up; a span
 * that cannot be sent is lost, and the log says so.
 */
export interface SelfTrace {
  /** Runs one step of the start, and measures it until it is done. */
  step<Result>(name: string, run: () => Result): Result;
  /** The start is done. */
  started(): void;
  /** A guest was taken in. */
  connection(): ConnectionSpan | undefined;
  /** A batch is about to be sent for the first time: its bytes, in parts that follow each other. */
  exporting(request: readonly Uint8Array[], spans: number): ExportSpan | undefined;
  /** Sends what there is within `timeoutMs` (0: not at all), and ends. A start that is not done by now has failed. */
  stop(timeoutMs: number): Promise<void>;
}

/** No spans: self-tracing is off. */
export const NO_SELF_TRACE: SelfTrace = {
  step: (_, run) => run(),
  started: () => {},
  connection: () => undefined,
  exporting: () => undefined,
  stop: () => Promise.resolve(),
};
