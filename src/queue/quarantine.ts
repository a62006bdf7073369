import type { AccountQueue } from "./account-queue.ts";
import { Fifo } from "../base/fifo.ts";
import type { OutgoingRequest } from "./outgoing-request.ts";

/**
 * How long an account stays in quarantine after its last refusal, milliseconds: each return costs the others a refusal.
 */
const QUARANTINE_MS = 60_000;

/**
 * Refusals in a row after which halving teaches nothing more. Finding one span among the most that a request holds by
 * default takes 11, so an account that gets this far had single spans refused and nothing accepted.
 */
const HOPELESS_REFUSALS = 14;
/**
 * From so many refusals in a row on, the next try waits: a collector that has a fault of its own gets time to mend it.
 */
const PATIENT_REFUSALS = 4;
/** The first of these waits, milliseconds; each is twice the one before. */
const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 2000;

/** Refusals that may follow one another at once, of all accounts together. */
const BURST = 4;
/** What a request of the other accounts earns, so that 1 in 20 requests goes to finding what is refused. */
const EARNED_PER_REQUEST = 1 / 20;
/** What a second earns, while the others send nothing and while they do. */
const EARNED_PER_QUIET_SECOND = 20;
const EARNED_PER_BUSY_SECOND = 1 / 5;
/** The others send nothing when their last request is so long ago, milliseconds. */
const QUIET_MS = 1000;
/** Suspects that are looked at for one that can send. More may be there, and are looked at the next time. */
const MOST_LOOKED_AT = 32;

/** An account that had a request of its own refused for its content. */
interface Suspect {
  readonly account: AccountQueue;
  /** What has been refused and is still to be tried in parts, the next one last. */
  readonly parts: OutgoingRequest[];
  refusedInARow: number;
  /** Nothing of it is sent before this, monotonic milliseconds. */
  notBefore: number;
  /** When it is let go if nothing more is refused. */
  until: number;
  /** Its request on the way: one at a time, so that each answer counts before the next request. */
  underWay: OutgoingRequest | undefined;
}

/** What quarantine needs of the sender around it. */
export interface QuarantineOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /**
   * Puts the next request of an account together from chunks that have never been sent; undefined if there are none.
   */
  readonly assemble: (account: AccountQueue) => OutgoingRequest | undefined;
  /** Keeps an account's chunks apart from those of the others, or no longer. */
  readonly setQuarantined: (account: AccountQueue, isQuarantined: boolean) => void;
}

/**
 * Accounts whose spans the collector refuses. Their chunks go in requests of their own, so that they cost nobody else a
 * delivery, and what is refused is halved until the spans at fault are alone.
 *
 * That costs up to two requests a span, and a guest can make all of its spans such ones. So refusals are rationed: the
 * busier the others are, the smaller is the part of the requests that may end with one. What an account has beyond that
 * waits, and fills its own share of the queue alone. Accepted requests cost nothing. When nothing of an account has
 * been accepted for a while, not even single spans, what is refused is given up whole.
 */
export class Quarantine {
  readonly #options: QuarantineOptions;
  readonly #suspects = new Map<AccountQueue, Suspect>();
  /** The suspects in the order of their turns. */
  readonly #turns = new Fifo<Suspect>();
  #busy = 0;
  #tokens = BURST;
  #earnedAt: number;
  #lastOther = -Infinity;
  /** At the end of the process nothing is rationed, since what waits is lost. */
  #isLifted = false;

  constructor(options: QuarantineOptions) {
    this.#options = options;
    this.#earnedAt = options.now();
  }

  /** How many requests of accounts in quarantine are on their way. */
  get busy(): number {
    return this.#busy;
  }

  /** Whether no account is in quarantine. While one is, {@link next} is to be asked from time to time. */
  get isEmpty(): boolean {
    return this.#suspects.size === 0;
  }

  /** Nothing waits for its ration any more. */
  lift(): void {
    this.#isLifted = true;
  }

  /** A request of other accounts was sent. */
  otherSent(): void {
    this.#earn();
    this.#lastOther = this.#options.now();
    this.#tokens = Math.min(BURST, this.#tokens + EARNED_PER_REQUEST);
  }

