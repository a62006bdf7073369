import { crc32 } from "node:zlib";
import {
  dataStart,
  decodeRecordHeader,
  decodeSegmentHeader,
  findMarker,
  HEADER_OFFSETS,
  MARKER_BYTES,
  RECORD_HEADER_BYTES,
  recordBytes,
  type RecordHeader,
  type SegmentHeader,
  SLOTS_AT,
} from "./segment-format.ts";
import type { FoundRecord } from "./segment.ts";
import type { StoredFile } from "./storage.ts";

/** How much is read at once, bytes: of records that lie close together, and behind one that was skipped. */
const WINDOW_BYTES = 64 * 1024;
const SKIP_WINDOW_BYTES = 4096;
/** What is skipped if it cannot be read, bytes, and how often before the rest of the file is given up. */
const UNREADABLE_BYTES = 4096;
const MAX_UNREADABLE = 16;

/** A record that was found on disk. */
export interface ScannedRecord extends FoundRecord, Pick<RecordHeader, "id" | "kind" | "spans" | "payloadCrc"> {
  readonly account: string;
}

/**
 * What became of the records that were in a segment:
 * - `complete`: they are all there.
 * - `torn`: the process or the machine stopped during a commit, which is not there as a whole.
 * - `damaged`: records are missing that had been committed, or the disk has changed something else.
 */
export type Soundness = "complete" | "torn" | "damaged";

/** What is in a segment. The records' payloads have not been looked at. */
export interface Scan {
  readonly records: readonly ScannedRecord[];
  readonly soundness: Soundness;
  /** Where the records end. */
  readonly end: number;
  readonly words: Uint32Array<ArrayBuffer>;
}

/** The header of a segment, and whether one of the two copies is damaged; or the version it has, if that is another. */
export type FoundHeader =
  | { readonly header: SegmentHeader; readonly isCopyDamaged: boolean }
  | { readonly version: number }
  | "damaged";

/** Reads a segment's header. Throws the storage's error. */
export function readSegmentHeader(file: StoredFile): FoundHeader {
  const page = new Uint8Array(SLOTS_AT);
  const read = file.read([page], 0);
  const copies = HEADER_OFFSETS.map((at) => decodeSegmentHeader(page.subarray(0, read), at));
  const sound = copies.filter((copy): copy is SegmentHeader => typeof copy === "object");
  // Copies that differ were being written when the machine stopped. If one says that the segment is free, nothing that
  // had been committed is lost with it: it had just been emptied, or was about to get its first records.
  const header = sound.find(({ state }) => state === "free") ?? sound.find(({ state }) => state === "sealed") ??
    sound[0];
  if (header !== undefined) return { header, isCopyDamaged: sound.length < copies.length };
  const version = copies.find((copy) => typeof copy === "number");
  return version === undefined ? "damaged" : { version };
}

/**
 * Finds the records of a segment that is not free. Throws the storage's error only if nothing can be read.
 *
 * @param isNewest whether no other segment has a higher sequence: of the others, every commit had succeeded.
 */
export function scanSegment(file: StoredFile, header: SegmentHeader, isNewest: boolean): Scan {
  const words = readWords(file, header);
  // Records are sent twice rather than not at all.
  const noWords = new Uint32Array(header.slots);
  const chain = followRecords(file, header);
  const { records, hasEnd, gaps } = chain;
  const lastCommit = records.at(-1)?.commitSlot ?? 0;
  const isCommitted = header.state === "sealed" || !isNewest || hasEnd || gaps.some((gap) => gap.slot < lastCommit);
  if (isCommitted || words === undefined) {
    const isWhole = words !== undefined && hasEnd && gaps.length === 0 &&
      (header.state !== "sealed" || chain.end === header.end);
    return { records, soundness: isWhole ? "complete" : "damaged", end: chain.end, words: words ?? noWords };
  }
  // Only what comes before the first thing that is missing.
  const kept = records.filter(({ slot }) => slot < (gaps[0]?.slot ?? Infinity));
  let whole = kept.length;
  const commit = kept.at(-1)?.commitSlot ?? 0;
  while (whole > 0 && (kept[whole - 1] as ChainRecord).slot >= commit) whole--;
  while (whole < kept.length && isPayloadSound(file, kept[whole] as ChainRecord)) whole++;
  const last = kept[whole - 1];
  const end = last === undefined
    ? dataStart(header.slots)
    : last.offset + recordBytes(last.accountBytes, last.payloadBytes);
  return { records: kept.slice(0, whole), soundness: "torn", end, words };
}

function isPayloadSound(file: StoredFile, record: ChainRecord): boolean {
  const bytes = new Uint8Array(record.payloadBytes);
  const at = record.offset + RECORD_HEADER_BYTES + record.accountBytes;
  return file.read([bytes], at) === bytes.length && crc32(bytes) === record.payloadCrc;
}

