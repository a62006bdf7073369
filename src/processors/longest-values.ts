/** Lengths are below 2^32. */
const BUCKETS = 32;

/** How long some values are, to find out where the longest have to be cut. It takes no more memory for more values. */
export class LongestValues {
  /** For each power of two, how many values have a length from there to the next one, and how long they are together. */
  readonly #counts = new Float64Array(BUCKETS);
  readonly #sums = new Float64Array(BUCKETS);

  clear(): void {
    this.#counts.fill(0);
    this.#sums.fill(0);
  }

  add(bytes: number): void {
    const bucket = 31 - Math.clz32(bytes | 1);
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sums[bucket] = (this.#sums[bucket] as number) + bytes;
  }

  /** To which length the longest values have to be cut, so that all of them together are at least `bytes` shorter. */
  cutFor(bytes: number): number {
    // The values that are longer than what is looked at.
    let count = 0;
    let sum = 0;
    for (let bucket = BUCKETS - 1; bucket >= 0; bucket--) {
      const shortest = 2 ** bucket;
      const within = sum + (this.#sums[bucket] as number) - (count + (this.#counts[bucket] as number)) * shortest;
      if (within >= bytes) return Math.max(shortest, count === 0 ? 0 : Math.floor((sum - bytes) / count));
      count += this.#counts[bucket] as number;
      sum += this.#sums[bucket] as number;
    }
    return 0;
  }
}
