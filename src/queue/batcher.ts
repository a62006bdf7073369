import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { equalBytes } from "../otlp/equal-bytes.ts";
import { RequestBuilder } from "../otlp/request-builder.ts";
import { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import { copyBytes } from "../otlp/put-bytes.ts";
import type { ResourceOverlay } from "../otlp/resource.ts";
import type { ChunkJournal, JournalEntry } from "../pipeline/destination.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { BatchSettings } from "../pipeline/settings.ts";
import type { Source } from "../pipeline/source.ts";

/**
 * The largest resource that is remembered for a source, bytes: real ones have a few hundred, and a thousand guests
 * with the largest cost some 10 MB. A larger one is laid over anew for each span.
 */
const REMEMBERED_RESOURCE_BYTES = 4096;
/** Room for the resource that is remembered, at least: most sources have one of less, or none. */
const SMALL_RESOURCE_BYTES = 64;
/** The same with the host's attributes. */
const SMALL_HEADER_BYTES = 512;
/** A buffer for more than this is given back, unless the resource is remembered. */
const MOST_HEADER_BYTES = 2 * REMEMBERED_RESOURCE_BYTES;

/** A tag and a length: what `RequestBuilder` counts for a resource beside its header. */
const RESOURCE_FRAME_BYTES = 6;

/** All open chunks together are closed when they hold so much, bytes: thousands of accounts may fill theirs at once. */
const MOST_OPEN_BYTES = 8 * 1024 * 1024;

/**
 * Builders that no chunk needs at the moment keep buffers of so many bytes together; the rest is given back. All that
 * is open may be closed at once, and a buffer is up to twice as large as what it holds.
 */
const MOST_SPARE_BYTES = 2 * MOST_OPEN_BYTES;

/** Once this many spans of a payload have not begun a run, the rest are added one by one, too. */
const MOST_LONERS = 4;

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Lays the host's attributes over a source's resources. */
export type SourceOverlay = Pick<ResourceOverlay, "layOver">;

/** Takes a closed chunk over: bytes in an array of their own, which are spans of this source's account. */
export type ChunkTaker = (source: Source, bytes: Uint8Array, spans: number, entry?: JournalEntry) => void;

/** The chunk that an account's spans go into. */
class OpenChunk {
  /** Of any source of the account. */
  readonly source: Source;
  readonly builder: RequestBuilder;
  /** What the journal has of it, if there is one, up to where. */
  readonly entry: JournalEntry | undefined;
  noted = { position: 0, spans: 0 };
  isOpen = true;

  constructor(source: Source, builder: RequestBuilder, entry: JournalEntry | undefined) {
    this.source = source;
    this.builder = builder;
    this.entry = entry;
  }

  /** Whether it has spans that the journal has not. */
  get isUnnoted(): boolean {
    return this.entry !== undefined && this.builder.spans > this.noted.spans;
  }

  /** @param finished what the whole chunk has come to, if that is known: it need not be put together once more. */
  note(finished?: Uint8Array): void {
    const { builder, builder: { position, spans }, entry, noted } = this;
    const bytes = finished !== undefined && noted.spans === 0 ? finished : builder.since(noted.position);
    entry?.note(bytes, spans - noted.spans);
    this.noted = { position, spans };
  }
}

/**
 * Collects spans in one open chunk for each account, and closes a chunk when the first of its limits is reached. One
 * timer serves all, so that whatever waits at the same time leaves at the same time, and shares requests.
 */
export class Batcher {
  readonly #settings: BatchSettings;
  readonly #metrics: Metrics;
  readonly #closed: ChunkTaker;
  readonly #open = new Map<string, OpenChunk>();
  #openBytes = 0;
  readonly #spare: RequestBuilder[] = [];
  #spareBytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Accounts whose chunks are closed at the end of this turn of the event loop, and who wants to know. */
  readonly #leaving: { readonly account: string; readonly closed: () => void }[] = [];

  readonly #journal: ChunkJournal | undefined;
  readonly #chunkBytes: () => number;
  /** Chunks that the journal has not all spans of. */
  #unnoted: OpenChunk[] = [];

  /**
   * @param journal gets spans as they come. Default: there is none.
   * @param chunkBytes from how many bytes on a chunk is closed at the moment, below the limit of the settings.
   */
  constructor(
    settings: BatchSettings,
    metrics: Metrics,
    closed: ChunkTaker,
    journal?: ChunkJournal,
    chunkBytes: () => number = () => Infinity,
  ) {
    this.#journal = journal;
    this.#chunkBytes = chunkBytes;
    this.#settings = settings;
    this.#metrics = metrics;
    this.#closed = closed;
  }

  /** A way in for a source. */
  open(source: Source, overlay: SourceOverlay): SourceBatcher {
    return new SourceBatcher(this, source, overlay);
  }

  /** How many spans are in open chunks, counted one chunk at a time: what `Metrics.heldOpen` must be. */
  countSpans(): number {
    let spans = 0;
    for (const { builder } of this.#open.values()) spans += builder.spans;
    return spans;
  }

  /** Closes all open chunks. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const chunk of [...this.#open.values()]) this.#close(chunk);
  }

  /** Writes what has come to the journal now instead of at the end of the callback. */
  writeJournal(): void {
    this.#note();
    this.#journal?.flush();
  }

  /** Closes an account's open chunk, if there is one. */
  flushAccount(account: string): void {
    const chunk = this.#open.get(account);
    if (chunk !== undefined) this.#close(chunk);
  }

  /** Closes an account's open chunk at the end of this turn of the event loop: sources that leave together share it. */
  flushSoon(account: string, closed: () => void): void {
    this.#leaving.push({ account, closed });
    if (this.#leaving.length > 1) return;
    setImmediate(() => {
      const leaving = this.#leaving.splice(0);
      for (const each of leaving) this.flushAccount(each.account);
      for (const each of leaving) each.closed();
    });
  }

  /** Whether a chunk is open, and has room for a span. @param resourceBytes what its resource takes beside it. */
  hasRoom(chunk: OpenChunk, spans: EncodedSpans, index: number, resourceBytes: number): boolean {
    return chunk.isOpen && chunk.builder.bytesWith(spans, index) + resourceBytes <= this.#settings.maxBytes;
  }

  /**
   * The open chunk of a source's account with room for a span and its resource.
   *
   * @param known the one that had the source's last span, if any. @param resourceBytes what the resource takes there.
   */
  chunkFor(
    source: Source,
    known: OpenChunk | undefined,
    spans: EncodedSpans,
    index: number,
    resourceBytes: number,
  ): OpenChunk {
    let chunk = known?.isOpen === true ? known : this.#open.get(source.account);
    // The chunk may have the resource already, but looking for it would cost more than closing the chunk early.
    if (
      chunk !== undefined && chunk.builder.spans > 0 &&
      chunk.builder.bytesWith(spans, index) + resourceBytes > this.#settings.maxBytes
    ) {
      this.#close(chunk);
      chunk = undefined;
    }
    return chunk ?? this.#openChunk(source);
  }

  /** See `RequestBuilder.resource`; negative if its spans are for {@link appendWhole}. */
  resource({ builder }: OpenChunk, header: Uint8Array, start: number, end: number): number {
    if (builder.isCrowded) return -1;
    const before = builder.bytes;
    const handle = builder.resource(header, start, end);
    this.#openBytes += builder.bytes - before;
    return handle;
  }

  /**
   * Adds a span; returns the next one.
   *
   * @param isRun also adds spans of the run that it begins (see `EncodedSpans.endOfRun`), if there is room for them.
   */
  append(chunk: OpenChunk, resource: number, spans: EncodedSpans, index: number, isRun: boolean): number {
    const { builder } = chunk;
    const { maxSpans, maxBytes } = this.#settings;
    const before = builder.bytes;
    if (chunk.entry !== undefined && !chunk.isUnnoted) this.#noteSoon(chunk);
    let next = index + 1;
    if (isRun) {
      let length = Math.min(spans.endOfRun(index) - index, maxSpans - builder.spans);
      while (length > 1 && builder.bytesWith(spans, index, index + length) > maxBytes) length >>>= 1;
      if (length > 1) next = index + length;
    }
    builder.append(resource, spans, index, next);
    this.#metrics.heldOpen += next - index;
    this.#appended(chunk, before);
    return next;
  }

  /** See `RequestBuilder.appendWhole`: adds a span and those behind it that share its resource; returns the next one. */
  appendWhole(
    chunk: OpenChunk,
    header: Uint8Array,
    headerStart: number,
    headerEnd: number,
    spans: EncodedSpans,
    index: number,
  ): number {
    const { builder } = chunk;
    const { maxSpans, maxBytes } = this.#settings;
    const before = builder.bytes;
    if (chunk.entry !== undefined && !chunk.isUnnoted) this.#noteSoon(chunk);
    const next = builder.appendWhole(header, headerStart, headerEnd, spans, index, maxSpans, maxBytes);
    this.#metrics.heldOpen += next - index;
    this.#appended(chunk, before);
    return next;
  }

  /** @param before what the chunk took before something was appended, bytes. */
  #appended(chunk: OpenChunk, before: number): void {
    const { builder } = chunk;
    this.#openBytes += builder.bytes - before;
    const { maxSpans, maxBytes } = this.#settings;
    if (builder.spans >= maxSpans || builder.bytes >= Math.min(maxBytes, this.#chunkBytes())) this.#close(chunk);
    if (this.#openBytes >= MOST_OPEN_BYTES) this.flush();
  }

  #openChunk(source: Source): OpenChunk {
    const chunk = new OpenChunk(source, this.#takeBuilder(), this.#journal?.begin(source));
    this.#open.set(source.account, chunk);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.flush();
    }, this.#settings.maxDelayMs);
    return chunk;
  }

  #close(chunk: OpenChunk): void {
    const { builder, source } = chunk;
    const { spans } = builder;
    chunk.isOpen = false;
    this.#open.delete(source.account);
    if (this.#open.size === 0) {
      this.#openBytes = 0;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    } else this.#openBytes -= builder.bytes;
    const bytes = spans === 0 ? NO_BYTES : builder.finish();
    if (chunk.isUnnoted) chunk.note(bytes);
    this.#giveBack(builder);
    if (spans === 0) return;
    this.#metrics.heldOpen -= spans;
    this.#closed(source, bytes, spans, chunk.entry);
  }

  /** At the end of the callback that the spans came in: a process that is killed later does not lose them. */
  #noteSoon(chunk: OpenChunk): void {
    this.#unnoted.push(chunk);
    if (this.#unnoted.length > 1) return;
    queueMicrotask(() => this.#note());
  }

  #note(): void {
    const unnoted = this.#unnoted;
    this.#unnoted = [];
    for (const each of unnoted) if (each.isOpen && each.isUnnoted) each.note();
  }

  #takeBuilder(): RequestBuilder {
    const builder = this.#spare.pop();
    if (builder === undefined) return new RequestBuilder();
    this.#spareBytes -= builder.capacity;
    return builder;
  }

  #giveBack(builder: RequestBuilder): void {
    builder.clear();
    if (this.#spareBytes + builder.capacity > MOST_SPARE_BYTES) return;
    this.#spareBytes += builder.capacity;
    this.#spare.push(builder);
  }
}

/**
 * One source's spans on their way into its account's open chunk. Remembers its last resource, which is nearly always
 * its only one.
 */
export class SourceBatcher {
  readonly #batcher: Batcher;
  readonly #source: Source;
  readonly #overlay: SourceOverlay;
  /** The resource as the source wrote it last, `#raw[0 … #rawBytes)`. */
  #raw = NO_BYTES;
  /** Negative if it is not remembered. */
  #rawBytes = -1;
  /** The same with the host's attributes, from here to its `position`. */
  #header = new ProtobufWriter(SMALL_HEADER_BYTES);
  #headerStart = 0;
  /** Where the last span went, and the handle of that there; negative if it has none. */
  #chunk: OpenChunk | undefined;
  #handle = -1;

  constructor(batcher: Batcher, source: Source, overlay: SourceOverlay) {
    this.#batcher = batcher;
    this.#source = source;
    this.#overlay = overlay;
  }

  accept(spans: EncodedSpans): void {
    const batcher = this.#batcher;
    let lastStart = -1;
    let lastEnd = -1;
    let loners = 0;
    for (let index = 0; index < spans.count;) {
      const start = spans.resourceStart(index);
      const end = spans.resourceEnd(index);
      // Spans of one payload share the bytes of their resource.
      if (start !== lastStart || end !== lastEnd) {
        this.#remember(spans.writer.buffer, start, end);
        lastStart = start;
        lastEnd = end;
      }
      let chunk = this.#chunk;
      if (chunk === undefined || !this.#fits(chunk, spans, index)) chunk = this.#chunkFor(spans, index);
      if (this.#handle >= 0) {
        const next = batcher.append(chunk, this.#handle, spans, index, loners < MOST_LONERS && index + 1 < spans.count);
        if (next === index + 1) loners++;
        index = next;
      } else {
        const { buffer, position } = this.#header;
        index = batcher.appendWhole(chunk, buffer, this.#headerStart, position, spans, index);
      }
    }
    if (this.#rawBytes < 0 && this.#header.buffer.length > MOST_HEADER_BYTES) {
      this.#header = new ProtobufWriter(SMALL_HEADER_BYTES);
    }
  }

  /** Closes the chunk that may have spans of this source. */
  flush(): void {
    if (this.#chunk?.isOpen === true) this.#batcher.flushAccount(this.#source.account);
  }

  /** The source has gone. @param closed is called once everything that it sent is in closed chunks. */
  close(closed: () => void): void {
    if (this.#chunk?.isOpen === true) this.#batcher.flushSoon(this.#source.account, closed);
    else closed();
  }

  /** Whether a span may go into a chunk as it is: the chunk has its resource already, or takes it with the span. */
  #fits(chunk: OpenChunk, spans: EncodedSpans, index: number): boolean {
    if (this.#handle >= 0) return this.#batcher.hasRoom(chunk, spans, index, 0);
    return chunk.builder.isCrowded && this.#batcher.hasRoom(chunk, spans, index, this.#resourceBytes);
  }

  /** What the resource takes in a chunk. */
  get #resourceBytes(): number {
    return this.#header.position - this.#headerStart + RESOURCE_FRAME_BYTES;
  }

  #chunkFor(spans: EncodedSpans, index: number): OpenChunk {
    const chunk = this.#batcher.chunkFor(this.#source, this.#chunk, spans, index, this.#resourceBytes);
    this.#chunk = chunk;
    const { buffer, position } = this.#header;
    this.#handle = this.#batcher.resource(chunk, buffer, this.#headerStart, position);
    return chunk;
  }

  #remember(buffer: Uint8Array, start: number, end: number): void {
    const length = end - start;
    // Agents' spans mostly carry none, which needs no call into the runtime.
    if (equalBytes(this.#raw, 0, this.#rawBytes, buffer, start, end)) return;
    this.#rawBytes = -1;
    this.#handle = -1;
    this.#headerStart = this.#overlay.layOver(buffer, start, end, this.#header);
    // In a crowded chunk the next span has most probably another one again.
    if (length > REMEMBERED_RESOURCE_BYTES || (this.#chunk?.isOpen === true && this.#chunk.builder.isCrowded)) return;
    this.#raw = copyInto(this.#raw, buffer, start, end);
    this.#rawBytes = length;
  }
}

/** Copies `source[start … end)` to the beginning of `target`, or of a new array if it is too small; returns which. */
function copyInto(target: Uint8Array, source: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start;
  const into = length <= target.length ? target : new Uint8Array(Math.max(length, SMALL_RESOURCE_BYTES));
  copyBytes(source, start, end, into, 0);
  return into;
}
