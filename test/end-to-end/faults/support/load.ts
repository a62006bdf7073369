import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Guest } from "../../../process/support/sandbox.ts";
import { plainFrames } from "../../../process/support/spans.ts";
import { spanId } from "../../../support/numbers.ts";

/** How a guest sends. */
export interface Pace {
  /** Frames in one write. */
  readonly frames?: number;
  /** Between writes, milliseconds. */
  readonly everyMs?: number;
  /** Bytes of a span's attribute. */
  readonly bytes?: number;
}

/** Frames that the system has taken whole from a guest. */
export interface Written {
  /** The number that the first span's id is made of. */
  readonly first: number;
  readonly count: number;
  /** When the write was done, monotonic milliseconds. */
  readonly at: number;
}

/** How long to wait before connecting again, milliseconds. */
const RECONNECT_MS = 10;

/** A guest that keeps sending spans with ids of its own, and connects again when it is cut off. */
export class LoadGuest {
  readonly written: Written[] = [];
  /** Ids of numbers from `first` to before this may have been sent. */
  next: number;
  readonly first: number;
  readonly #address: string;
  readonly #pace: Required<Pace>;
  #stopping = false;
  #sockets = 0;
  readonly #done: Promise<void>;

  /** @param first the number of its first span; numbers from there on are its own. */
  constructor(address: string, first: number, pace: Pace = {}) {
    this.#address = address;
    this.first = this.next = first;
    this.#pace = { frames: 10, everyMs: 20, bytes: 300, ...pace };
    this.#done = this.#run();
  }

  /** How often it has connected. */
  get connections(): number {
    return this.#sockets;
  }

  /** How many spans have been written whole, of those written before a moment. */
  count(before = Infinity): number {
    return this.written.reduce((sum, { count, at }) => at < before ? sum + count : sum, 0);
  }

  /** Ids of the spans that were written whole, of those written before a moment. */
  ids(before = Infinity): string[] {
    return this.written.filter(({ at }) => at < before).flatMap((written) => this.idsOf(written));
  }

  /** The ids of spans of consecutive numbers. */
  idsOf({ first, count }: Pick<Written, "first" | "count">): string[] {
    return Array.from({ length: count }, (_, i) => spanId(first + i));
  }

  /** Finishes the write that it is at, and leaves. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const guest = await this.#connect();
      if (guest === undefined) {
        await sleep(RECONNECT_MS);
        continue;
      }
      this.#sockets++;
      await this.#send(guest);
      guest[Symbol.dispose]();
    }
  }

  async #connect(): Promise<Guest | undefined> {
    try {
      return await Guest.connect(this.#address);
    } catch (error) {
      // Nobody listens at the moment.
      if (!(error instanceof Error && "code" in error)) throw error;
      return undefined;
    }
  }

  async #send(guest: Guest): Promise<void> {
    const cut = new Promise<false>((resolve) => guest.socket.once("close", () => resolve(false)));
    const { frames, everyMs, bytes } = this.#pace;
    while (!this.#stopping && !guest.closed) {
      const first = this.next;
      this.next += frames;
      const taken = guest.write(plainFrames(first, frames, bytes)).then(() => true, () => false);
      if (!await Promise.race([taken, cut])) return;
      this.written.push({ first, count: frames, at: performance.now() });
      await sleep(everyMs);
    }
    if (!guest.closed) await Promise.race([guest.end(), cut]);
  }
}
