import type { Chunk } from "../pipeline/destination.ts";
import type { SourceKind } from "../pipeline/source.ts";
import { Fifo } from "../base/fifo.ts";
import { Holding } from "./fair-budget.ts";
import type { Replay, SplitRecord } from "./replay.ts";
import { LEAST_RECORD_BYTES } from "./spool/record-size.ts";

/**
 * What a chunk takes in memory beside its bytes (some 300 measured on Bun): guests that come and go with one span each
 * make many small chunks, which must not take more than the queue may.
 */
export const CHUNK_OVERHEAD_BYTES = 512;

/** Where a chunk comes from: its bytes in memory, or the spool. */
export interface ChunkOrigin {
  readonly chunk?: Chunk;
  /** What it is a part of if an earlier process left it in the spool. */
  readonly replay?: Replay;
  /** How many spans of its record come before its own. */
  readonly removedSpans?: number;
  /** The record that it is one part of. */
  readonly part?: { readonly record: SplitRecord; readonly index: number };
  /** Bytes that it is counted with in the spool, if that is not what a record of its size is. */
  readonly diskBytes?: number;
}

/** Where a chunk is in its life: see {@link QueuedChunk}. */
export type ChunkState = "waiting" | "underWay" | "settled";

/**
 * A chunk in the queue of one destination.
 *
 * ```
 *  push, recover          take                settle (the last of its spans is delivered or given up)
 * ───────────────▶ waiting ─────▶ underWay ─────────────────────────────────────────────────────────▶ settled
 *                     └──────────────────────────────────────────────────────────────────────────────────▲
 *                                        drop (it made room for another)
 * ```
 *
 * A chunk that is not in the spool when the process ends is settled as lost. A chunk that is under way stays under way,
 * in the request that it was taken for or in parts of that request, even while the request waits to be tried again.
 * Independently of that, its bytes are in memory, in the spool, or (until memory is short) in both.
 */
export class QueuedChunk {
  readonly account: AccountQueue;
  /** How many bytes it has. */
  readonly byteLength: number;
  /** Bytes that it is counted with. */
  readonly size: number;
  /** Bytes that it is counted with in the spool. */
  readonly diskBytes: number;
  readonly origin: ChunkOrigin;
  /** Its number in the spool; undefined until it has been written there. */
  spoolId: number | undefined;
  #state: ChunkState = "waiting";
  /** How many of its spans are neither delivered nor given up. */
  #spans: number;
  /** Its bytes, as they were pushed. */
  #chunk: Chunk | undefined;
  /** Its bytes, as they were read from the spool. */
  #loaded: Uint8Array | undefined;
  #isSpooled = false;
  /** Something may still read the bytes after they are let go of, so only the garbage collector may take them. */
  #isRead = false;

  /** @param byteLength of its bytes, which it may not have in memory. */
  constructor(account: AccountQueue, spans: number, byteLength: number, origin: ChunkOrigin) {
    this.account = account;
    this.byteLength = byteLength;
    this.size = byteLength + CHUNK_OVERHEAD_BYTES;
    this.#spans = spans;
    this.diskBytes = origin.diskBytes ?? Math.max(this.size, LEAST_RECORD_BYTES);
    this.origin = origin;
    this.#chunk = origin.chunk;
  }

  get state(): ChunkState {
    return this.#state;
  }
  get spans(): number {
    return this.#spans;
  }
  /** Whether the spool has it for certain. */
  get isSpooled(): boolean {
    return this.#isSpooled;
  }
  /** Its bytes, if they are in memory. */
  get bytes(): Uint8Array | undefined {
    return this.#chunk?.bytes ?? this.#loaded;
  }

  /** It is in a request from now on. */
  take(): void {
    this.#enter("underWay", "waiting");
  }

