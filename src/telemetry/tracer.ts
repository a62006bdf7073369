import process from "node:process";
import {
  type Context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from "@opentelemetry/api";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { byteLengthOf } from "../base/joined-bytes.ts";
import { describeError, type Logger, printable } from "../base/log.ts";
import { formatTraceparent, type TraceContext } from "../pipeline/trace-context.ts";
import type { Exporter } from "../pipeline/exporter.ts";
import type { SelfTraceSettings } from "../pipeline/settings.ts";
import { VERSION } from "../base/version.ts";
import type {
  ConnectionSpan,
  ConnectionSummary,
  ExportOutcome,
  ExportSpan,
  SelfTrace,
} from "../pipeline/self-trace.ts";
import { SelfSpanExporter } from "./span-exporter.ts";
import { traceContexts } from "./trace-contexts.ts";

/** `service.name` of the forwarder's own spans, and the name of their scope. */
const NAME = "kata-trace-forwarder";

/**
 * The SDK's own limits (https://opentelemetry.io/docs/specs/otel/trace/sdk/#batching-processor), but a shorter delay
 * (milliseconds). They are set here because their variables are about guests' spans in this program.
 */
const PROCESSOR = {
  maxQueueSize: 2048,
  maxExportBatchSize: 512,
  scheduledDelayMillis: 1000,
  exportTimeoutMillis: 30_000,
} as const;

/** How many traces of its batch an export is linked to. */
const MOST_LINKS = 16;

/** The longest error in a span, UTF-16 units. */
const ERROR_CHARACTERS = 1024;

/** What self-tracing needs from other layers. */
export interface SelfTraceOptions {
  readonly settings: SelfTraceSettings;
  /** The host's attributes, which own spans get too. */
  readonly resourceAttributes: ReadonlyMap<string, string>;
  /** For own spans only; it is closed here. */
  readonly exporter: Exporter;
  readonly log: Logger;
  /** When the start began, Unix time in milliseconds. */
  readonly began: number;
}

/**
 * Begins self-tracing with its first span, `start`. Importing this file loads the tracing SDK, and nothing else does.
 * The SDK itself reads `OTEL_TRACES_SAMPLER`, `OTEL_SPAN_*` and so on.
 */
export function openSelfTrace(options: SelfTraceOptions): SelfTrace {
  const { parentProblem } = options.settings;
  if (parentProblem !== undefined) {
    options.log.warn("own spans begin a trace of their own", { reason: parentProblem });
  }
  return new SdkSelfTrace(options);
}

class SdkSelfTrace implements SelfTrace {
  readonly #provider: BasicTracerProvider;
  readonly #exporter: SelfSpanExporter;
  readonly #tracer: Tracer;
  readonly #log: Logger;
  /** The context of spans that have no own span as their parent. */
  readonly #root: Context;
  readonly #start: Span;
  #isStarted = false;
  #stopped: Promise<void> | undefined;

  constructor({ settings, resourceAttributes, exporter, log, began }: SelfTraceOptions) {
    this.#log = log;
    this.#exporter = new SelfSpanExporter(exporter, log);
    this.#provider = new BasicTracerProvider({
      resource: defaultResource().merge(resourceFromAttributes({
        ...Object.fromEntries(resourceAttributes),
        "service.name": NAME,
        "service.version": VERSION,
        "process.pid": process.pid,
      })),
      spanProcessors: [new BatchSpanProcessor(this.#exporter, { ...PROCESSOR })],
    });
    this.#tracer = this.#provider.getTracer(NAME, VERSION);
    this.#root = remoteContext(settings.parent);
    this.#start = this.#tracer.startSpan("start", { startTime: began }, this.#root);
  }

  step<Result>(name: string, run: () => Result): Result {
    const span = this.#tracer.startSpan(name, {}, trace.setSpan(ROOT_CONTEXT, this.#start));
    const failed = (error: unknown): never => {
      endWithError(span, error);
      throw error;
    };
    let result: Result;
    try {
      result = run();
    } catch (error) {
      return failed(error);
    }
    if (!(result instanceof Promise)) {
      span.end();
      return result;
    }
    const settled: Promise<unknown> = result.then((value: unknown) => {
      span.end();
      return value;
    }, failed);
    // It resolves with what the promise of `run` does.
    return settled as Result;
  }

  started(): void {
    this.#isStarted = true;
    this.#start.end();
  }

  connection(): ConnectionSpan {
    return new SdkConnectionSpan(this.#tracer.startSpan("guest connection", {}, this.#root));
  }

  exporting(request: readonly Uint8Array[], spans: number): ExportSpan {
    const span = this.#tracer.startSpan("export", { kind: SpanKind.CLIENT }, this.#root);
    if (span.isRecording()) {
      span.setAttributes({ "kata.spans": spans, "kata.bytes": byteLengthOf(request) });
      span.addLinks(
        traceContexts(request, MOST_LINKS)
          // Only sampled spans are sent.
          .map((ids) => ({ ...ids, traceFlags: TraceFlags.SAMPLED, isRemote: true }))
          .filter(isSpanContextValid)
          .map((context) => ({ context })),
      );
    }
    return new SdkExportSpan(span, spans);
  }

  stop(timeoutMs: number): Promise<void> {
    if (timeoutMs > 0) return this.#stopped ??= this.#stop(timeoutMs);
    this.#exporter.close();
    return Promise.resolve();
  }

  async #stop(timeoutMs: number): Promise<void> {
    if (!this.#isStarted) {
      this.#start.setStatus({ code: SpanStatusCode.ERROR, message: "the start failed" });
      this.#start.end();
    }
    // The exporter logs its own failures.
    const flushed = this.#provider.shutdown().catch(() => {});
    if (!await within(timeoutMs, flushed)) {
      this.#log.warn("own spans are lost: the collector has not taken them in time");
    }
    this.#exporter.close();
  }
}

class SdkConnectionSpan implements ConnectionSpan {
  readonly #span: Span;

  constructor(span: Span) {
    this.#span = span;
  }

  end({ source, spans, bytes, invalid, error }: ConnectionSummary): void {
    this.#span.setAttributes({
      ...Object.fromEntries(source.attributes),
      "kata.peer": source.name,
      "kata.spans": spans,
      "kata.bytes": bytes,
      "kata.invalid": invalid,
    });
    if (error === undefined) this.#span.end();
    else endWithError(this.#span, error);
  }
}

