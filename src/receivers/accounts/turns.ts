/** How long guests are worked for at a stretch, milliseconds. */
export interface TurnLengths {
  /** All accounts together, in one turn of the event loop. */
  readonly turnMs: number;
  /** One account, before it is the next one's turn. */
  readonly quantumMs: number;
}

/** Long enough that little is lost to taking turns. */
const USUAL_TURNS: TurnLengths = { turnMs: 8, quantumMs: 2 };
/** If Kata's runtimes are answered in this thread: they wait while a sandbox starts, and so for a turn to end. */
export const SHORT_TURNS: TurnLengths = { turnMs: 0.5, quantumMs: 0.25 };

/**
 * After so long in which nothing came, the turn in which something came last has ended, milliseconds: connections that
 * are ready in one turn of the event loop follow each other faster.
 */
const GAP_MS = 0.5;
/** How many connections of a busy account are read again in each turn, when it has nothing else to do. */
const READ_AGAIN = 8;
/**
 * So many accounts may wait with what has been read of them, which takes up to half a megabyte a connection. The others
 * are not read meanwhile: reading alone takes up to a tenth of a millisecond each.
 */
const MOST_BUSY = 32;
/** How many accounts that were held back are read on trial in each turn. Most of them have nothing to say. */
const MOST_TRIED = 64;
/** So many connections of an account may wait with what has been read of them, before none of it is read any more. */
const MOST_WAITING = 16;

/** A connection that takes turns with others. */
export interface TurnTaker {
  /** Goes on with what has been read of it, until it is done or `Turns.isOver`; returns whether there is more. */
  proceed(): boolean;
  /** It is not to be read until {@link resumeForTurn}. */
  pauseForTurn(): void;
  resumeForTurn(): void;
}

/** One account's part in the {@link Turns}. */
export class AccountTurns {
  /** Its connections. */
  readonly members = new Set<TurnTaker>();
  /** Those of which something has been read that is still to be worked on, the next one first. */
  readonly waiting = new Set<TurnTaker>();
  /** Those that are not read only because the account is busy or held back, the next one first. */
  readonly parked = new Set<TurnTaker>();
  /** How much of its time it has left in this round, milliseconds. */
  deficit = 0;
  /** Whether it is in the round. */
  isBusy = false;
}

/**
 * Shares the time that it takes to process what guests send among their accounts.
 *
 * What comes is processed at once, for an account that does nothing else. What would take longer than its share of a
 * turn of the event loop waits, and so do all of that account's connections: it is busy. Busy accounts take turns
 * (deficit round robin, Shreedhar and Varghese 1995): the time that each has taken is measured, and one that has taken
 * more than its share sits out. So no guest gets more of the process by having more connections, or by sending what is
 * hard to decode, and between two turns everything else goes on.
 *
 * An account is free, busy, or held back:
 *
 *     free       its connections are read, and what comes is processed at once
 *     busy       something of it waits (or waited a moment ago): it is in the round, and its connections are parked
 *     held back  MOST_BUSY accounts are busy, so its connections are parked too, although nothing of it waits
 *
 *     free ── something is left over ──▶ busy ── nothing waits, all is read again ──▶ free
 *     free ── too many are busy ──▶ held back ── tried for a turn in which they were not too many ──▶ free
 *     busy ── nothing waits, but others are held back ──▶ held back, behind them
 *     held back, tried ── something is left over ──▶ busy
 *
 * Accounts that are held back are read again in the order in which they came to be. One that is tried stays where it is
 * in that order until it has been read, so that each is read in the end, whoever sends most.
 */
export class Turns {
  readonly #now: () => number;
  readonly #schedule: (run: () => void) => void;
  readonly #turnMs: number;
  readonly #quantumMs: number;
  readonly #free = new Set<AccountTurns>();
  readonly #busy: AccountTurns[] = [];
  /** The next one to be read first. */
  readonly #heldBack = new Set<AccountTurns>();
  /** Those of the accounts held back that are being read, all or some of their connections. */
  readonly #tried = new Set<AccountTurns>();
  #isScheduled = false;
  /** When the work under way has to stop, when it began, and when the work before it ended; monotonic milliseconds. */
  #deadline = 0;
  #began = 0;
  #ended = -Infinity;
  /** When the first thing came in this turn of the event loop; undefined until it comes. */
  #turnBegan: number | undefined;

  /** @param now monotonic milliseconds. @param schedule runs something in the next turn of the event loop. */
  constructor(
    now: () => number,
    schedule: (run: () => void) => void = setImmediate,
    { turnMs, quantumMs }: TurnLengths = USUAL_TURNS,
  ) {
    this.#now = now;
    this.#schedule = schedule;
    this.#turnMs = turnMs;
    this.#quantumMs = quantumMs;
  }

  /** Whether the work under way has taken its time, and the rest has to wait. */
  get isOver(): boolean {
    return this.#now() >= this.#deadline;
  }