/** The slots on disk; undefined if they cannot be read. */
function readWords(file: StoredFile, { slots }: SegmentHeader): Uint32Array<ArrayBuffer> | undefined {
  const words = new Uint32Array(slots);
  try {
    file.read([new Uint8Array(words.buffer)], SLOTS_AT);
    return words;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return undefined;
  }
}

interface ChainRecord extends ScannedRecord {
  readonly commitSlot: number;
}

interface Chain {
  readonly records: ChainRecord[];
  /** Where something else than a record was found, and the slot that the record there should have had. */
  readonly gaps: { readonly slot: number }[];
  readonly hasEnd: boolean;
  /** Where the end record is or, without one, where the last record ends. */
  readonly end: number;
}

/** Goes from record to record; if something is damaged, on to the next one that can be found. */
function followRecords(file: StoredFile, header: SegmentHeader): Chain {
  const { marker, slots } = header;
  const window = new Window(file);
  const records: ChainRecord[] = [];
  const gaps: { slot: number }[] = [];
  let [position, end] = [dataStart(slots), dataStart(slots)];
  let expected = 0;
  while (position + RECORD_HEADER_BYTES <= file.size) {
    const found = window.recordAt(position, marker);
    const size = found === undefined ? 0 : recordBytes(found.accountBytes, found.payloadBytes);
    const isPossible = found !== undefined && found.slot >= expected && position + size <= file.size &&
      (found.type === "end" || found.slot < slots);
    if (!isPossible) {
      if (gaps.at(-1)?.slot !== expected) gaps.push({ slot: expected });
      const next = window.findMarker(position + 1, marker);
      if (next === undefined) break;
      position = next;
      continue;
    }
    if (found.slot > expected && gaps.at(-1)?.slot !== expected) gaps.push({ slot: expected });
    if (found.type === "end") return { records, gaps, hasEnd: true, end: position };
    const { slot, id, kind, spans, payloadCrc, accountBytes, payloadBytes, commitSlot } = found;
    const account = window.text(position + RECORD_HEADER_BYTES, accountBytes);
    records.push({
      slot,
      offset: position,
      accountBytes,
      payloadBytes,
      id,
      kind,
      spans,
      payloadCrc,
      account,
      commitSlot,
    });
    expected = slot + 1;
    position += size;
    end = position;
  }
  if (gaps.length === 0) gaps.push({ slot: expected });
  return { records, gaps, hasEnd: false, end };
}

const UTF8 = new TextDecoder();

/** A part of a file in memory, which moves along with what is read. */
class Window {
  readonly #file: StoredFile;
  #buffer = new Uint8Array(WINDOW_BYTES);
  #start = 0;
  #length = 0;
  #unreadable = 0;

  constructor(file: StoredFile) {
    this.#file = file;
  }

  /** The record's header at a position, or undefined if there is none. */
  recordAt(position: number, marker: Uint8Array): RecordHeader | undefined {
    const head = this.#bytes(position, RECORD_HEADER_BYTES);
    if (head === undefined) return undefined;
    // The length of the account is in the header; whether the header is sound is known only with the account.
    const accountBytes = (head[14] as number) | ((head[15] as number) << 8);
    const whole = this.#bytes(position, RECORD_HEADER_BYTES + accountBytes);
    return whole && decodeRecordHeader(whole, 0, marker);
  }

  /** Text that lies in the header that was read last. */
  text(position: number, bytes: number): string {
    return UTF8.decode(this.#bytes(position, bytes));
  }

  /** Where the next marker is, or undefined if there is none in the rest of the file. */
  findMarker(from: number, marker: Uint8Array): number | undefined {
    for (let position = from; position + MARKER_BYTES <= this.#file.size;) {
      const bytes = Math.min(WINDOW_BYTES, this.#file.size - position);
      const part = this.#bytes(position, bytes);
      if (part === undefined) {
        if (this.#unreadable > MAX_UNREADABLE) return undefined;
        position += UNREADABLE_BYTES;
        continue;
      }
      const at = findMarker(part, 0, marker);
      if (at >= 0) return position + at;
      position += bytes - MARKER_BYTES + 1;
    }
    return undefined;
  }

  /** So many bytes of the file; undefined if they cannot be read or go beyond its end. */
  #bytes(position: number, bytes: number): Uint8Array | undefined {
    if (position < this.#start || position + bytes > this.#start + this.#length) {
      const isNear = position >= this.#start && position <= this.#start + this.#length;
      this.#fill(position, Math.max(bytes, isNear ? WINDOW_BYTES : SKIP_WINDOW_BYTES));
    }
    const from = position - this.#start;
    return from + bytes > this.#length ? undefined : this.#buffer.subarray(from, from + bytes);
  }

  #fill(position: number, bytes: number): void {
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    this.#start = position;
    this.#length = 0;
    if (this.#unreadable > MAX_UNREADABLE) return;
    try {
      this.#length = this.#file.read([this.#buffer.subarray(0, bytes)], position);
    } catch (error) {
      // A part of the disk that cannot be read. What lies behind it may be readable.
      if (!(error instanceof Error)) throw error;
      this.#unreadable++;
    }
  }
}
