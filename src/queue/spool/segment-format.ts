import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import type { SourceKind } from "../../pipeline/source.ts";

/*
 * A segment is one file of the spool:
 *
 *     0      header, in a sector of its own
 *     2048   copy of the header
 *     4096   slots: one 32-bit word for each record, 0 until the record is removed
 *     …      records, one after the other, each at a multiple of 8 bytes
 *     end    the end record, which the next commit overwrites with its first record
 *
 * A commit writes its records and the end record in one go. A chain of records that ends with an end record is
 * therefore complete. If the end record is missing, a commit was under way when the process or the machine stopped.
 *
 * All numbers are little-endian. All checksums are CRC-32 (zlib).
 */

/** What the `version` of a segment's header says. A forwarder leaves the segments of other versions alone. */
export const FORMAT_VERSION = 1;

const MAGIC = "KTFSPOOL";
/** The smallest unit that a disk writes as a whole, bytes. A header that lies within one is written or not written. */
const SECTOR_BYTES = 512;
/** Where the header and its copy are. */
export const HEADER_OFFSETS = [0, 2048] as const;
const HEADER_BYTES = 56;
/** Where the slots are: at the second page. */
export const SLOTS_AT = 4096;
const PAGE_BYTES = 4096;
/** Bytes of a slot. */
const SLOT_BYTES = 4;
/** Where the checksum of a header lies, of a segment's and of a record's alike; it covers what follows it. */
const CRC_AT = 8;
const CRC_END = 12;

/** Bytes of a segment's marker, see {@link SegmentHeader}. */
export const MARKER_BYTES = 8;
/** Bytes of a record before its account and payload. */
export const RECORD_HEADER_BYTES = 48;
/** Bytes of an end record. */
export const END_RECORD_BYTES = RECORD_HEADER_BYTES;
/** The most records that a segment may have: no file in the spool's directory makes the forwarder take more memory. */
export const MAX_SLOTS = 65_536;
/** The longest name of an account, bytes of UTF-8: what the header's 16 bits can count. */
export const MAX_ACCOUNT_BYTES = 0xffff;

/**
 * What a segment is used for:
 * - `free`: for nothing. Its records, if any, are remains.
 * - `open`: records were still being added when the header was written.
 * - `sealed`: no more records are added, and `end` says where the end record is.
 */
export const SEGMENT_STATES = ["free", "open", "sealed"] as const;
export type SegmentState = (typeof SEGMENT_STATES)[number];

/** The header of a segment. */
export interface SegmentHeader {
  readonly state: SegmentState;
  /** How many records it can have. */
  readonly slots: number;
  /** Its place among all segments, by when their first records were written. */
  readonly sequence: number;
  /**
   * Random bytes that begin each of its records. They are chosen anew each time that the file is used, so that the
   * remains of an earlier use are not taken for records. They also cannot be guessed, so that a guest cannot put
   * something into its spans that looks like a record.
   */
  readonly marker: Uint8Array;
  /** Bytes that the file may have. */
  readonly capacity: number;
  /** Where the end record is, of a sealed segment; otherwise 0. */
  readonly end: number;
}

/** The kinds of sources, by their number in a record. */
const SOURCE_KINDS: readonly SourceKind[] = ["guest", "runtime", "host"];

/** The header of a record. */
export interface RecordHeader {
  readonly type: "record" | "end";
  readonly kind: SourceKind;
  readonly accountBytes: number;
  readonly payloadBytes: number;
  /** CRC-32 of the payload. */
  readonly payloadCrc: number;
  readonly spans: number;
  /** Its slot; of an end record, how many records there are. */
  readonly slot: number;
  readonly id: number;
  /** The slot of the first record that was written in the same commit. */
  readonly commitSlot: number;
}

const RECORD_TYPES = ["record", "end"] as const;

/** Where the records of a segment with so many slots begin. */
export function dataStart(slots: number): number {
  return SLOTS_AT + Math.ceil(slots * SLOT_BYTES / PAGE_BYTES) * PAGE_BYTES;
}

/** Bytes that a record takes in a segment. */
export function recordBytes(accountBytes: number, payloadBytes: number): number {
  return Math.ceil((RECORD_HEADER_BYTES + accountBytes + payloadBytes) / 8) * 8;
}