  /**
   * Begins to work on something that has just come. False if it has to wait, because the account is busy or this turn
   * of the event loop is over. To be followed by {@link end} in either case.
   */
  begin(account: AccountTurns): boolean {
    const now = this.#now();
    // A turn that has used up an account's share ends with `#run`; a pause in it may be another process's doing.
    if (!this.#isScheduled && now - this.#ended > GAP_MS) this.#turnBegan = undefined;
    this.#turnBegan ??= now;
    if (this.#heldBack.delete(account)) this.#heldBack.add(account);
    this.#began = now;
    const mayBegin = !account.isBusy && now - this.#turnBegan < this.#turnMs;
    this.#deadline = mayBegin ? now + this.#quantumMs : now;
    return mayBegin;
  }

  /** Ends what {@link begin} began. @param isLeft whether `taker` has something that waits. */
  end(account: AccountTurns, taker: TurnTaker, isLeft: boolean): void {
    this.#ended = this.#now();
    if (this.#ended - (this.#turnBegan ?? this.#began) >= this.#quantumMs) this.#scheduleRun();
    if (!isLeft) return;
    if (!account.isBusy) this.#makeBusy(account, this.#ended - this.#began);
    else if (account.waiting.size >= MOST_WAITING) this.#park(account);
    account.waiting.add(taker);
    account.parked.delete(taker);
    if (account.members.has(taker)) taker.pauseForTurn();
  }

  /**
   * A connection has been accepted. It is not read while its account is busy or held back, as the account's others are
   * not.
   */
  join(account: AccountTurns, taker: TurnTaker): void {
    account.members.add(taker);
    if (!account.isBusy && !this.#heldBack.has(account)) {
      this.#free.add(account);
      if (this.#busy.length < MOST_BUSY) return;
      this.#holdBack(account);
    }
    if (account.parked.has(taker)) return;
    account.parked.add(taker);
    taker.pauseForTurn();
  }

  /** A connection has ended: it is not read any more, but what waits of it is still worked on. */
  detach(account: AccountTurns, taker: TurnTaker): void {
    account.members.delete(taker);
    account.parked.delete(taker);
    if (account.members.size > 0) return;
    this.#free.delete(account);
    this.#heldBack.delete(account);
    this.#tried.delete(account);
  }

  /** A connection takes no more turns, and what waits of it is given up. */
  leave(account: AccountTurns, taker: TurnTaker): void {
    this.detach(account, taker);
    account.waiting.delete(taker);
  }

  /** Something is left over of what came of the account. @param taken how long it was worked for, milliseconds. */
  #makeBusy(account: AccountTurns, taken: number): void {
    account.isBusy = true;
    account.deficit = -taken;
    this.#free.delete(account);
    this.#heldBack.delete(account);
    this.#tried.delete(account);
    this.#busy.push(account);
    this.#scheduleRun();
    this.#park(account);
    if (this.#busy.length < MOST_BUSY) return;
    for (const other of this.#tried) this.#park(other);
    this.#tried.clear();
    for (const other of this.#free) this.#holdBack(other);
  }

  /** Reads nothing of an account of which nothing waits, until its turn comes. */
  #holdBack(account: AccountTurns): void {
    this.#free.delete(account);
    this.#park(account);
    this.#heldBack.add(account);
    this.#scheduleRun();
  }

  /** Reads none of the account's connections. */
  #park(account: AccountTurns): void {
    for (const member of account.members) {
      if (account.waiting.has(member) || account.parked.has(member)) continue;
      account.parked.add(member);
      member.pauseForTurn();
    }
  }

  #scheduleRun(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#schedule(() => this.#run());
  }

  /** A turn of the event loop has ended, in which what had come was read. */
  #run(): void {
    this.#isScheduled = false;
    const began = this.#now();
    // What has just come may have had the half of it, and what waits has the other.
    const used = this.#turnBegan === undefined ? 0 : Math.min(this.#turnMs / 2, this.#ended - this.#turnBegan);
    const end = began + this.#turnMs - used;
    this.#turnBegan = undefined;
    for (let left = this.#busy.length; left > 0 && this.#now() < end; left--) {
      const account = this.#busy.shift() as AccountTurns;
      // What was not used is not saved up; a debt is paid.
      account.deficit = Math.min(account.deficit, 0) + this.#quantumMs;
      this.#work(account, end);
      if (account.waiting.size > 0) this.#busy.push(account);
      else this.#rest(account);
    }
    if (this.#busy.length < MOST_BUSY) this.#tryHeldBack();
    if (this.#busy.length > 0 || this.#heldBack.size > 0) this.#scheduleRun();
  }

  /** Nothing waits of a busy account any more. */
  #rest(account: AccountTurns): void {
    account.isBusy = false;
    if (account.members.size === 0) return;
    if (this.#heldBack.size > 0) return this.#holdBack(account);
    this.#readAgain(account);
    account.isBusy = account.parked.size > 0;
    if (account.isBusy) this.#busy.push(account);
    else this.#free.add(account);
  }

  /** Reads accounts again that were held back, some at a time: they are free if they leave nothing over in a turn. */
  #tryHeldBack(): void {
    for (const account of this.#tried) {
      if (account.parked.size > 0) {
        this.#readAgain(account);
        continue;
      }
      this.#tried.delete(account);
      this.#heldBack.delete(account);
      this.#free.add(account);
    }
    for (const account of this.#heldBack) {
      if (this.#tried.size >= MOST_TRIED) return;
      if (this.#tried.has(account)) continue;
      this.#tried.add(account);
      this.#readAgain(account);
    }
  }

  #work(account: AccountTurns, end: number): void {
    for (;;) {
      const [taker] = account.waiting;
      const began = this.#now();
      this.#deadline = Math.min(end, began + account.deficit);
      // Compared as a sum, because a deficit can be too small to move the deadline, and then nothing would be done.
      if (taker === undefined || this.#deadline <= began) return;
      account.waiting.delete(taker);
      const isLeft = taker.proceed();
      account.deficit -= this.#now() - began;
      if (isLeft) account.waiting.add(taker);
      else if (account.members.has(taker)) account.parked.add(taker);
    }
  }

  #readAgain(account: AccountTurns): void {
    let count = 0;
    for (const taker of account.parked) {
      if (count++ === READ_AGAIN) return;
      account.parked.delete(taker);
      taker.resumeForTurn();
    }
  }
}
