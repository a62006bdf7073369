/** What the bodies of all requests together may take while they are being read. */
export class BodyBudget {
  readonly #limit: number;
  #used = 0;

  /** @param limit bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  take(bytes: number): boolean {
    if (this.#used + bytes > this.#limit) return false;
    this.#used += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#used -= bytes;
  }
}

/** Why a body is not taken. */
export type BodyProblem = "too-large" | "no-room";

const EMPTY = new Uint8Array(0);

/** Collects the chunks of one body within its limits. */
export class BodyCollector {
  readonly #budget: BodyBudget;
  readonly #limit: number;
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  constructor(budget: BodyBudget, limit: number) {
    this.#budget = budget;
    this.#limit = limit;
  }

  /** Takes a chunk; returns why it cannot. */
  add(chunk: Uint8Array): BodyProblem | undefined {
    if (this.#bytes + chunk.length > this.#limit) return "too-large";
    if (!this.#budget.take(chunk.length)) return "no-room";
    this.#bytes += chunk.length;
    this.#chunks.push(chunk);
    return undefined;
  }

  /** The whole body, which from here on is the caller's to hold. */
  finish(): Uint8Array {
    const body = this.#chunks.length === 1 ? this.#chunks[0] as Uint8Array : this.#joined();
    this.discard();
    return body;
  }

  /** Gives back what the body takes. */
  discard(): void {
    this.#budget.giveBack(this.#bytes);
    this.#chunks = [];
    this.#bytes = 0;
  }

  #joined(): Uint8Array {
    if (this.#bytes === 0) return EMPTY;
    const body = new Uint8Array(this.#bytes);
    let at = 0;
    for (const chunk of this.#chunks) {
      body.set(chunk, at);
      at += chunk.length;
    }
    return body;
  }
}
