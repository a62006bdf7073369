import type { QueueSettings } from "../pipeline/settings.ts";
import type { AccountQueue } from "./account-queue.ts";
import type { Watermarks } from "./admission.ts";
import { FairBudget } from "./fair-budget.ts";
import type { SpoolStore } from "./spool-store.ts";

/**
 * What accounts within their share may use beyond the limit of the memory, as a part of it, while one that came earlier
 * fills the rest, and what accounts bring that have just been paused; and at least this many bytes, because a guest's
 * connections may have been read half a MiB each when it is paused, and its open chunk may hold one more.
 */
const MEMORY_RESERVE = 1;
const LEAST_MEMORY_RESERVE_BYTES = 16 * 1024 * 1024;

/** The same for the disk. Small, because the spool keeps little free beyond its limit. */
const DISK_RESERVE = 1 / 8;

/** What may be in memory. Where nobody is paused there is no reserve: the oldest make room at the limit. */
export function memoryLimits({ maxBytes, whenFull }: QueueSettings): Watermarks {
  const reserve = Math.max(maxBytes * MEMORY_RESERVE, LEAST_MEMORY_RESERVE_BYTES);
  return watermarks(maxBytes, whenFull === "pause" ? reserve : 0);
}

/** What may be in the spool. */
export function diskLimits({ limitBytes }: SpoolStore, { whenFull }: QueueSettings): Watermarks {
  return watermarks(limitBytes, whenFull === "pause" ? limitBytes * DISK_RESERVE : 0);
}

function watermarks(limit: number, reserve: number): Watermarks {
  return { budget: new FairBudget<AccountQueue>(limit), full: limit, most: limit + reserve };
}
