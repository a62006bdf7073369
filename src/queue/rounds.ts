import type { AccountQueue, QueuedChunk } from "./account-queue.ts";
import { Fifo } from "../base/fifo.ts";

/**
 * What an account may send each time its turn comes, bytes. Small, so that an account with small chunks does not wait
 * for those with large ones, of which each then needs several turns.
 */
const QUANTUM_BYTES = 64 * 1024;

/** What one request may hold. */
export interface RequestLimits {
  readonly maxSpans: number;
  /** Of chunks' bytes; a single chunk may have more. */
  readonly maxBytes: number;
}

/**
 * Takes chunks of all accounts in turns: deficit round robin (Shreedhar and Varghese, "Efficient Fair Queuing Using
 * Deficit Round-Robin", 1996). In each turn an account may send a quantum of bytes, and saves what it does not use for
 * the next turn while it has chunks. Over time all that have chunks send the same number of bytes, whatever the sizes
 * of their chunks, and each chunk costs constant time, whatever the number of accounts.
 */
export class Rounds {
  readonly #round = new Fifo<AccountQueue>();
  /** The account whose turn it is may go on: its last request was full before its quantum was used up. */
  #isTurnOpen = false;
  readonly #load: (chunk: QueuedChunk) => boolean;
  readonly #left: (account: AccountQueue) => void;

  /**
   * @param load sees to it that a chunk's bytes are in memory; false if that is not possible now, or it was dropped.
   * @param left is called when an account has no more turns.
   */
  constructor(load: (chunk: QueuedChunk) => boolean, left: (account: AccountQueue) => void) {
    this.#load = load;
    this.#left = left;
  }

  /** How many accounts have their turn. Some may have nothing to send any more. */
  get length(): number {
    return this.#round.length;
  }

  /** An account has chunks, or its state has changed. */
  enter(account: AccountQueue): void {
    if (account.isInRound || account.isQuarantined || account.length === 0) return;
    account.isInRound = true;
    account.deficit = 0;
    this.#round.push(account);
  }

  /** The chunks of one request. */
  take(limits: RequestLimits): QueuedChunk[] {
    const request = new Filling(limits);
    // Once this is all of them, none has anything that may be sent now.
    let heldInARow = 0;
    for (let account = this.#round.first(); account !== undefined; account = this.#round.first()) {
      if (heldInARow === this.#round.length) break;
      if (!account.isQuarantined && !this.#isTurnOpen) account.deficit += QUANTUM_BYTES;
      this.#isTurnOpen = false;
      const outcome = account.isQuarantined ? "empty" : this.#takeTurn(account, request);
      if (outcome === "full") {
        this.#isTurnOpen = true;
        break;
      }
      this.#round.shift();
      heldInARow = outcome === "held" ? heldInARow + 1 : 0;
      if (outcome === "spent" || outcome === "held") this.#round.push(account);
      else {
        account.isInRound = false;
        account.deficit = 0;
        if (outcome === "stuck") {
          this.enter(account);
          break;
        }
        this.#left(account);
      }
    }
    return request.chunks;
  }

  /** The chunks of one request of an account that has no turns. */
  takeOf(account: AccountQueue, limits: RequestLimits): QueuedChunk[] {
    const request = new Filling(limits);
    account.deficit = Infinity;
    this.#takeTurn(account, request);
    account.deficit = 0;
    return request.chunks;
  }

  /**
   * Moves an account's chunks into the request until the request is full, the account's quantum is spent, the account
   * is empty, its next chunk must wait for others of the same replay, or that chunk cannot be loaded.
   */
  #takeTurn(account: AccountQueue, request: Filling): "full" | "spent" | "empty" | "held" | "stuck" {
    for (let chunk = account.first(); chunk !== undefined; chunk = account.first()) {
      if (chunk.size > account.deficit) return "spent";
      if (!request.hasRoomFor(chunk)) return "full";
      if (chunk.origin.replay?.mayTake(chunk.spans) === false) {
        // Enough for this chunk, so that it is held in each turn from now on and not only in some.
        account.deficit = chunk.size;
        return "held";
      }
      if (!this.#load(chunk)) {
        if (chunk.state === "settled") continue;
        return "stuck";
      }
      account.shift();
      account.deficit -= chunk.size;
      chunk.origin.replay?.take(chunk.spans);
      request.add(chunk);
    }
    return "empty";
  }
}

/** A request that is being put together. */
class Filling {
  readonly chunks: QueuedChunk[] = [];
  readonly #limits: RequestLimits;
  #spans = 0;
  #bytes = 0;

  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  hasRoomFor({ spans, byteLength }: QueuedChunk): boolean {
    if (this.chunks.length === 0) return true;
    return this.#spans + spans <= this.#limits.maxSpans && this.#bytes + byteLength <= this.#limits.maxBytes;
  }

  add(chunk: QueuedChunk): void {
    this.chunks.push(chunk);
    this.#spans += chunk.spans;
    this.#bytes += chunk.byteLength;
  }
}