/** The page with a segment's header and the copy. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const page = new Uint8Array(SLOTS_AT);
  const view = new DataView(page.buffer);
  for (let i = 0; i < MAGIC.length; i++) page[i] = MAGIC.charCodeAt(i);
  view.setUint32(12, FORMAT_VERSION, true);
  view.setUint32(16, SEGMENT_STATES.indexOf(header.state), true);
  view.setUint32(20, header.slots, true);
  view.setBigUint64(24, BigInt(header.sequence), true);
  page.set(header.marker, 32);
  view.setBigUint64(40, BigInt(header.capacity), true);
  view.setBigUint64(48, BigInt(header.end), true);
  view.setUint32(CRC_AT, crc32(page.subarray(CRC_END, HEADER_BYTES)), true);
  for (const at of HEADER_OFFSETS) page.copyWithin(at, 0, HEADER_BYTES);
  return page;
}

/** What is at one of {@link HEADER_OFFSETS}: a header, `damaged`, or the number of the other version that wrote it. */
export function decodeSegmentHeader(page: Uint8Array, at: number): SegmentHeader | "damaged" | number {
  const bytes = page.subarray(at, at + SECTOR_BYTES);
  if (bytes.length < HEADER_BYTES) return "damaged";
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC.charCodeAt(i)) return "damaged";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(CRC_AT, true) !== crc32(bytes.subarray(CRC_END, HEADER_BYTES))) return "damaged";
  const version = view.getUint32(12, true);
  if (version !== FORMAT_VERSION) return version;
  const state = SEGMENT_STATES[view.getUint32(16, true)];
  const slots = view.getUint32(20, true);
  const sequence = Number(view.getBigUint64(24, true));
  const capacity = Number(view.getBigUint64(40, true));
  const end = Number(view.getBigUint64(48, true));
  const isPossible = slots <= MAX_SLOTS && Number.isSafeInteger(sequence) && Number.isSafeInteger(capacity) &&
    end <= capacity;
  if (state === undefined || !isPossible) return "damaged";
  return { state, slots, sequence, marker: bytes.slice(32, 32 + MARKER_BYTES), capacity, end };
}

/**
 * Writes a record's header and account to `target` at `at`, where there must be room.
 *
 * @param account UTF-8, as long as the header says.
 */
export function encodeRecordHeader(
  target: Uint8Array,
  at: number,
  marker: Uint8Array,
  header: RecordHeader,
  account: Uint8Array,
): void {
  const end = at + RECORD_HEADER_BYTES + account.length;
  const view = new DataView(target.buffer, target.byteOffset + at, RECORD_HEADER_BYTES);
  target.set(marker, at);
  view.setUint8(12, RECORD_TYPES.indexOf(header.type));
  view.setUint8(13, SOURCE_KINDS.indexOf(header.kind));
  view.setUint16(14, header.accountBytes, true);
  view.setUint32(16, header.payloadBytes, true);
  view.setUint32(20, header.payloadCrc, true);
  view.setUint32(24, header.spans, true);
  view.setUint32(28, header.slot, true);
  view.setUint32(32, header.id % 0x1_0000_0000, true);
  view.setUint32(36, Math.floor(header.id / 0x1_0000_0000), true);
  view.setUint32(40, header.commitSlot, true);
  view.setUint32(44, 0, true);
  target.set(account, at + RECORD_HEADER_BYTES);
  view.setUint32(CRC_AT, crc32(target.subarray(at + CRC_END, end)), true);
}

/** The header at `at`, or undefined if there is no sound one that lies, with its account, within `source`. */
export function decodeRecordHeader(source: Uint8Array, at: number, marker: Uint8Array): RecordHeader | undefined {
  if (at + RECORD_HEADER_BYTES > source.length) return undefined;
  for (let i = 0; i < MARKER_BYTES; i++) if (source[at + i] !== marker[i]) return undefined;
  const view = new DataView(source.buffer, source.byteOffset + at, RECORD_HEADER_BYTES);
  const accountBytes = view.getUint16(14, true);
  const end = at + RECORD_HEADER_BYTES + accountBytes;
  if (end > source.length) return undefined;
  if (view.getUint32(CRC_AT, true) !== crc32(source.subarray(at + CRC_END, end))) return undefined;
  const type = RECORD_TYPES[view.getUint8(12)];
  const kind = SOURCE_KINDS[view.getUint8(13)];
  if (type === undefined || kind === undefined) return undefined;
  return {
    type,
    kind,
    accountBytes,
    payloadBytes: view.getUint32(16, true),
    payloadCrc: view.getUint32(20, true),
    spans: view.getUint32(24, true),
    slot: view.getUint32(28, true),
    id: view.getUint32(32, true) + view.getUint32(36, true) * 0x1_0000_0000,
    commitSlot: view.getUint32(40, true),
  };
}

/** Where the next marker is at or after `from`, or -1. */
export function findMarker(source: Uint8Array, from: number, marker: Uint8Array): number {
  return Buffer.from(source.buffer, source.byteOffset, source.byteLength).indexOf(marker, from);
}

/** Why a record is removed; or how many of its spans, from the first on, are not wanted any more. */
export type Removal = "delivered" | "damaged" | number;

/**
 * What a record's slot says when the record has been removed, or a part of it. It depends on the segment's marker, so
 * that the remains of an earlier use mean nothing, and is never 0. A flipped bit does not turn one meaning into
 * another.
 */
export function removalWord(marker: Uint8Array, slot: number, removal: Removal): number {
  const text = new Uint8Array(MARKER_BYTES + 12);
  text.set(marker);
  const view = new DataView(text.buffer, MARKER_BYTES);
  view.setUint32(0, slot, true);
  view.setUint32(4, typeof removal === "number" ? 0 : removal === "delivered" ? 1 : 2, true);
  view.setUint32(8, typeof removal === "number" ? removal : 0, true);
  return crc32(text) || 1;
}
