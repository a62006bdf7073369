/** A first-in, first-out list. Adding and taking are O(1) amortised, however long it gets. */
export class Fifo<Item> {
  #items: (Item | undefined)[] = [];
  /** Where the first is; what lies before has been taken. */
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The first, which stays. */
  first(): Item | undefined {
    return this.#items[this.#head];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** Puts items before the first; O(length). */
  unshift(items: readonly Item[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)];
    this.#head = 0;
  }

  /** Takes the first. */
  shift(): Item | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    // Half of the array is gone before it is copied, so each item is copied once on average.
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes the first for which `isWanted` is true; O(length) unless that is the first of all. */
  shiftFirst<Wanted extends Item>(isWanted: (item: Item) => item is Wanted): Wanted | undefined {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at] as Item;
      if (!isWanted(item)) continue;
      if (at === this.#head) this.shift();
      else this.#items.splice(at, 1);
      return item;
    }
    return undefined;
  }

  /** Drops all items for which `isWanted` is false; O(length). */
  filter(isWanted: (item: Item) => boolean): void {
    this.#items = (this.#items.slice(this.#head) as Item[]).filter(isWanted);
    this.#head = 0;
  }

  [Symbol.iterator](): Iterator<Item> {
    return (this.#items.slice(this.#head) as Item[]).values();
  }
}
