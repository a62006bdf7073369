/** How the collector answered one `ExportTraceServiceRequest`. Specification: https://opentelemetry.io/docs/specs/otlp/ */
export type ExportResult =
  | { readonly kind: "success" }
  /** Accepted but for `rejectedSpans`; not to be sent again ("Partial Success"). */
  | { readonly kind: "partial"; readonly rejectedSpans: number; readonly message: string }
  /** Not accepted now; the same request may be tried again, not before `retryAfterMs` where the collector said so. */
  | { readonly kind: "retryable"; readonly error: Error; readonly retryAfterMs?: number }
  /** Refused for good: trying the same request again cannot help. */
  | { readonly kind: "rejected"; readonly error: Error };

/** Sends encoded requests to one collector. */
export interface Exporter {
  /** How many requests may be under way at once; `send` beyond that is a programming error. */
  readonly concurrency: number;
  /** Sends one encoded `ExportTraceServiceRequest`, once: no retry of its own beyond the transport's. Never rejects. */
  send(request: Uint8Array): Promise<ExportResult>;
  /** Closes connections; requests under way are abandoned. */
  close(): void;
}
