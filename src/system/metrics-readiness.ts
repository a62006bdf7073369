import { performance } from "node:perf_hooks";
import type { Metrics } from "../metrics.ts";
import type { Capacities } from "./metrics-families.ts";

/** How full the queue or the spool is when there is hardly room for another batch. */
const FULL = 0.9;
/** How long that may last without the collector taking anything, milliseconds: backpressure alone comes and goes. */
const STUCK_MS = 30_000;

/**
 * Why delivery is stuck, in one line: what waits fills the queue or the spool, and the collector has not taken a request
 * for half a minute. Undefined while it is not.
 *
 * @param now the time, milliseconds since the epoch.
 */
export function stuckDelivery(
  metrics: Metrics,
  capacities: Capacities,
  now: number = Date.now(),
): string | undefined {
  const fills: readonly [string, number, number][] = [
    ["queue", metrics.queueBytes, capacities.queueBytes],
    ["spool", metrics.spoolBytes, capacities.spoolBytes ?? Infinity],
  ];
  const full = fills.find(([, bytes, capacity]) => bytes >= capacity * FULL);
  const since = metrics.lastSuccess || performance.timeOrigin;
  if (full === undefined || now - since < STUCK_MS) return undefined;
  const seconds = Math.floor((now - since) / 1000);
  return `delivery is stuck: the ${
    full[0]
  } is full, and the collector has taken nothing for ${seconds} s`;
}
