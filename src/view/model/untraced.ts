import type { CriticalSegment, Stretch } from "./critical-path.ts";
import { waitsForGuest } from "./kata-operations.ts";
import { childrenOf, type SpanTable } from "./span-table.ts";

/** A gap counts from this share of the start on. */
const LEAST_SHARE = 0.05;

/** Time of the start in which nobody traced what happened. */
export interface Untraced extends Stretch {
  /** The span that lasted all the while, or undefined if none did. */
  readonly row: number | undefined;
  /** Whether it is the wait for the guest's kernel and agent. */
  readonly isGuestBoot: boolean;
}

/**
 * The stretches of the critical path that no span explains: no span ran at all, or one with children ran while none of
 * them did, or one that only waits for the guest to boot. Those shorter than 5 % of the start are left out.
 */
export function findUntraced(table: SpanTable, start: Stretch, path: readonly CriticalSegment[]): Untraced[] {
  const least = (start.to - start.from) * LEAST_SHARE;
  const children = childrenOf(table.parent);
  return path.flatMap(({ row, from, to }): Untraced[] => {
    if (to - from <= least) return [];
    if (row === undefined) return [{ row, from, to, isGuestBoot: false }];
    const isGuestBoot = waitsForGuest(table.side[row] ?? "host", table.name[row] ?? "");
    const isExplained = (children[row] as number[]).length === 0 && !isGuestBoot;
    return isExplained ? [] : [{ row, from, to, isGuestBoot }];
  });
}