class SdkExportSpan implements ExportSpan {
  readonly traceparent: string;
  readonly #span: Span;
  readonly #spans: number;
  #tries = 0;
  #refused = 0;
  #reason = "";
  #ended = false;

  constructor(span: Span, spans: number) {
    this.#span = span;
    this.#spans = spans;
    const { traceId, spanId, traceFlags } = span.spanContext();
    this.traceparent = formatTraceparent({ traceId, spanId, flags: traceFlags });
  }

  tried(): void {
    this.#tries++;
  }

  failed(error: Error): void {
    this.#reason = errorText(error);
    this.#span.addEvent("failed", { "error.message": this.#reason });
  }

  refused(spans: number, reason: string): void {
    this.#refused += spans;
    this.#reason = printable(reason, ERROR_CHARACTERS);
  }

  end(outcome: ExportOutcome = this.#outcome()): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#span.setAttributes({
      "kata.outcome": outcome,
      "kata.tries": this.#tries,
      "kata.spans_refused": this.#refused,
    });
    if (outcome !== "delivered" && outcome !== "spooled") {
      this.#span.setStatus({ code: SpanStatusCode.ERROR, message: this.#reason });
    }
    this.#span.end();
  }

  #outcome(): ExportOutcome {
    if (this.#refused === 0) return "delivered";
    return this.#refused < this.#spans ? "partial" : "rejected";
  }
}

function remoteContext(parent: TraceContext | undefined): Context {
  if (parent === undefined) return ROOT_CONTEXT;
  const { traceId, spanId, flags } = parent;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: flags, isRemote: true });
}

function endWithError(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: errorText(error) });
  span.end();
}

function errorText(error: unknown): string {
  return printable(describeError(error), ERROR_CHARACTERS);
}

/** Whether a promise settles in time. */
async function within(timeoutMs: number, settled: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  const inTime = await Promise.race([settled.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
