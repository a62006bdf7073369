import { setTimeout as sleep } from "node:timers/promises";

/** Long enough for the busiest machine. Only a condition that never becomes true takes this long. Milliseconds. */
const PATIENCE_MS = 30_000;
const POLL_MS = 2;

/** Resolves once `condition` holds. Rejects after a long time with what did not happen. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string = condition.toString(),
): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(`did not happen within ${PATIENCE_MS} ms: ${what}`);
    await sleep(POLL_MS);
  }
}
