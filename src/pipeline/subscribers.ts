/** Callbacks for when something has changed. */
export class Subscribers<Arguments extends readonly unknown[]> {
  readonly #callbacks = new Set<{ readonly call: (...what: Arguments) => void }>();

  /** Adds one; returns what takes it out again. The same function may subscribe more than once. */
  add(call: (...what: Arguments) => void): () => void {
    const entry = { call };
    this.#callbacks.add(entry);
    return () => void this.#callbacks.delete(entry);
  }

  /** Tells all that are subscribed now. */
  notify(...what: Arguments): void {
    for (const { call } of [...this.#callbacks]) call(...what);
  }
}
