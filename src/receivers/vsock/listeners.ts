import { loadLibc } from "../../../ffi/libc.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "./listener.ts";
import { loadStreamServers } from "./stream-server.ts";

/** One of several listeners, and whether the others go on without it if the machine has nothing to listen at. */
export interface ListenerEntry {
  readonly listener: Listener;
  readonly optional: boolean;
}

/** Several places where guests come in, as one. */
export class Listeners implements Listener {
  readonly #options: ListenerOptions;
  #entries: readonly ListenerEntry[];

  constructor(entries: readonly ListenerEntry[], options: ListenerOptions) {
    this.#entries = entries;
    this.#options = options;
  }

  /** After `listen`, without the optional ones that this machine does not have. */
  get address(): string {
    return this.#entries.map(({ listener }) => listener.address).join(", ");
  }

  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    // Loaded first, so that the listeners wait for nothing and no guest is accepted between two of them.
    await loadStreamServers();
    await loadLibc();
    const listening: ListenerEntry[] = [];
    for (const entry of this.#entries) {
      try {
        await entry.listener.listen(accept);
        listening.push(entry);
      } catch (error) {
        // One that exists but cannot be used must not go unnoticed, because no guest could connect there.
        if (!entry.optional || !(error instanceof ListenError) || !error.absent) throw error;
        await entry.listener.stopAccepting();
        this.#options.onProblem("going on without one of the places to listen at", error);
      }
    }
    this.#entries = listening;
  }

  async begin(): Promise<void> {
    await Promise.all(this.#entries.map(async ({ listener }) => await listener.begin?.()));
  }

  async settle(): Promise<void> {
    await Promise.all(this.#entries.map(async ({ listener }) => await listener.settle?.()));
  }

  async stopAccepting(): Promise<void> {
    await Promise.all(this.#entries.map(({ listener }) => listener.stopAccepting()));
  }

  handOver(): void {
    for (const { listener } of this.#entries) listener.handOver();
  }

  cleanUp(): void {
    for (const { listener } of this.#entries) listener.cleanUp();
  }
}
