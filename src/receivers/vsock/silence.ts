/**
 * How long nothing must come before nothing more is expected, milliseconds: a VMM takes time to pass on what its guest
 * wrote.
 */
const SILENCE_MS = 20;
/**
 * How many turns of the event loop it must last as well: on a busy machine the time may pass without a look at the
 * sockets, and then it proves nothing.
 */
const SILENCE_TURNS = 4;

/** How often {@link Silence.lasts} should be asked, milliseconds. */
export const SILENCE_INTERVAL_MS = SILENCE_MS / SILENCE_TURNS;

/** Tells when a guest that is being read has nothing more in its socket. */
export class Silence {
  #count = -1;
  #turns = 0;
  #since = 0;

  /**
   * To be asked once in each turn of the event loop.
   *
   * @param count what grows with everything that comes. @param now monotonic milliseconds.
   */
  lasts(count: number, now: number): boolean {
    if (count !== this.#count) {
      this.#count = count;
      this.#turns = 0;
      this.#since = now;
      return false;
    }
    this.#turns++;
    return this.#turns >= SILENCE_TURNS && now - this.#since >= SILENCE_MS;
  }

  /** Starts again: in this turn nothing could come. */
  broken(): void {
    this.#count = -1;
  }
}
