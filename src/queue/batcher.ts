import { Buffer } from "node:buffer";
import type { Metrics } from "../pipeline/metrics.ts";
import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { RequestBuilder } from "../otlp/request.ts";
import type { BatchSettings } from "../pipeline/settings.ts";
import type { SourceSink } from "../pipeline/sink.ts";

/**
 * The largest resource that is remembered for a guest, bytes: real ones have a few hundred, and a thousand guests
 * with the largest cost some 10 MB. A larger one is laid over anew for each span.
 */
const REMEMBERED_RESOURCE_BYTES = 4096;

/** A tag and a length: what `RequestBuilder` counts for a resource beside its header. */
const RESOURCE_FRAME_BYTES = 6;

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Lays the host's attributes over the resource of one guest: see `ResourceOverlay`. */
export interface Overlay {
  apply(header: Uint8Array): Uint8Array;
}

/** Collects the spans of all guests in one open batch, and closes it when the first of its limits is reached. */
export class Batcher {
  readonly #settings: BatchSettings;
  readonly #metrics: Metrics;
  readonly #closed: (request: Uint8Array, spans: number) => void;
  readonly builder: RequestBuilder = new RequestBuilder();
  /** Counts batches: a resource's handle is good for one. */
  generation = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flushing = false;

  /** @param closed takes a closed batch over. */
  constructor(
    settings: BatchSettings,
    metrics: Metrics,
    closed: (request: Uint8Array, spans: number) => void,
  ) {
    this.#settings = settings;
    this.#metrics = metrics;
    this.#closed = closed;
  }

  /** A way in for a source. */
  open(overlay: Overlay): Pick<SourceSink, "accept" | "close"> {
    return new GuestBatcher(this, overlay);
  }

  /** Closes the open batch, if it has any span. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { builder } = this;
    const { spans } = builder;
    if (spans === 0) return;
    const request = builder.finish();
    builder.clear();
    this.generation++;
    this.#metrics.heldOpen -= spans;
    this.#closed(request, spans);
  }

  /** Closes the open batch at the end of this turn of the event loop: guests that leave together share it. */
  flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.flush();
    });
  }

  /** Closes the open batch first where a span, with `extraBytes` of a new resource, would make it too large. */
  makeRoom(spans: EncodedSpans, index: number, extraBytes: number): void {
    const { builder } = this;
    if (builder.spans === 0) return;
    if (builder.bytesWith(spans, index) + extraBytes > this.#settings.maxBytes) this.flush();
  }

  append(resource: number, spans: EncodedSpans, index: number): void {
    const { builder } = this;
    builder.append(resource, spans, index);
    this.#metrics.heldOpen++;
    if (builder.spans >= this.#settings.maxSpans || builder.bytes >= this.#settings.maxBytes) {
      this.flush();
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.flush();
      }, this.#settings.maxDelayMs);
    }
  }
}

/**
 * One guest's spans on their way into the open batch. Remembers its last resource, which is nearly always its only one.
 */
class GuestBatcher implements Pick<SourceSink, "accept" | "close"> {
  readonly #batcher: Batcher;
  readonly #overlay: Overlay;
  /** The resource as the guest wrote it last, and with the host's attributes. */
  #raw: Buffer | undefined;
  #header = NO_BYTES;
  /** The handle of `#header`, good in the batch of that generation. */
  #handle = 0;
  #generation = -1;

  constructor(batcher: Batcher, overlay: Overlay) {
    this.#batcher = batcher;
    this.#overlay = overlay;
  }

  accept(spans: EncodedSpans): void {
    const batcher = this.#batcher;
    let lastStart = -1;
    let lastEnd = -1;
    for (let index = 0; index < spans.count; index++) {
      const start = spans.resourceStart(index);
      const end = spans.resourceEnd(index);
      // Spans of one payload share the bytes of their resource.
      if (start !== lastStart || end !== lastEnd) {
        this.#remember(spans.writer.buffer, start, end);
        lastStart = start;
        lastEnd = end;
      }
      const isKnown = this.#generation === batcher.generation;
      batcher.makeRoom(spans, index, isKnown ? 0 : this.#header.length + RESOURCE_FRAME_BYTES);
      if (this.#generation !== batcher.generation) {
        this.#handle = batcher.builder.resource(this.#header);
        this.#generation = batcher.generation;
      }
      batcher.append(this.#handle, spans, index);
    }
    if (this.#raw === undefined) this.#header = NO_BYTES;
  }

  close(): void {
    if (this.#generation === this.#batcher.generation) this.#batcher.flushSoon();
  }

  #remember(buffer: Uint8Array, start: number, end: number): void {
    const raw = this.#raw;
    if (raw !== undefined && raw.length === end - start) {
      // Agents' spans mostly carry none, which needs no call into the runtime.
      if (start === end || raw.compare(buffer, start, end) === 0) return;
    }
    this.#header = this.#overlay.apply(buffer.subarray(start, end));
    this.#raw = end - start <= REMEMBERED_RESOURCE_BYTES ? Buffer.from(buffer.subarray(start, end)) : undefined;
    this.#generation = -1;
  }
}
