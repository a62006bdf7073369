import { performance } from "node:perf_hooks";
import type { Metrics } from "../pipeline/metrics.ts";

/** How full delivery is when there is hardly room for another batch. */
const FULL = 0.9;
/** How long that may last without the collector taking anything, milliseconds: backpressure alone comes and goes. */
const STUCK_MS = 30_000;

/**
 * Why delivery is stuck, in one line: what waits fills the queue, or with a spool the disk, and a destination has not
 * taken a request for half a minute. Undefined while it is not.
 *
 * @param now monotonic milliseconds, 0 at the process's start.
 */
export function stuckDelivery(
  metrics: Metrics,
  now: number = performance.now(),
): string | undefined {
  for (const { name, deliveryFill, lastSuccessAt, spoolCapacityBytes } of metrics.destinations.values()) {
    const silentMs = now - lastSuccessAt;
    if (deliveryFill < FULL || silentMs < STUCK_MS) continue;
    const what = spoolCapacityBytes === 0 ? "queue" : "spool";
    const seconds = Math.floor(silentMs / 1000);
    return `delivery is stuck: the ${what} is full, and the ${name} has taken nothing for ${seconds} s`;
  }
  return undefined;
}
