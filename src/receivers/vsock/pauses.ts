import type { GuestConnection } from "./listener.ts";

/** Why a guest is not read at the moment; it is read again when the last reason has gone. */
export type PauseReason = "delivery" | "rate" | "turn" | "stop";

/** The reasons for which one connection is not read, and since when. */
export class Pauses {
  readonly #connection: Pick<GuestConnection, "pause" | "resume">;
  readonly #now: () => number;
  readonly #reasons = new Set<PauseReason>();
  #since = 0;

  /** @param now monotonic milliseconds. */
  constructor(connection: Pick<GuestConnection, "pause" | "resume">, now: () => number) {
    this.#connection = connection;
    this.#now = now;
  }

  get any(): boolean {
    return this.#reasons.size > 0;
  }

  /** For how long the connection has not been read, milliseconds. */
  get unreadMs(): number {
    return this.any ? this.#now() - this.#since : 0;
  }

  has(reason: PauseReason): boolean {
    return this.#reasons.has(reason);
  }

  add(reason: PauseReason): void {
    if (!this.any) {
      this.#connection.pause();
      this.#since = this.#now();
    }
    this.#reasons.add(reason);
  }

  /** Returns for how long the connection was not read, milliseconds, if it is read again; else 0. */
  remove(reason: PauseReason): number {
    if (!this.#reasons.delete(reason) || this.any) return 0;
    this.#connection.resume();
    return this.#now() - this.#since;
  }
}
