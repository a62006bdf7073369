import { performance } from "node:perf_hooks";
import { setImmediate as nextTurn } from "node:timers/promises";

/** How long is worked in one turn of the event loop, milliseconds. */
const SLICE_MS = 4;

/**
 * Does work that consists of many short steps: one piece after the other, a few milliseconds in each turn of the event
 * loop, between which everything else goes on.
 */
export class StepQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Does all steps, after those of earlier calls. Resolves with what they return; rejects with what they throw. */
  run<T>(steps: Generator<void, T>): Promise<T> {
    const done = this.#last.then(() => runInSlices(steps));
    // Who called is told; the next one begins all the same.
    this.#last = done.catch(() => {});
    return done;
  }
}

async function runInSlices<T>(steps: Generator<void, T>): Promise<T> {
  for (;;) {
    await nextTurn();
    const end = performance.now() + SLICE_MS;
    do {
      const step = steps.next();
      if (step.done === true) return step.value;
    } while (performance.now() < end);
  }
}
