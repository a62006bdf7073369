import type { Metrics } from "../../pipeline/metrics.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";
import type { GuestAccount } from "../accounts/guest-account.ts";
import type { Guest } from "./guest.ts";

/** How often connections that are not read are asked whether the other end has closed, milliseconds, at most. */
const LOOK_INTERVAL_MS = 100;
/**
 * How many connections of one guest are compared when one of them has to go, the oldest ones. If a guest has more, all
 * of them would otherwise be looked at for each connection that another guest makes.
 */
const MOST_COMPARED = 64;

/**
 * The places for connections (`--max-guests`).
 *
 * A connection that the other end has closed keeps no place, even if something of it is still to be read, as long as
 * there are not more such connections than places. When all places are taken, a newcomer gets one from a guest that
 * clearly has more places than the newcomer's own, so no guest can keep others out by opening many connections. Failing
 * that, it gets one from a guest that is stuck in a frame.
 */
export class Places {
  readonly #limits: GuestLimits;
  readonly #metrics: Metrics;
  readonly #now: () => number;
  readonly #guests = new Map<GuestAccount<Guest>, Set<Guest>>();
  /** Connections that are read to their end without a place. */
  readonly #leaving = new Set<Guest>();
  #taken = 0;
  #lookedAt = -Infinity;
  /** When no connection was found to be stuck in a frame, the last time that all were looked at. */
  #noneStalledAt = -Infinity;

  /** @param now monotonic milliseconds. */
  constructor(limits: GuestLimits, metrics: Metrics, now: () => number) {
    this.#limits = limits;
    this.#metrics = metrics;
    this.#now = now;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Makes sure that there is room for a connection of `account`; false if no place can be had. */
  makeRoom(account: GuestAccount<Guest>): boolean {
    const { maxGuests, frameTimeoutMs } = this.#limits;
    if (this.#taken < maxGuests || this.#releaseClosed()) return true;
    let most = (this.#guests.get(account)?.size ?? 0) + 1;
    let largest: Set<Guest> | undefined;
    for (const guests of this.#guests.values()) {
      if (guests.size > most) [largest, most] = [guests, guests.size];
    }
    const guest = largest === undefined ? this.#stalled() : leastUseful(firstOf(largest, MOST_COMPARED));
    if (guest === undefined) return false;
    const taken = `all ${maxGuests} places are taken (--max-guests)`;
    if (guest.stalled) {
      this.#metrics.disconnect("frame-timeout");
      guest.disconnect(`${taken}, and a frame was not whole after ${frameTimeoutMs} ms (--frame-timeout)`);
    } else {
      this.#metrics.disconnect("max-guests");
      guest.disconnect(`${taken}, ${most} of them by this guest`);
    }
    return true;
  }

  take(guest: Guest): void {
    const guests = this.#guests.get(guest.account);
    if (guests === undefined) this.#guests.set(guest.account, new Set([guest]));
    else guests.add(guest);
    this.#count(1);
  }

  /** A connection has ended. Gives its place back, if it has one. */
  leave(guest: Guest): void {
    this.#leaving.delete(guest);
    this.#giveBack(guest);
  }

  #giveBack(guest: Guest): void {
    const guests = this.#guests.get(guest.account);
    if (guests?.delete(guest) !== true) return;
    if (guests.size === 0) this.#guests.delete(guest.account);
    this.#count(-1);
  }

  #count(change: number): void {
    this.#taken += change;
    this.#metrics.guestsConnected = this.#taken;
  }

  /** Takes the places of connections that the other end has closed; returns whether there were any. */
  #releaseClosed(): boolean {
    const now = this.#now();
    if (now - this.#lookedAt < LOOK_INTERVAL_MS) return false;
    this.#lookedAt = now;
    for (const guest of [...this.#all()]) {
      if (this.#leaving.size >= this.#limits.maxGuests) break;
      if (!guest.isClosed) continue;
      this.#giveBack(guest);
      this.#leaving.add(guest);
      guest.readToEnd();
    }
    return this.#taken < this.#limits.maxGuests;
  }

  /**
   * Of all connections that are stuck in a frame the one that has been silent for longest. If there is none, it takes a
   * while until all are looked at again, whoever is refused meanwhile. If there are some, `--frame-timeout` limits how
   * often one is found.
   */
  #stalled(): Guest | undefined {
    const now = this.#now();
    if (now - this.#noneStalledAt < LOOK_INTERVAL_MS) return undefined;
    const guest = leastUseful(this.#all());
    if (guest?.stalled === true) return guest;
    this.#noneStalledAt = now;
    return undefined;
  }

  *#all(): Generator<Guest> {
    for (const guests of this.#guests.values()) yield* guests;
  }
}

/** Of some connections one that is stuck in a frame, if any is; else the one that has been silent for longest. */
function leastUseful(guests: Iterable<Guest>): Guest | undefined {
  let least: Guest | undefined;
  for (const guest of guests) {
    const isLess = least === undefined ||
      (guest.stalled === least.stalled ? guest.lastData < least.lastData : guest.stalled);
    if (isLess) least = guest;
  }
  return least;
}

function* firstOf<T>(items: Iterable<T>, count: number): Generator<T> {
  let left = count;
  for (const item of items) {
    yield item;
    if (--left === 0) return;
  }
}
