import type { ExportOutcome, ExportSpan } from "../pipeline/self-trace.ts";
import { freeBytes } from "../base/free-bytes.ts";
import { joinBytes } from "../base/joined-bytes.ts";
import { countSpans, halve } from "../otlp/request.ts";
import type { AccountQueue, QueuedChunk } from "./account-queue.ts";

/**
 * Smaller pieces that follow each other are copied together, bytes. Over HTTP/2, writing a piece by itself was measured
 * to take as long as allocating and copying so much.
 */
const LEAST_PART_BYTES = 32 * 1024;

/** A chunk, or a part of one, that a request carries. */
export interface Piece {
  readonly chunk: QueuedChunk;
  readonly bytes: Uint8Array;
  readonly spans: number;
}

/**
 * All that was put together to one request, whatever it is split into later: one export, for the forwarder's own spans.
 */
export class ExportJob {
  /** Its place among all jobs. */
  readonly sequence: number;
  /** From its first request on; absent where there is no self-tracing. */
  trace: ExportSpan | undefined;
  #isTraced = false;
  /** How many of its spans are neither delivered nor given up. */
  #spans: number;

  constructor(sequence: number, spans: number) {
    this.sequence = sequence;
    this.#spans = spans;
  }

  /** Begins its trace, the first time. */
  begin(begin: () => ExportSpan | undefined): void {
    if (!this.#isTraced) this.trace = begin();
    this.#isTraced = true;
  }

  /** Some of its spans are delivered or given up. */
  settle(spans: number): void {
    this.#spans -= spans;
    if (this.#spans === 0) this.end();
  }

  end(outcome?: ExportOutcome): void {
    this.trace?.end(outcome);
    this.trace = undefined;
  }
}

/** Where a request is in its life: see {@link OutgoingRequest}. */
export type RequestState = "ready" | "sending" | "done";

/**
 * One request, from when its chunks are taken until each of its spans is delivered, given up, or in another request.
 *
 * ```
 *          send             answered for, or split into others
 * ready ─────────▶ sending ────────────────────────────────────▶ done
 *   ▲                 │
 *   └─────────────────┘
 *    retry (not answered, or told to come again)
 * ```
 */
export class OutgoingRequest {
  readonly pieces: readonly Piece[];
  readonly spans: number;
  readonly job: ExportJob;
  /** How many bytes its encoding has. */
  readonly byteLength: number;
  #state: RequestState = "ready";
  #parts: readonly Uint8Array[] | undefined;
  /** Those of its parts that are copies. */
  readonly #copies: Uint8Array[] = [];

  constructor(pieces: readonly Piece[], job: ExportJob) {
    this.pieces = pieces;
    this.job = job;
    this.spans = pieces.reduce((sum, { spans }) => sum + spans, 0);
    this.byteLength = pieces.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** A request made of chunks that have just been taken. */
  static of(chunks: readonly QueuedChunk[], sequence: number): OutgoingRequest {
    const pieces = chunks.map((chunk) => ({ chunk, bytes: chunk.bytes as Uint8Array, spans: chunk.spans }));
    const spans = chunks.reduce((sum, chunk) => sum + chunk.spans, 0);
    return new OutgoingRequest(pieces, new ExportJob(sequence, spans));
  }

  get state(): RequestState {
    return this.#state;
  }

  /** The account that all of it belongs to; undefined if there are several. */
  get account(): AccountQueue | undefined {
    const account = this.pieces[0]?.chunk.account;
    return this.pieces.every(({ chunk }) => chunk.account === account) ? account : undefined;
  }

  /**
   * The encoded `ExportTraceServiceRequest`, in parts that follow each other: its pieces, of which only small ones are
   * copied.
   */
  get parts(): readonly Uint8Array[] {
    return this.#parts ??= this.#makeParts();
  }

  send(): void {
    this.#enter("sending", "ready");
  }

  /** It is to be sent again. */
  retry(): void {
    this.#enter("ready", "sending");
  }

  /** All of it has been answered for. @param isReleased nothing reads the bytes any more that it was sent from. */
  finish(isReleased = false): void {
    this.#enter("done", "sending");
    if (isReleased) {
      for (const copy of this.#copies) freeBytes(copy);
    } else {
      for (const { chunk } of this.pieces) chunk.markRead();
    }
    this.#parts = undefined;
  }

  /** Two requests with one part each of its accounts. To be called if there are several. */
  splitByAccount(): [OutgoingRequest, OutgoingRequest] {
    const accounts = [...new Set(this.pieces.map(({ chunk }) => chunk.account))];
    const first = new Set(accounts.slice(0, accounts.length >>> 1));
    return this.#splitInto(...divide(this.pieces, ({ chunk }) => first.has(chunk.account)));
  }

  /**
   * Its pieces of accounts in quarantine, in a request for each, and the rest. To be called if there are several
   * accounts.
   */
  withoutQuarantined(): { suspects: OutgoingRequest[]; rest: OutgoingRequest | undefined } {
    const byAccount = new Map<AccountQueue, Piece[]>();
    const others: Piece[] = [];
    for (const piece of this.pieces) {
      const { account } = piece.chunk;
      if (!account.isQuarantined) others.push(piece);
      else if (byAccount.get(account)?.push(piece) === undefined) byAccount.set(account, [piece]);
    }
    if (byAccount.size === 0) return { suspects: [], rest: undefined };
    const suspects = [...byAccount.values()].map((pieces) => new OutgoingRequest(pieces, this.job));
    this.finish();
    return { suspects, rest: others.length === 0 ? undefined : new OutgoingRequest(others, this.job) };
  }

  /**
   * Two requests with one half each of its pieces, or of the spans of its only one. Undefined if it has one span only.
   * Throws `ProtobufError` or `RangeError` if its only piece is not what it should be.
   */
  halve(): [OutgoingRequest, OutgoingRequest] | undefined {
    if (this.spans < 2) return undefined;
    const [piece] = this.pieces;
    if (piece === undefined || this.pieces.length > 1) {
      const middle = this.pieces.length >>> 1;
      return this.#splitInto(this.pieces.slice(0, middle), this.pieces.slice(middle));
    }
    const [first, second] = halve(piece.bytes).map((bytes) => [{ ...piece, bytes, spans: countSpans(bytes) }]);
    return this.#splitInto(first as Piece[], second as Piece[]);
  }

  #makeParts(): readonly Uint8Array[] {
    const parts: Uint8Array[] = [];
    let small: Uint8Array[] = [];
    const joinSmall = (): void => {
      if (small.length === 0) return;
      const part = joinBytes(small);
      if (small.length > 1) this.#copies.push(part);
      parts.push(part);
      small = [];
    };
    for (const { bytes } of this.pieces) {
      if (bytes.length < LEAST_PART_BYTES) small.push(bytes);
      else {
        joinSmall();
        parts.push(bytes);
      }
    }
    joinSmall();
    return parts;
  }

  #splitInto(first: readonly Piece[], second: readonly Piece[]): [OutgoingRequest, OutgoingRequest] {
    this.finish();
    return [new OutgoingRequest(first, this.job), new OutgoingRequest(second, this.job)];
  }

  #enter(state: RequestState, from: RequestState): void {
    if (this.#state !== from) throw new Error(`a request that is ${this.#state} became ${state}`);
    this.#state = state;
  }
}

function divide<Item>(items: readonly Item[], isFirst: (item: Item) => boolean): [Item[], Item[]] {
  const parts: [Item[], Item[]] = [[], []];
  for (const item of items) parts[isFirst(item) ? 0 : 1].push(item);
  return parts;
}
