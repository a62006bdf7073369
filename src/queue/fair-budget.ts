/** Into how many classes each doubling of bytes is divided: holdings of one class differ by less than 10 %. */
const CLASSES_PER_DOUBLING = 8;

/** What one account has of a budget. Changed by {@link FairBudget} alone. */
export class Holding<Owner> {
  readonly owner: Owner;
  /** Bytes that the budget counts. */
  bytes = 0;
  /** Of these, bytes that can be dropped to make room. */
  droppable = 0;
  /** Its class by `droppable`; -1 while there is nothing to drop. */
  sizeClass = -1;
  /** Its neighbours in the list of its class. */
  previous: Holding<Owner> | undefined;
  next: Holding<Owner> | undefined;

  constructor(owner: Owner) {
    this.owner = owner;
  }
}

/**
 * Bytes of one kind (in memory, on disk) that accounts hold, and who holds the most. Every operation takes constant
 * time, whatever the number of accounts, since an attacker may have thousands of them.
 *
 * An account's fair share is the limit divided by the number of accounts that hold anything. While there is more than
 * the limit to drop, some account has more than its share of it, so room can always be made without touching an account
 * that holds less (by 10 %, since accounts are compared by size classes).
 */
export class FairBudget<Owner> {
  readonly limit: number;
  #total = 0;
  #droppable = 0;
  #holders = 0;
  /** The first holding of each class. */
  readonly #classes: (Holding<Owner> | undefined)[] = [];

  /** @param limit bytes. */
  constructor(limit: number) {
    this.limit = limit;
  }

  get total(): number {
    return this.#total;
  }

  /** Of the total, bytes that can be dropped to make room. */
  get droppable(): number {
    return this.#droppable;
  }

  /** How many accounts hold anything. */
  get holders(): number {
    return this.#holders;
  }

  /** The fair share of a limit (by default the budget's), bytes. */
  share(limit: number = this.limit): number {
    return limit / Math.max(1, this.#holders);
  }

  /** Counts bytes that an account holds from now on. @param isDroppable whether they may be dropped to make room. */
  hold(holding: Holding<Owner>, bytes: number, isDroppable: boolean): void {
    if (holding.bytes === 0) this.#holders++;
    holding.bytes += bytes;
    this.#total += bytes;
    if (isDroppable) this.#setDroppable(holding, holding.droppable + bytes);
  }

  /** Bytes that an account holds cannot be dropped any more: they are on their way. */
  pin(holding: Holding<Owner>, bytes: number): void {
    this.#setDroppable(holding, holding.droppable - bytes);
  }

  /** Bytes are held no longer. @param isDroppable as it was until now. */
  free(holding: Holding<Owner>, bytes: number, isDroppable: boolean): void {
    holding.bytes -= bytes;
    this.#total -= bytes;
    if (holding.bytes === 0) this.#holders--;
    if (isDroppable) this.#setDroppable(holding, holding.droppable - bytes);
  }

  /** The account with the most bytes that can be dropped, give or take 10 %. Undefined if nothing can be dropped. */
  largest(): Holding<Owner> | undefined {
    const classes = this.#classes;
    while (classes.length > 0 && classes.at(-1) === undefined) classes.pop();
    return classes.at(-1);
  }

  #setDroppable(holding: Holding<Owner>, bytes: number): void {
    this.#droppable += bytes - holding.droppable;
    holding.droppable = bytes;
    const sizeClass = bytes <= 0 ? -1 : Math.floor(Math.log2(bytes) * CLASSES_PER_DOUBLING);
    if (sizeClass === holding.sizeClass) return;
    this.#leaveClass(holding);
    holding.sizeClass = sizeClass;
    if (sizeClass < 0) return;
    const classes = this.#classes;
    while (classes.length <= sizeClass) classes.push(undefined);
    const first = classes[sizeClass];
    holding.next = first;
    if (first !== undefined) first.previous = holding;
    classes[sizeClass] = holding;
  }

  #leaveClass(holding: Holding<Owner>): void {
    const { previous, next, sizeClass } = holding;
    if (sizeClass < 0) return;
    if (previous === undefined) this.#classes[sizeClass] = next;
    else previous.next = next;
    if (next !== undefined) next.previous = previous;
    holding.previous = holding.next = undefined;
  }
}
