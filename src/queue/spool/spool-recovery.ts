import type { Logger } from "../../base/log.ts";
import type { RecoveredRecord } from "../spool-store.ts";
import { FORMAT_VERSION } from "./segment-format.ts";
import type { SegmentIndex } from "./segment-index.ts";
import { type FoundHeader, readSegmentHeader, type Scan, scanSegment, type Soundness } from "./segment-scan.ts";
import { isSegmentName, isUnfinishedName, type SegmentPool } from "./segment-pool.ts";
import { Segment } from "./segment.ts";
import { SpoolError, storageError } from "./spool-error.ts";
import type { SpoolStorage, StoredFile } from "./storage.ts";

/** What is known of the records that were found, until the spool has reported them. */
class Found {
  readonly ids: number[] = [];
  readonly spans: number[] = [];
  readonly removed: number[] = [];
  readonly sizes: number[] = [];
  /** Indices of the two lists below. */
  readonly accounts: number[] = [];
  readonly names: string[] = [];
  readonly kinds: RecoveredRecord["kind"][] = [];
  readonly #byName = new Map<string, number>();

  add({ id, account, kind, spans, removedSpans, size }: RecoveredRecord): void {
    const name = `${kind} ${account}`;
    let index = this.#byName.get(name);
    if (index === undefined) {
      index = this.names.push(account) - 1;
      this.kinds.push(kind);
      this.#byName.set(name, index);
    }
    this.ids.push(id);
    this.spans.push(spans);
    this.removed.push(removedSpans);
    this.sizes.push(size);
    this.accounts.push(index);
  }
}

/** What was found in the spool's directory. */
export interface Recovery {
  /** Oldest first; to be gone through once. */
  records(): Generator<RecoveredRecord>;
  readonly nextId: number;
  /** Segments that were closed just now, to be made durable before there are any newer ones. */
  readonly closed: readonly Segment[];
}

interface Candidate {
  readonly file: StoredFile;
  readonly found: Exclude<FoundHeader, "damaged" | { version: number }>;
}

/**
 * Reads the segments in a spool's directory.
 *
 * Throws {@link SpoolError} if a segment was written by another version of the forwarder. What else is wrong with a
 * file is logged, and costs only what is in it.
 */
export function recoverSegments(storage: SpoolStorage, index: SegmentIndex, pool: SegmentPool, log: Logger): Recovery {
  const candidates = openSegments(storage, pool, log);
  const newest = Math.max(...candidates.map(({ found }) => found.header.sequence));
  const found = new Found();
  const closed: Segment[] = [];
  let nextId = 1;
  const used = candidates.filter(({ found }) => found.header.state !== "free")
    .sort((a, b) => a.found.header.sequence - b.found.header.sequence);
  for (const { file, found: { header, isCopyDamaged } } of used) {
    const scan = scanSegment(file, header, header.sequence === newest);
    const segment = Segment.found(file, header, scan.words, scan.records, scan.end);
    if (isCopyDamaged || scan.soundness === "damaged") segment.damaged = true;
    report(segment, scan.soundness, storage, log);
    if (!segment.damaged && header.state === "open" && closeFound(segment)) closed.push(segment);
    index.add(segment);
    pool.found(segment);
    for (const record of scan.records) {
      nextId = Math.max(nextId, record.id + 1);
      if (segment.isLive(record.slot)) takeRecord(record, segment, index, found);
    }
  }
  // Files that were emptied. Those that are used again must not be counted before all that hold records are.
  for (const { file, found: { header } } of candidates) {
    if (header.state === "free") pool.foundFree(file, header.slots);
  }
  return { records: () => tell(found, index), nextId, closed };
}

function takeRecord(
  { id, slot, account, kind, spans, payloadBytes }: Scan["records"][number],
  segment: Segment,
  index: SegmentIndex,
  found: Found,
): void {
  const other = index.locate(id);
  if (other !== undefined) {
    // It was being moved when the process stopped, and is in both places.
    other.segment.remove(other.slot, "delivered");
    index.place(id, segment, slot);
    return;
  }
  index.place(id, segment, slot);
  const removedSpans = segment.removedSpans(slot);
  found.add({ id, account, kind, spans: spans - removedSpans, removedSpans, size: payloadBytes });
}

function* tell(found: Found, index: SegmentIndex): Generator<RecoveredRecord> {
  const { ids, spans, removed, sizes, accounts, names, kinds } = found;
  const order = Uint32Array.from(ids, (_, i) => i).sort((a, b) => (ids[a] as number) - (ids[b] as number));
  for (const i of order) {
    const id = ids[i] as number;
    if (index.locate(id) === undefined) continue;
    const account = accounts[i] as number;
    yield {
      id,
      account: names[account] as string,
      kind: kinds[account] as RecoveredRecord["kind"],
      spans: spans[i] as number,
      removedSpans: removed[i] as number,
      size: sizes[i] as number,
    };
  }
  for (const list of [ids, spans, removed, sizes, accounts, names, kinds]) list.length = 0;
}

/** Opens the files that are segments; takes what is left of unfinished ones away. */
function openSegments(storage: SpoolStorage, pool: SegmentPool, log: Logger): Candidate[] {
  const candidates: Candidate[] = [];
  for (const name of storage.list().sort()) {
    if (isUnfinishedName(name)) removeUnfinished(storage, name, log);
    if (!isSegmentName(name)) continue;
    const opened = openSegment(storage, name, log);
    if (opened === undefined) continue;
    const { file, found } = opened;
    if (found === "damaged") {
      log.error("a segment of the spool is damaged: nothing in it can be read", { file: `${storage.path}/${name}` });
      pool.setAside(file);
    } else if ("version" in found) {
      throw new SpoolError(
        "failed",
        `spool ${storage.path}: ${name} was written by another version of the forwarder (its format is ` +
          `${found.version}, this one's ${FORMAT_VERSION}): let that version send what is in it`,
      );
    } else candidates.push({ file, found });
  }
  return candidates;
}

function openSegment(storage: SpoolStorage, name: string, log: Logger) {
  try {
    const file = storage.open(name);
    return { file, found: readSegmentHeader(file) };
  } catch (error) {
    log.error("a file in the spool's directory cannot be used: it is left alone", {
      file: `${storage.path}/${name}`,
      error: storageError(error, "cannot open it"),
    });
    return undefined;
  }
}

function removeUnfinished(storage: SpoolStorage, name: string, log: Logger): void {
  try {
    storage.remove(name);
  } catch (error) {
    log.warn("a file in the spool's directory cannot be removed", {
      file: `${storage.path}/${name}`,
      error: storageError(error, "cannot remove it"),
    });
  }
}

function report({ file, live }: Segment, soundness: Soundness, { path }: SpoolStorage, log: Logger): void {
  const fields = { file: `${path}/${file.name}`, records: live };
  if (soundness === "torn") {
    log.warn("the last commit to the spool was cut short: its complete records are sent", fields);
  } else if (soundness === "damaged") {
    log.error("a segment of the spool is damaged: everything in it that can be read is sent", fields);
  }
}

/** Writes the end of a segment that records were still being added to. False if the disk does not let it. */
function closeFound(segment: Segment): boolean {
  try {
    segment.rollBack();
    segment.seal();
    return true;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return false;
  }
}
