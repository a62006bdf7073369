import { performance } from "node:perf_hooks";
import { Fifo } from "../base/fifo.ts";
import { type EncodedSpans, RANGES_PER_SPAN } from "../otlp/encoded-spans.ts";
import type { SpanPart } from "../otlp/request-builder.ts";
import type { ResourceOverlay } from "../otlp/resource.ts";
import type { DestinationMetrics, Metrics } from "../pipeline/metrics.ts";
import type { SourceSink, SpanSink } from "../pipeline/sink.ts";
import type { Source } from "../pipeline/source.ts";
import { type HostResource, overlayFor } from "../pipeline/source-overlay.ts";
import { Subscribers } from "../pipeline/subscribers.ts";

/** Where the dump's text goes. */
export interface DumpWriter {
  /** Takes a text; never waits for its reader. */
  write(text: string): void;
  /** Called each time that the reader has all there was; may be called within `write`. Set by the dump. */
  onTaken: () => void;
}

/**
 * How many bytes of spans may wait to be written. Sources that can be paused stop long before. What others send beyond
 * this is dropped, because they must not fill the memory.
 */
export const MOST_WAITING_BYTES: number = 16 * 1024 * 1024;

/** What a payload that waits takes beside its spans' bytes and their ranges: the objects around it, about. */
const PAYLOAD_BYTES = 1024;

/** A payload is written at once if its spans have no more bytes, with a resource for each; it takes a few milliseconds. */
const SMALL_BYTES = 16 * 1024;

/**
 * Of a larger payload so much is written at a stretch, UTF-16 units, unless that takes longer than a few milliseconds.
 */
const STRETCH_CHARACTERS = 32 * 1024;
const STRETCH_MS = 2;

/** What the dump needs of the process around it. */
export interface DumpOptions extends HostResource {
  /** Makes the record of one span, its newline included, in pieces that take a millisecond or two each. */
  readonly format: (part: SpanPart) => Iterable<string>;
  readonly output: DumpWriter;
  readonly metrics: Metrics;
  /** Monotonic milliseconds; for tests. */
  readonly now?: () => number;
}

/** A payload that is written in pieces. */
interface Waiting {
  readonly pieces: Iterator<string>;
  readonly spans: number;
  readonly bytes: number;
}

/**
 * `--dump-only`: shows each span as soon as it is read, and needs no collector. While the dump is behind, because its
 * reader is or because a payload is a large one, guests are not read.
 *
 * The next piece of a large payload is made when the output has taken the one before, and in another turn of the event
 * loop, so that neither a span of megabytes nor a slow reader holds up anything else or takes memory for its text.
 */
export class DumpSink implements SpanSink {
  readonly #options: DumpOptions;
  readonly #metrics: DestinationMetrics;
  readonly #subscribers = new Subscribers<[account?: string]>();
  /** Spans whose text the reader may not have yet, and those of them whose text is whole in the output. */
  #held = 0;
  #written = 0;
  /** Payloads that are not written, or not to their end. */
  readonly #waiting = new Fifo<Waiting>();
  #waitingBytes = 0;
  /** Whether the output has something that the reader has not. */
  #isWriting = false;
  #isScheduled = false;
  #full = false;
  readonly #runtimes = new Set<string>();
  /** Accounts that are read although the reader is behind. */
  readonly #readOn = new Set<string>();
  #finished: () => void = () => {};

  constructor(options: DumpOptions) {
    this.#options = options;
    this.#metrics = options.metrics.destination("dump");
    options.output.onTaken = () => this.#taken();
  }

  /**
   * All sources wait together, because the text is written in the order in which spans come. Runtimes never wait: see
   * {@link SpanSink}.
   */
  isPaused(account: string): boolean {
    return this.#full && !this.#runtimes.has(account);
  }

