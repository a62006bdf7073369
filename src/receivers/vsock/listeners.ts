import { loadLibc } from "../../../ffi/libc.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "./listener.ts";
import { loadStreamServers } from "./stream-server.ts";

/** A listener, and whether the others go on without it where the machine has nothing to listen at. */
export interface Part {
  readonly listener: Listener;
  readonly optional: boolean;
}

/** Several places where guests come in, as one. */
export class Listeners implements Listener {
  readonly #options: ListenerOptions;
  #parts: readonly Part[];

  constructor(parts: readonly Part[], options: ListenerOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Those that there are: after `listen`, without the optional ones that the machine has not. */
  get address(): string {
    return this.#parts.map(({ listener }) => listener.address).join(", ");
  }

  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    // What the parts would wait for. Then they wait for nothing, so that no guest is accepted between two of them.
    await loadStreamServers();
    await loadLibc();
    const listening: Part[] = [];
    for (const part of this.#parts) {
      try {
        await part.listener.listen(accept);
        listening.push(part);
      } catch (error) {
        // One that is there and cannot be had must not go unnoticed: no guest would get in there.
        if (!part.optional || !(error instanceof ListenError) || !error.absent) throw error;
        await part.listener.stopAccepting();
        this.#options.onProblem("going on without one of the places to listen at", error);
      }
    }
    this.#parts = listening;
  }

  async begin(): Promise<void> {
    await Promise.all(this.#parts.map(async ({ listener }) => await listener.begin?.()));
  }

  async settle(): Promise<void> {
    await Promise.all(this.#parts.map(async ({ listener }) => await listener.settle?.()));
  }

  async stopAccepting(): Promise<void> {
    await Promise.all(this.#parts.map(({ listener }) => listener.stopAccepting()));
  }

  handOver(): void {
    for (const { listener } of this.#parts) listener.handOver();
  }

  cleanUp(): void {
    for (const { listener } of this.#parts) listener.cleanUp();
  }
}
