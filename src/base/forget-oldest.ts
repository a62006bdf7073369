/** A map or a set, which keep their keys in the order in which these were added. */
interface Ordered<Key> {
  readonly size: number;
  keys(): Iterable<Key>;
  delete(key: Key): boolean;
}

/** Deletes what was added to a map or a set first, until no more than `most` entries are left. */
export function forgetOldest<Key>(entries: Ordered<Key>, most: number): void {
  if (entries.size <= most) return;
  for (const oldest of entries.keys()) {
    entries.delete(oldest);
    if (entries.size <= most) return;
  }
}
