import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import type { Libc } from "../../../ffi/libc.ts";
import type { DescriptorStore } from "./descriptor-store.ts";

/** memfd_create(2): close-on-exec. */
const MFD_CLOEXEC = 1;

/** The name of the file's descriptor. */
const NAME = "unread";

/** The length in front of each name and of its bytes, u32. */
const LENGTH_BYTES = 4;

/** Bytes that were read from connections but not processed yet, by the names of their descriptors. */
export type UnreadBytes = ReadonlyMap<string, Uint8Array>;

/** Leaves it to the next process, if there is anything. Throws what {@link writeUnreadBytes} does. */
export function leaveUnreadBytes(store: DescriptorStore, libc: Libc, unread: UnreadBytes): void {
  if (unread.size === 0) return;
  const descriptor = writeUnreadBytes(libc, unread);
  store.keep(NAME, NAME, () => descriptor);
}

/** Takes what an earlier process has left. Throws what {@link readUnreadBytes} does. */
export function takeUnreadBytes(store: DescriptorStore, libc: Libc): UnreadBytes {
  const descriptor = store.claim(NAME);
  if (descriptor === undefined) return new Map();
  store.release(NAME);
  try {
    return readUnreadBytes(descriptor);
  } finally {
    libc.close(descriptor);
  }
}

/**
 * Writes them into a file in memory, whose descriptor can be handed over like a connection's. Throws what the system
 * calls do (ENOSPC, ENOMEM).
 */
export function writeUnreadBytes(libc: Libc, unread: UnreadBytes): number {
  const descriptor = libc.memfdCreate("kata-trace-forwarder-unread", MFD_CLOEXEC);
  let file: number | undefined;
  try {
    // Opened again, because not every runtime can write to a descriptor that it has not opened itself.
    file = openSync(pathOf(descriptor), "w");
    for (const [name, bytes] of unread) {
      for (const piece of [new TextEncoder().encode(name), bytes]) {
        writeAll(file, lengthOf(piece));
        writeAll(file, piece);
      }
    }
    return descriptor;
  } catch (error) {
    libc.close(descriptor);
    throw error;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Reads what {@link writeUnreadBytes} wrote. Throws on a file that ends in the middle. */
export function readUnreadBytes(descriptor: number): Map<string, Uint8Array> {
  const bytes = readFileSync(pathOf(descriptor));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const unread = new Map<string, Uint8Array>();
  let at = 0;
  const piece = (): Uint8Array => {
    const start = at + LENGTH_BYTES;
    const end = start <= bytes.length ? start + view.getUint32(at, true) : Infinity;
    if (end > bytes.length) throw new Error(`a record of unread bytes at ${at} is longer than its file`);
    at = end;
    return bytes.subarray(start, end);
  };
  while (at < bytes.length) unread.set(new TextDecoder().decode(piece()), piece());
  return unread;
}

function pathOf(descriptor: number): string {
  return `/proc/self/fd/${descriptor}`;
}

function lengthOf(piece: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(LENGTH_BYTES);
  new DataView(bytes.buffer).setUint32(0, piece.length, true);
  return bytes;
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
}