  /** What is read on although the reader is behind is shown while there is room for it, and dropped from then on. */
  readOn(account: string): void {
    if (this.#full) this.#readOn.add(account);
  }

  subscribe(onChange: (account?: string) => void): () => void {
    return this.#subscribers.add(onChange);
  }

  open(source: Source): SourceSink {
    const overlay = overlayFor(source, this.#options);
    const { account, kind } = source;
    if (kind === "runtime") this.#runtimes.add(account);
    return {
      accept: (spans) => {
        if (this.#waitingBytes < MOST_WAITING_BYTES) this.#show(spans, overlay);
        else this.#metrics.drop(this.#readOn.has(account) ? "paused-too-long" : "queue-full", spans.count);
      },
      settled: () => Promise.resolve(),
      close: () => {},
    };
  }

  async drain(timeoutMs: number): Promise<number> {
    if (this.#held > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#finished = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.abort();
  }

  abort(): Promise<number> {
    const lost = this.#held;
    while (this.#waiting.shift() !== undefined);
    this.#waitingBytes = 0;
    this.#release(lost);
    if (lost > 0) this.#metrics.drop("shutdown", lost);
    this.#finished();
    return Promise.resolve(lost);
  }

  #show(spans: EncodedSpans, overlay: ResourceOverlay): void {
    const { count } = spans;
    this.#held += count;
    this.#metrics.heldQueued += count;
    if (!this.#isWriting && this.#waiting.length === 0 && isSmall(spans)) {
      let text = "";
      for (const piece of this.#pieces(spans, overlay)) text += piece;
      this.#written = count;
      this.#write(text);
    } else {
      const copy = spans.copy();
      const bytes = copy.writer.position + count * RANGES_PER_SPAN * Int32Array.BYTES_PER_ELEMENT + PAYLOAD_BYTES;
      this.#waitingBytes += bytes;
      this.#waiting.push({ pieces: this.#pieces(copy, overlay), spans: count, bytes });
      this.#proceedSoon();
    }
    this.#setFull(this.#held > 0);
  }

  *#pieces(spans: EncodedSpans, overlay: ResourceOverlay): Generator<string> {
    for (const part of partsOf(spans, overlay)) yield* this.#options.format(part);
  }

  #proceedSoon(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#proceed();
    });
  }

  /** Writes the next piece or pieces of the payload that is the first to wait. */
  #proceed(): void {
    const payload = this.#waiting.first();
    if (payload === undefined) return;
    const { now = () => performance.now() } = this.#options;
    const end = now() + STRETCH_MS;
    let text = "";
    do {
      const piece = payload.pieces.next();
      if (piece.done === true) {
        this.#waiting.shift();
        this.#waitingBytes -= payload.bytes;
        this.#written = payload.spans;
        break;
      }
      text += piece.value;
    } while (text.length < STRETCH_CHARACTERS && now() < end);
    this.#write(text);
  }

  #write(text: string): void {
    this.#isWriting = true;
    if (text === "") this.#taken();
    else this.#options.output.write(text);
  }

  #taken(): void {
    this.#isWriting = false;
    this.#metrics.forwarded += this.#written;
    this.#release(this.#written);
    this.#setFull(this.#held > 0);
    if (this.#waiting.length > 0) this.#proceedSoon();
    if (this.#held === 0) this.#finished();
  }

  #release(spans: number): void {
    this.#metrics.heldQueued -= spans;
    this.#held -= spans;
    this.#written = 0;
  }

  #setFull(full: boolean): void {
    if (full === this.#full) return;
    this.#full = full;
    if (!full) this.#readOn.clear();
    if (full) this.#metrics.backpressurePauses++;
    this.#subscribers.notify();
  }
}

/** Whether all spans of a payload can be written at once. */
function isSmall(spans: EncodedSpans): boolean {
  let bytes = 0;
  for (let i = 0; i < spans.count && bytes <= SMALL_BYTES; i++) {
    bytes += spans.spanEnd(i) - spans.spanStart(i) + spans.scopeEnd(i) - spans.scopeStart(i) +
      spans.resourceEnd(i) - spans.resourceStart(i);
  }
  return bytes <= SMALL_BYTES;
}

/** A payload's spans with the host's attributes. Those next to each other that have one resource share its bytes. */
function* partsOf(spans: EncodedSpans, overlay: ResourceOverlay): Generator<SpanPart> {
  const { buffer } = spans.writer;
  let resource: Uint8Array | undefined;
  for (let i = 0; i < spans.count; i++) {
    if (resource === undefined || !spans.sharesResource(i)) {
      resource = overlay.apply(buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i)));
    }
    const scope = buffer.subarray(spans.scopeStart(i), spans.scopeEnd(i));
    yield { resource, scope, span: buffer.subarray(spans.spanStart(i), spans.spanEnd(i)) };
  }
}
