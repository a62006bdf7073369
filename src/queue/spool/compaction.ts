import type { SegmentIndex } from "./segment-index.ts";
import type { Entry } from "./record-writer.ts";
import type { Segment } from "./segment.ts";

/**
 * Segments are emptied for others only if what is left in them is at most this share of their bytes. Even then up to
 * seven bytes are copied for each one that is gained, but only if the spool is nearly full.
 */
const MAX_LIVE_SHARE = 7 / 8;
/** Bytes that are read at once before they are written to their new place. */
const MOVED_BYTES = 1024 * 1024;

/** A record on its way from one segment to another. */
export interface MovedEntry extends Entry {
  readonly from: { readonly segment: Segment; readonly slot: number };
}

/**
 * Chooses segments whose records fit together into another one of `capacity` bytes, those with the smallest share in
 * use first. A record of `size` bytes must fit in addition.
 */
export function chooseSparse(
  index: SegmentIndex,
  unmovable: ReadonlySet<Segment>,
  capacity: number,
  size: number,
): Segment[] {
  const chosen: Segment[] = [];
  let bytes = size;
  const sealed = [...index.segments()].filter((segment) =>
    !segment.isOpen && !segment.damaged && !unmovable.has(segment) && segment.live > 0
  );
  for (const segment of sealed.sort((a, b) => liveShare(a) - liveShare(b))) {
    if (liveShare(segment) > MAX_LIVE_SHARE) break;
    if (bytes + segment.liveBytes > capacity * MAX_LIVE_SHARE) continue;
    bytes += segment.liveBytes;
    chosen.push(segment);
  }
  return chosen;
}

function liveShare({ liveBytes, capacity }: Segment): number {
  return liveBytes / capacity;
}

/** Reads what is left in a segment, in groups that are written at once. Throws the storage's error or `SpoolError`. */
export function* movedEntries(segment: Segment): Generator<MovedEntry[]> {
  let group: MovedEntry[] = [];
  let bytes = 0;
  for (const slot of segment.liveSlots()) {
    const entry = segment.read(slot);
    group.push({ ...entry, from: { segment, slot } });
    bytes += entry.bytes.length;
    if (bytes < MOVED_BYTES) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}