  /** Some of its spans are delivered or given up. Returns whether those were the last. */
  settle(spans: number): boolean {
    if (spans > this.#spans) throw new RangeError(`${spans} spans settled of ${this.#spans}`);
    this.#spans -= spans;
    this.origin.replay?.settle(spans);
    if (this.#spans > 0) return false;
    this.#enter("settled", "underWay");
    return true;
  }

  /** It made room for another. Returns how many spans that are. */
  drop(): number {
    this.#enter("settled", "waiting");
    const spans = this.#spans;
    this.#spans = 0;
    return spans;
  }

  /** Others have taken its place. */
  replaced(): void {
    this.#enter("settled", "waiting");
    this.#spans = 0;
  }

  /** It ends with the process. Returns how many of its spans are lost. */
  abandon(): number {
    const spans = this.#spans;
    this.#spans = 0;
    this.#state = "settled";
    return spans;
  }

  /** The spool has it for certain. */
  spooled(): void {
    if (this.#isSpooled || this.spoolId === undefined) {
      throw new Error("a chunk was spooled twice, or without a number");
    }
    this.#isSpooled = true;
    this.#chunk?.journalEntry?.safe();
  }

  /** Its bytes have been read from the spool. */
  load(bytes: Uint8Array): void {
    if (this.bytes !== undefined) throw new Error("a chunk was loaded that is in memory");
    this.#loaded = bytes;
  }

  /** A transport was given the bytes and may read them for longer than the chunk is needed. */
  markRead(): void {
    this.#isRead = true;
  }

  /** Lets go of its bytes in memory. Returns whether there were any. */
  unload(): boolean {
    const wasThere = this.bytes !== undefined;
    this.#chunk?.release(this.#isRead);
    this.#chunk = this.#loaded = undefined;
    return wasThere;
  }

  #enter(state: ChunkState, from: ChunkState): void {
    if (this.#state !== from) throw new Error(`a chunk that is ${this.#state} became ${state}`);
    this.#state = state;
    if (state === "settled") this.#chunk?.journalEntry?.safe();
  }
}

/**
 * Settled chunks are swept out of the list of those that wait when there are more of them than this, and than others.
 */
const LEAST_SWEPT = 64;

/**
 * The chunks of one account that wait in the queue of one destination, oldest first, and what the account holds there.
 */
export class AccountQueue {
  readonly key: string;
  readonly kind: SourceKind;
  /** Of the memory: all of its chunks, or with a spool those that are not there yet. */
  readonly memory: Holding<AccountQueue>;
  /** Of the disk. */
  readonly disk: Holding<AccountQueue>;
  /** Its sources must not be read. */
  isPaused = false;
  /** They are read all the same: see `SpanSink.readOn`. */
  isReadOn = false;
  /** Its chunks are sent in requests of their own: see `Quarantine`. */
  isQuarantined = false;
  /** It is in the round of the accounts that have their turn. */
  isInRound = false;
  /** Bytes that it may still send in its turn. */
  deficit = 0;
  /** Its chunks that wait, among them some that were dropped meanwhile. */
  readonly #waiting = new Fifo<QueuedChunk>();
  #waitingCount = 0;
  /** Its chunks that are not in the spool yet, if there is one; among them some that are not wanted there any more. */
  readonly #uncommitted = new Fifo<QueuedChunk>();

  constructor(key: string, kind: SourceKind) {
    this.key = key;
    this.kind = kind;
    this.memory = new Holding<AccountQueue>(this);
    this.disk = new Holding<AccountQueue>(this);
  }

  /** How many chunks wait. */
  get length(): number {
    return this.#waitingCount;
  }

  /** Whether it neither holds anything nor is in any state that must be remembered. */
  get isIdle(): boolean {
    return this.memory.bytes === 0 && this.disk.bytes === 0 && !this.isInRound && !this.isQuarantined;
  }

  /** Adds a chunk that is younger than all. @param isUncommitted whether it is still to be written to the spool. */
  push(chunk: QueuedChunk, isUncommitted: boolean): void {
    this.#waiting.push(chunk);
    this.#waitingCount++;
    if (isUncommitted) this.#uncommitted.push(chunk);
  }

  /** The oldest chunk that waits, which stays. */
  first(): QueuedChunk | undefined {
    return firstWaiting(this.#waiting);
  }

  /** Puts chunks in the place of the oldest one that waits. */
  replaceFirst(chunks: readonly QueuedChunk[]): void {
    this.shift();
    this.#waiting.unshift(chunks);
    this.#waitingCount += chunks.length;
  }

  /** Takes the oldest chunk that waits. The caller says what it is taken for. */
  shift(): QueuedChunk | undefined {
    const chunk = this.first();
    if (chunk === undefined) return undefined;
    this.#waiting.shift();
    this.#waitingCount--;
    return chunk;
  }

  /** The oldest chunk that waits both for the spool and to be sent. */
  firstUncommitted(): QueuedChunk | undefined {
    const uncommitted = this.#uncommitted;
    while (uncommitted.first()?.isSpooled === true) uncommitted.shift();
    return firstWaiting(uncommitted);
  }

  /** A chunk that waited, wherever in the list, has been dropped. */
  dropped(): void {
    this.#waitingCount--;
    const settled = this.#waiting.length - this.#waitingCount;
    // What has been dropped from the middle would otherwise stay until its turn comes, which may be never.
    if (settled > LEAST_SWEPT && settled > this.#waitingCount) this.#waiting.filter(isWaiting);
  }

  /** The chunks that wait, oldest first. */
  *chunks(): Generator<QueuedChunk> {
    for (const chunk of this.#waiting) if (isWaiting(chunk)) yield chunk;
  }
}

function isWaiting(chunk: QueuedChunk): boolean {
  return chunk.state === "waiting";
}

function firstWaiting(chunks: Fifo<QueuedChunk>): QueuedChunk | undefined {
  for (let chunk = chunks.first(); chunk !== undefined; chunk = chunks.first()) {
    if (isWaiting(chunk)) return chunk;
    chunks.shift();
  }
  return undefined;
}
