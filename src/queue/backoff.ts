import { LONGEST_TIMER_MS } from "../base/longest-timer.ts";

/** How long to wait before a request is tried again, milliseconds. */
export interface RetrySettings {
  /** The longest first wait. */
  readonly initialMs: number;
  /** The longest wait of all. */
  readonly maxMs: number;
}

/**
 * The waits double from one second to half a minute: the latter as OpenTelemetry's collector has it for its own
 * exporters (`max_interval`), so that after an outage of any length spans flow again within that time.
 */
export const DEFAULT_RETRY: RetrySettings = { initialMs: 1000, maxMs: 30_000 };

/**
 * The wait after the given number of failures in a row (from 1), milliseconds: exponential with full jitter, so
 * that forwarders that lost one collector together do not come back to it together.
 *
 * @param retryAfterMs what the collector asked for: a minimum.
 * @param random evenly distributed in [0, 1).
 */
export function backoff(
  settings: RetrySettings,
  failures: number,
  retryAfterMs = 0,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(settings.maxMs, settings.initialMs * 2 ** (failures - 1));
  return Math.min(LONGEST_TIMER_MS, Math.max(retryAfterMs, random() * ceiling));
}
