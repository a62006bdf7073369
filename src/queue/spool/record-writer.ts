import { crc32 } from "node:zlib";
import {
  encodeRecordHeader,
  END_RECORD_BYTES,
  RECORD_HEADER_BYTES,
  recordBytes,
  type RecordHeader,
} from "./segment-format.ts";
import type { StoredFile } from "./storage.ts";

/** Records smaller than half of this are copied together before they are written, bytes. */
const STAGING_BYTES = 256 * 1024;

/** A record on its way to a segment. */
export interface Entry extends Pick<RecordHeader, "id" | "kind" | "spans"> {
  /** UTF-8. */
  readonly account: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Bytes that an entry takes in a segment. */
export function entryBytes({ account, bytes }: Entry): number {
  return recordBytes(account.length, bytes.length);
}

/** Where records have been written. */
export interface Written {
  /** Where each one begins. */
  readonly offsets: readonly number[];
  /** Where the end record is. */
  readonly end: number;
}

/** All segments use it in turn: it is in use only while records are being written, which does not wait for anything. */
const staging = new Uint8Array(STAGING_BYTES);
const NO_ACCOUNT = new Uint8Array(0);

/**
 * Writes records and an end record to a segment, most of the time in a single call. Throws the storage's error.
 *
 * @param first where the first one goes, and its slot.
 */
export function writeRecords(
  file: StoredFile,
  marker: Uint8Array,
  first: { readonly position: number; readonly slot: number },
  entries: readonly Entry[],
): Written {
  let { position, slot } = first;
  let staged = 0;
  const offsets: number[] = [];
  const flush = (): void => {
    if (staged === 0) return;
    file.write(staging.subarray(0, staged), position);
    position += staged;
    staged = 0;
  };
  for (const entry of entries) {
    const { account, bytes } = entry;
    const size = entryBytes(entry);
    const headBytes = RECORD_HEADER_BYTES + account.length;
    const isCopied = size <= STAGING_BYTES / 2;
    if (staged + (isCopied ? size : headBytes) > STAGING_BYTES) flush();
    const offset = position + staged;
    encodeRecordHeader(staging, staged, marker, headerOf(entry, slot, first.slot), account);
    if (isCopied) {
      staging.set(bytes, staged + headBytes);
      staging.fill(0, staged + headBytes + bytes.length, staged + size);
      staged += size;
    } else {
      staged += headBytes;
      flush();
      file.write(bytes, position);
      // What lies between it and the next record has no meaning.
      position = offset + size;
    }
    offsets.push(offset);
    slot++;
  }
  if (staged + END_RECORD_BYTES > STAGING_BYTES) flush();
  const end = position + staged;
  encodeRecordHeader(staging, staged, marker, endHeader(slot, first.slot), NO_ACCOUNT);
  staged += END_RECORD_BYTES;
  flush();
  return { offsets, end };
}

function headerOf({ id, kind, spans, account, bytes }: Entry, slot: number, commitSlot: number): RecordHeader {
  return {
    type: "record",
    kind,
    accountBytes: account.length,
    payloadBytes: bytes.length,
    payloadCrc: crc32(bytes),
    spans,
    slot,
    id,
    commitSlot,
  };
}

function endHeader(slot: number, commitSlot: number): RecordHeader {
  const none = { accountBytes: 0, payloadBytes: 0, payloadCrc: 0, spans: 0, id: 0 };
  return { type: "end", kind: "guest", ...none, slot, commitSlot };
}
