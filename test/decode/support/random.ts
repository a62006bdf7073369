/** Reproducible random numbers: the same seed gives the same sequence (xorshift128, Marsaglia 2003). */
export class Random {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    // Splitmix-like spreading, so that neighbouring seeds give unrelated sequences.
    for (let i = 0; i < 4; i++) {
      seed = (seed + 0x9e3779b9) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.#state[i] = (mixed ^ (mixed >>> 15)) | 1;
    }
  }

  uint32(): number {
    const state = this.#state;
    let t = state[3] as number;
    const s = state[0] as number;
    state[3] = state[2] as number;
    state[2] = state[1] as number;
    state[1] = s;
    t ^= t << 11;
    t ^= t >>> 8;
    state[0] = t ^ s ^ (s >>> 19);
    return state[0] as number;
  }

  uint64(): bigint {
    return (BigInt(this.uint32()) << 32n) | BigInt(this.uint32());
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor(this.uint32() / 0x1_0000_0000 * limit);
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** `count` results of `make`. */
  many<T>(count: number, make: () => T): T[] {
    return Array.from({ length: count }, make);
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}
