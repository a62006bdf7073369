import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Figures, Forwarder } from "../../../process/support/forwarder.ts";

const INTERVAL_MS = 25;

/** Reads a forwarder's /metrics again and again, and holds it to received = forwarded + dropped + invalid + held. */
export class Equation {
  /** How often it held. */
  readings = 0;
  last: Figures | undefined;
  #wrong: string | undefined;
  #stopping = false;
  readonly #done: Promise<void>;

  /** @param forwarder one that was started with `--metrics`; it may be killed at any moment. */
  constructor(forwarder: Forwarder) {
    this.#done = this.#watch(forwarder);
  }

  /** Reads no more. Rejects where it did not hold. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
    assert.equal(this.#wrong, undefined);
  }

  async #watch(forwarder: Forwarder): Promise<void> {
    while (!this.#stopping && forwarder.exit === undefined) {
      let figures: Figures;
      try {
        if (forwarder.recordsOf("serving metrics").length === 0) {
          await sleep(INTERVAL_MS);
          continue;
        }
        figures = await forwarder.recentFigures();
      } catch {
        // It was killed, or is stopping; that it answers is checked by the number of readings.
        await sleep(INTERVAL_MS);
        continue;
      }
      if (!holds(figures)) this.#wrong ??= JSON.stringify(figures);
      this.readings++;
      this.last = figures;
      await sleep(INTERVAL_MS);
    }
  }
}

function holds({ received, forwarded, dropped, invalid, held }: Figures): boolean {
  return received === forwarded + dropped + invalid + held;
}

/** Asserts the equation once, on figures just read, and returns them. */
export async function assertEquation(forwarder: Forwarder): Promise<Figures> {
  const figures = await forwarder.figures();
  assert.ok(holds(figures), JSON.stringify(figures));
  return figures;
}
