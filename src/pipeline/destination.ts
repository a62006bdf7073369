import { freeBytes } from "../base/free-bytes.ts";
import type { UnwrittenBytes } from "../base/unwritten-bytes.ts";
import type { Source, SourceKind } from "./source.ts";

/** Where spans are written before they are in a chunk, so that a killed process does not lose them. */
export interface ChunkJournal {
  /** The entry of a chunk that is going to be filled. */
  begin(source: Pick<Source, "account" | "kind">): JournalEntry;
  /** Writes at once what has been noted. Without it, that happens at the end of the callback. Never throws. */
  flush(): void;
}

/** What a journal has of one chunk. Never throws. */
export interface JournalEntry {
  /**
   * More spans are in the chunk: `resource_spans` fields. They are written before anything else is read.
   *
   * @param bytes are written before this returns, or not at all.
   */
  note(bytes: Uint8Array | UnwrittenBytes, spans: number): void;
  /** The chunk is safe elsewhere, delivered or given up. */
  safe(): void;
}

/**
 * Encoded spans of one account: zero or more `resource_spans` fields of an `ExportTraceServiceRequest`. A request is
 * any concatenation of chunks, because the fields of a protobuf message may stand in any order and be repeated.
 */
export class Chunk {
  readonly account: string;
  readonly kind: SourceKind;
  readonly spans: number;
  /** Must not be changed, nor read after {@link release}. */
  readonly bytes: Uint8Array;
  /** What the journal has of it, if there is one. */
  readonly journalEntry: JournalEntry | undefined;
  /** How many destinations have not released it yet. */
  #holders: number;

  /** @param holders how many destinations get it; each calls {@link release} once. */
  constructor(
    source: Pick<Source, "account" | "kind">,
    bytes: Uint8Array,
    spans: number,
    holders = 1,
    journalEntry?: JournalEntry,
  ) {
    this.journalEntry = journalEntry;
    this.account = source.account;
    this.kind = source.kind;
    this.bytes = bytes;
    this.spans = spans;
    this.#holders = holders;
  }

  /**
   * A destination needs the bytes no more. When the last one says so, their memory is given back at once.
   *
   * @param isRead something may still read the bytes, such as a transport whose request was answered early. The garbage
   * collector then takes them, whichever is last.
   */
  release(isRead = false): void {
    if (isRead) this.#holders = Infinity;
    if (--this.#holders === 0) freeBytes(this.bytes);
  }
}

/**
 * Where every span goes: a collector, the node's own trace store. Each has a queue, a sender and counters of its own,
 * so that a slow or absent one does not hold up the others.
 *
 * It counts what becomes of each span it is given in its `DestinationMetrics`: `heldQueued` grows in {@link push} and
 * shrinks by as much as `forwarded` and `dropped` grow. Methods that return nothing are called on the span path, and
 * must neither wait nor throw.
 */
export interface Destination {
  /** The value of the label `destination`. */
  readonly name: string;
  /**
   * A source has connected; called once for each connection, with the same object for those that are indistinguishable.
   */
  opened(source: Source): void;
  /** The same source has gone, and everything it sent has been pushed. */
  closed(source: Source): void;
  /**
   * Takes a chunk over, and calls its `release` once when it needs the bytes no more. Chunks of one account come in
   * order. What comes after the end counts as dropped for `shutdown`.
   */
  push(chunk: Chunk): void;
  /** How large an open chunk may become at the moment before it is to be pushed, bytes; absent: any size. */
  readonly chunkBytes?: number;
  /** See `SpanSink`; always false where the destination drops its oldest instead. */
  isPaused(account: string): boolean;
  /** See `SpanSink`. */
  readOn(account: string): void;
  /** See `SpanSink`. */
  subscribe(onChange: (account?: string) => void): () => void;
  /**
   * Resolves once all chunks pushed so far are as safe as they get here. Never rejects. Absent if what is held ends
   * with the process.
   */
  readonly settled?: (() => Promise<void>) | undefined;
  /** The journal that everything is written to as soon as it is taken in. Absent if nothing outlives the process. */
  readonly journal?: ChunkJournal | undefined;
  /** Delivers what it can within `timeoutMs`, and ends. Resolves with how many spans were lost. */
  drain(timeoutMs: number): Promise<number>;
  /** Ends at once. Resolves with how many spans were lost. */
  abort(): Promise<number>;
}
