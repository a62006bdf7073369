import { crc32 } from "node:zlib";
import type { UnwrittenBytes } from "../../base/unwritten-bytes.ts";
import type { SourceKind } from "../../pipeline/source.ts";

/**
 * The layout of a journal's file, all numbers little endian:
 *
 * - header: `ktfjrnl1`, the epoch (u32), and the CRC-32 of both (u32);
 * - records, one behind the other: their length (u32), the CRC-32 of all that follows (u32), the epoch (u32), type
 *   (u8), source kind (u8), length of the account (u16), process (u32), chunk (u32), spans (u32), 0 (u32); the account;
 *   the payload, which is `resource_spans` fields.
 *
 * A file begins anew with another epoch, so that records of an earlier one that lie behind the new ones do not count.
 * The first record that is not sound is the end.
 */
const MAGIC = new TextEncoder().encode("ktfjrnl1");
export const JOURNAL_HEADER_BYTES = 16;
export const JOURNAL_RECORD_BYTES = 32;
/** A record's length and checksum come before what the checksum is of. */
const CHECKED_FROM = 8;

const TYPES = { spans: 1, safe: 2 } as const;
const KINDS: readonly SourceKind[] = ["guest", "runtime", "host"];
const NAME = /^(\d{1,9})\.journal$/;

/** What a record says beside its account and payload. */
export interface JournalRecordHeader {
  /** Spans of a chunk, or that all of the chunk's records before this one count no more. */
  readonly type: keyof typeof TYPES;
  readonly kind: SourceKind;
  /** Which process wrote it: a random number. */
  readonly process: number;
  /** Which of the process's chunks it belongs to. */
  readonly chunk: number;
  readonly spans: number;
}

/** A record as it was read. */
export interface JournalRecord extends JournalRecordHeader {
  readonly account: string;
  readonly payload: Uint8Array;
}

export function journalName(number: number): string {
  return `${number}.journal`;
}

/** The number in a journal's name; undefined for any other name. */
export function journalNumber(name: string): number | undefined {
  const number = NAME.exec(name)?.[1];
  return number === undefined ? undefined : Number(number);
}

export function encodeJournalHeader(epoch: number): Uint8Array {
  const bytes = new Uint8Array(JOURNAL_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, epoch, true);
  view.setUint32(12, crc32(bytes.subarray(0, 12)), true);
  return bytes;
}

/** How many bytes a record has. */
export function journalRecordBytes(account: Uint8Array, payload: Uint8Array | UnwrittenBytes): number {
  return JOURNAL_RECORD_BYTES + account.length + payload.byteLength;
}

/** Writes a record to `target[at …]`, where there must be room. Returns where it ends. */
export function encodeJournalRecord(
  target: Uint8Array,
  at: number,
  header: JournalRecordHeader,
  epoch: number,
  account: Uint8Array,
  payload: Uint8Array | UnwrittenBytes,
): number {
  const payloadAt = putHead(target, at, header, epoch, account, payload.byteLength);
  if (payload instanceof Uint8Array) target.set(payload, payloadAt);
  else payload.writeTo(target, payloadAt);
  const end = payloadAt + payload.byteLength;
  putChecksum(target, at, crc32(target.subarray(at + CHECKED_FROM, end)));
  return end;
}

/** What comes before the payload in its record. */
export function encodeJournalHead(
  header: JournalRecordHeader,
  epoch: number,
  account: Uint8Array,
  payload: Uint8Array,
): Uint8Array {
  const head = new Uint8Array(JOURNAL_RECORD_BYTES + account.length);
  putHead(head, 0, header, epoch, account, payload.length);
  putChecksum(head, 0, crc32(payload, crc32(head.subarray(CHECKED_FROM))));
  return head;
}

function putChecksum(target: Uint8Array, at: number, checksum: number): void {
  new DataView(target.buffer, target.byteOffset + at, CHECKED_FROM).setUint32(4, checksum, true);
}

/** Writes all before the payload but for the checksum. Returns where that ends. */
function putHead(
  target: Uint8Array,
  at: number,
  { type, kind, process, chunk, spans }: JournalRecordHeader,
  epoch: number,
  account: Uint8Array,
  payloadBytes: number,
): number {
  const view = new DataView(target.buffer, target.byteOffset + at, JOURNAL_RECORD_BYTES);
  view.setUint32(0, JOURNAL_RECORD_BYTES + account.length + payloadBytes, true);
  view.setUint32(8, epoch, true);
  view.setUint8(12, TYPES[type]);
  view.setUint8(13, KINDS.indexOf(kind));
  view.setUint16(14, account.length, true);
  view.setUint32(16, process, true);
  view.setUint32(20, chunk, true);
  view.setUint32(24, spans, true);
  view.setUint32(28, 0, true);
  target.set(account, at + JOURNAL_RECORD_BYTES);
  return at + JOURNAL_RECORD_BYTES + account.length;
}

/** The records in a journal's file, up to the first that is not sound. */
export function* decodeJournal(file: Uint8Array): Generator<JournalRecord> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < JOURNAL_HEADER_BYTES || MAGIC.some((byte, index) => file[index] !== byte)) return;
  if (view.getUint32(12, true) !== crc32(file.subarray(0, 12))) return;
  const epoch = view.getUint32(8, true);
  for (let at = JOURNAL_HEADER_BYTES; at + JOURNAL_RECORD_BYTES <= file.length;) {
    const length = view.getUint32(at, true);
    const accountBytes = view.getUint16(at + 14, true);
    const payloadAt = at + JOURNAL_RECORD_BYTES + accountBytes;
    const end = at + length;
    const isSound = end <= file.length && payloadAt <= end && view.getUint32(at + 8, true) === epoch &&
      view.getUint32(at + 4, true) === crc32(file.subarray(at + CHECKED_FROM, end));
    const kind = KINDS[view.getUint8(at + 13)];
    const type = view.getUint8(at + 12);
    if (!isSound || kind === undefined || (type !== TYPES.spans && type !== TYPES.safe)) return;
    yield {
      type: type === TYPES.spans ? "spans" : "safe",
      kind,
      process: view.getUint32(at + 16, true),
      chunk: view.getUint32(at + 20, true),
      spans: view.getUint32(at + 24, true),
      account: new TextDecoder().decode(file.subarray(at + JOURNAL_RECORD_BYTES, payloadAt)),
      payload: file.subarray(payloadAt, end),
    };
    at = end;
  }
}
