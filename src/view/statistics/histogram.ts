/** Each power of two is divided into this many buckets, so that a percentile is right within 1/64, some 1.6 %. */
const BUCKETS_PER_POWER = 32;
const BUCKET_BITS = Math.log2(BUCKETS_PER_POWER);

/**
 * A log-linear histogram of durations in nanoseconds, as HdrHistogram has them: exact up to 31, then 32 buckets for each
 * power of two. Sparse, because one operation's durations lie within a few powers.
 */
export class Histogram {
  readonly #counts = new Map<number, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  /** @param value nanoseconds; what is below 0 counts as 0. */
  add(value: number, count = 1): void {
    const bucket = bucketOf(Math.max(0, Math.floor(value)));
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count);
    this.#total += count;
  }

  /** Takes values out that had been added. */
  remove(value: number): void {
    const bucket = bucketOf(Math.max(0, Math.floor(value)));
    const count = this.#counts.get(bucket) ?? 0;
    if (count === 0) return;
    if (count === 1) this.#counts.delete(bucket);
    else this.#counts.set(bucket, count - 1);
    this.#total--;
  }

  merge(other: Histogram): void {
    for (const [bucket, count] of other.#counts) this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count);
    this.#total += other.#total;
  }

  /** The middle of the bucket that holds the value of a share (0 to 1) of all; NaN if there is none. */
  percentile(share: number): number {
    let left = Math.max(1, Math.ceil(share * this.#total));
    for (const { from, to, count } of this.buckets()) {
      left -= count;
      if (left <= 0) return (from + to - 1) / 2;
    }
    return NaN;
  }

  /** All buckets that hold something, in order: values `from` ≤ value < `to`. */
  buckets(): { from: number; to: number; count: number }[] {
    return [...this.#counts].sort(([a], [b]) => a - b)
      .map(([bucket, count]) => ({ from: lowest(bucket), to: lowest(bucket + 1), count }));
  }

  /** As pairs of bucket and count, for a store. */
  serialize(): string {
    return [...this.#counts].sort(([a], [b]) => a - b).map(([bucket, count]) => `${bucket}:${count}`).join(" ");
  }

  /** Reads what {@link serialize} wrote; throws a `RangeError` on anything else. */
  static parse(text: string): Histogram {
    const histogram = new Histogram();
    for (const pair of text.split(" ")) {
      if (pair === "") continue;
      const [bucket, count, more] = pair.split(":").map(Number);
      if (!isCount(bucket) || !isCount(count) || more !== undefined) throw new RangeError(`invalid bucket "${pair}"`);
      histogram.#counts.set(bucket, (histogram.#counts.get(bucket) ?? 0) + count);
      histogram.#total += count;
    }
    return histogram;
  }
}

function isCount(value: number | undefined): value is number {
  return value !== undefined && Number.isSafeInteger(value) && value >= 0;
}

function bucketOf(value: number): number {
  if (value < BUCKETS_PER_POWER) return value;
  const power = Math.floor(Math.log2(value));
  // log2 of a double just below a power of two may round up to it.
  const exact = value < 2 ** power ? power - 1 : power;
  const within = Math.floor(value / 2 ** (exact - BUCKET_BITS)) - BUCKETS_PER_POWER;
  return (exact - BUCKET_BITS + 1) * BUCKETS_PER_POWER + within;
}

/** The lowest value of a bucket. */
function lowest(bucket: number): number {
  if (bucket < BUCKETS_PER_POWER) return bucket;
  const power = Math.floor(bucket / BUCKETS_PER_POWER) - 1 + BUCKET_BITS;
  return (BUCKETS_PER_POWER + bucket % BUCKETS_PER_POWER) * 2 ** (power - BUCKET_BITS);
}
