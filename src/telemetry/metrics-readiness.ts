import { performance } from "node:perf_hooks";
import type { Metrics } from "../pipeline/metrics.ts";

/** The fill ratio from which on there is hardly room for another batch. */
const FULL = 0.9;
/** How long that may last without an accepted request, milliseconds, because backpressure alone comes and goes. */
const STUCK_MS = 30_000;

/**
 * Says in one line why delivery is stuck: the queue, or with a spool the disk, is full, and a destination has not
 * accepted a request for half a minute. Undefined if it is not stuck.
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
