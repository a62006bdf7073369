/**
 * The longest wait that a collector may ask for, milliseconds. A wrong clock, a wrong unit or a proxy's maintenance
 * page must not stop delivery for days. A collector that asks for more is tried every five minutes.
 */
export const LONGEST_RETRY_AFTER_MS = 5 * 60_000;

/** `Retry-After` (RFC 9110, 10.2.3), seconds or a date, in milliseconds; undefined if it is neither. */
export function parseRetryAfter(value: string | undefined, now: number = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(value)) return capped(Number(value) * 1000);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : capped(date - now);
}

/** A wait that was asked for, as far as it is kept to. */
export function capped(milliseconds: number): number {
  return Math.min(LONGEST_RETRY_AFTER_MS, Math.max(0, milliseconds));
}