  /** The next request of an account in quarantine; undefined if none may be sent now. */
  next(): OutgoingRequest | undefined {
    this.#earn();
    const now = this.#options.now();
    for (let looks = Math.min(MOST_LOOKED_AT, this.#turns.length); looks > 0; looks--) {
      const suspect = this.#turns.shift() as Suspect;
      if (now >= suspect.until && suspect.underWay === undefined && suspect.parts.length === 0) {
        this.#letGo(suspect);
        continue;
      }
      this.#turns.push(suspect);
      const mayTry = this.#isLifted || (now >= suspect.notBefore && this.#tokens >= 1);
      if (suspect.underWay !== undefined || !mayTry) continue;
      const request = suspect.parts.pop() ?? this.#options.assemble(suspect.account);
      if (request === undefined) continue;
      suspect.underWay = request;
      this.#busy++;
      return request;
    }
    return undefined;
  }

  /** Takes a part of a refused request that belongs to an account in quarantine. */
  add(account: AccountQueue, request: OutgoingRequest): void {
    this.#suspect(account).parts.push(request);
  }

  /** A request of one account was accepted, all of it or except for some spans. */
  accepted(account: AccountQueue, request: OutgoingRequest): void {
    const suspect = this.#suspects.get(account);
    if (suspect === undefined) return;
    this.#answered(suspect, request);
    suspect.refusedInARow = 0;
    suspect.notBefore = 0;
  }

  /**
   * A request of one account was not answered. Returns whether it was one from here, which is kept to be sent again.
   */
  unanswered(account: AccountQueue, request: OutgoingRequest): boolean {
    const suspect = this.#suspects.get(account);
    if (suspect === undefined) return false;
    this.#answered(suspect, request);
    suspect.parts.push(request);
    return true;
  }

  /** A request of one account was given up, or split, for a reason that is not in its spans. */
  notAtFault(account: AccountQueue, request: OutgoingRequest): void {
    const suspect = this.#suspects.get(account);
    if (suspect !== undefined) this.#answered(suspect, request);
  }

  /**
   * A request of one account was refused for its content, which puts the account in quarantine. Returns whether halving
   * it may still teach something; then {@link add} takes the halves. Otherwise it is to be given up.
   */
  refused(account: AccountQueue, request: OutgoingRequest): boolean {
    const now = this.#options.now();
    const suspect = this.#suspect(account);
    this.#answered(suspect, request);
    this.#tokens--;
    suspect.refusedInARow++;
    suspect.until = now + QUARANTINE_MS;
    const waits = suspect.refusedInARow - PATIENT_REFUSALS;
    if (waits >= 0) suspect.notBefore = now + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** waits);
    return suspect.refusedInARow < HOPELESS_REFUSALS;
  }

  /** All requests that wait here. */
  *requests(): Generator<OutgoingRequest> {
    for (const { parts } of this.#suspects.values()) yield* parts;
  }

  #suspect(account: AccountQueue): Suspect {
    let suspect = this.#suspects.get(account);
    if (suspect === undefined) {
      const until = this.#options.now() + QUARANTINE_MS;
      suspect = { account, parts: [], refusedInARow: 0, notBefore: 0, until, underWay: undefined };
      this.#suspects.set(account, suspect);
      this.#turns.push(suspect);
      this.#options.setQuarantined(account, true);
    }
    return suspect;
  }

  #answered(suspect: Suspect, request: OutgoingRequest): void {
    // It may be one that was sent before the account was put in quarantine.
    if (suspect.underWay !== request) return;
    suspect.underWay = undefined;
    this.#busy--;
  }

  #letGo({ account }: Suspect): void {
    this.#suspects.delete(account);
    this.#options.setQuarantined(account, false);
  }

  #earn(): void {
    const now = this.#options.now();
    const isQuiet = now - this.#lastOther >= QUIET_MS;
    const perSecond = isQuiet ? EARNED_PER_QUIET_SECOND : EARNED_PER_BUSY_SECOND;
    this.#tokens = Math.min(BURST, this.#tokens + perSecond * (now - this.#earnedAt) / 1000);
    this.#earnedAt = now;
  }
}
