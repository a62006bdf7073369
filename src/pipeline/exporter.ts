/**
 * How the collector answered one `ExportTraceServiceRequest`. Specification: https://opentelemetry.io/docs/specs/otlp/
 */
export type ExportResult =
  /**
   * Accepted. `warning` is what the collector, or this side, has to say about it all the same. With `released` nothing
   * reads the request's bytes any more; without, the transport may be busy with them, as the collector has answered
   * early.
   */
  | { readonly kind: "success"; readonly warning?: string; readonly released?: true }
  /** Accepted but for `rejectedSpans`; not to be sent again ("Partial Success"). */
  | { readonly kind: "partial"; readonly rejectedSpans: number; readonly message: string }
  /** Not accepted now; the same request may be tried again, not before `retryAfterMs` where the collector said so. */
  | { readonly kind: "retryable"; readonly error: Error; readonly retryAfterMs?: number }
  /**
   * Refused for good: trying the same request again cannot help. With `splitHelps` the reason may lie in the request,
   * so that parts of it may be accepted: because of its size (`tooLarge`), or because of a span in it that the
   * collector does not take. Without, the reason lies in how the collector is addressed (credentials, path), and parts
   * of the request would fare no better.
   */
  | { readonly kind: "rejected"; readonly error: Error; readonly splitHelps?: boolean; readonly tooLarge?: true };

/** The span, of the forwarder's own, that a request belongs to. */
export interface RequestTrace {
  /** What the request carries as `traceparent` (https://www.w3.org/TR/trace-context/#traceparent-header). */
  readonly traceparent: string;
  /** Called each time the request goes out: more than once where the transport tries again. */
  tried(): void;
}

/** Sends encoded requests to one collector. */
export interface Exporter {
  /** How many requests may be under way at once; `send` beyond that is a programming error. */
  readonly concurrency: number;
  /**
   * Sends one encoded `ExportTraceServiceRequest`, once: no retry of its own beyond the transport's. Never rejects.
   * After `timeoutMs` (default: the configured timeout and a margin) it is given up as retryable.
   *
   * @param request its bytes, in parts that follow each other.
   */
  send(request: readonly Uint8Array[], timeoutMs?: number, trace?: RequestTrace): Promise<ExportResult>;
  /** Closes connections; requests under way are abandoned. */
  close(): void;
}

/** How an exporter works, beside what `OTEL_EXPORTER_OTLP_*` says. */
export interface ExporterOptions {
  /** See {@link Exporter.concurrency}. */
  readonly concurrency: number;
  /** Called each time the transport itself tries a request again, within `send`. */
  readonly onRetry?: () => void;
}

/** What went wrong with one request, with the collector's own answer if there was one. */
export class ExportError extends Error {
  override readonly name = "ExportError";
  /** The HTTP status or gRPC status code that the collector answered with; absent where no answer came. */
  readonly status: number | undefined;

  constructor(message: string, status?: number, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** An exporter that cannot be made from what it was told: the message names the setting, its value and what to do. */
export class ExporterSettingsError extends Error {
  override readonly name = "ExporterSettingsError";
}
