/** Names that are remembered, or may stay in the store although no span has them: a node has some hundred. */
const MAX_REMEMBERED = 10_000;
/** The longest name that is remembered, UTF-16 units. */
const LONGEST_REMEMBERED = 256;

/** What it needs of a store. */
interface Statements {
  all(sql: string, ...values: string[]): Record<string, unknown>[];
  run(sql: string, ...values: string[]): number;
}

/**
 * The numbers that spans have instead of their operation's name and side. Guests choose names, so both what is
 * remembered here and what stays in the store is bounded.
 */
export class OperationNames {
  readonly #store: Statements;
  readonly #remembered = new Map<string, number>();

  constructor(store: Statements) {
    this.#store = store;
  }

  /** The number of an operation. `isNew` if it had none before. */
  find(side: string, name: string): { readonly id: number; readonly isNew: boolean } {
    const key = `${side} ${name}`;
    const known = this.#remembered.get(key);
    if (known !== undefined) return { id: known, isNew: false };
    const isNew = this.#store.run("INSERT OR IGNORE INTO op (side, name) VALUES (?, ?)", side, name) > 0;
    const id = Number(this.#store.all("SELECT id FROM op WHERE side = ? AND name = ?", side, name)[0]?.["id"]);
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
    if (name.length <= LONGEST_REMEMBERED) this.#remembered.set(key, id);
    return { id, isNew };
  }

  /** To be called when spans have been removed: many names that no span has any more are removed, too. */
  prune(): void {
    const count = Number(this.#store.all("SELECT count(*) AS count FROM op")[0]?.["count"]);
    if (count <= MAX_REMEMBERED) return;
    this.forget();
    this.#store.run("DELETE FROM op WHERE id NOT IN (SELECT op FROM span)");
  }

  /** Forgets all names, because a change that put some of them into the store may have been undone. */
  forget(): void {
    this.#remembered.clear();
  }
}
