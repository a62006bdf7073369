import { performance } from "node:perf_hooks";
import type { Metrics } from "../pipeline/metrics.ts";
import type { Capacities } from "./metrics-families.ts";

/** How full delivery is when there is hardly room for another batch. */
const FULL = 0.9;
/** How long that may last without the collector taking anything, milliseconds: backpressure alone comes and goes. */
const STUCK_MS = 30_000;

/**
 * Why delivery is stuck, in one line: what waits fills the queue, or with a spool the disk, and the collector has not
 * taken a request for half a minute. Undefined while it is not.
 *
 * @param now monotonic milliseconds, 0 at the process's start.
 */
export function stuckDelivery(
  metrics: Metrics,
  capacities: Capacities,
  now: number = performance.now(),
): string | undefined {
  const silentMs = now - metrics.lastSuccessAt;
  if (metrics.deliveryFill < FULL || silentMs < STUCK_MS) return undefined;
  const what = capacities.spoolBytes === undefined ? "queue" : "spool";
  const seconds = Math.floor(silentMs / 1000);
  return `delivery is stuck: the ${what} is full, and the collector has taken nothing for ${seconds} s`;
}
