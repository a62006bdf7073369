import { fstatSync } from "node:fs";
import type { Libc } from "../../../ffi/libc.ts";
import { MSG_DONTWAIT } from "../../../ffi/sockets.ts";
import type { DescriptorStore } from "./descriptor-store.ts";
import { ReadLog } from "./read-log.ts";
import { HEADER_BYTES, ReadLogError, ReadLogMemory } from "./read-log-format.ts";

/** memfd_create(2): close-on-exec. */
const MFD_CLOEXEC = 1;
/** The name of the file's descriptor. */
const NAME = "reads";
/**
 * Bytes of the file, of which only those are in memory that were written. A quarter may wait at once: what 64 busy
 * accounts have in their sockets' buffers (net.core.rmem_default).
 */
const FILE_BYTES = HEADER_BYTES + 2 * 32 * 1024 * 1024;

/** The log of a process, which the next one goes on with. */
export interface ReadLogFile {
  readonly log: ReadLog;
  /** What earlier processes have read and not processed, by the names of the connections' descriptors. */
  readonly unread: ReadonlyMap<string, Uint8Array>;
}

/**
 * Goes on with the log of the process before this one, or begins one, in a file in memory that is kept. Undefined if
 * there is no place for it. Throws what the system calls do, and a {@link ReadLogError} if what was left is not a log:
 * that is then removed.
 *
 * @param settle see `ReadLogOptions`.
 */
export function openReadLog(store: DescriptorStore, libc: Libc, settle: () => void): ReadLogFile | undefined {
  const left = store.claim(NAME);
  const descriptor = left ?? libc.memfdCreate("kata-trace-forwarder-reads", MFD_CLOEXEC);
  let opened: ReadLogFile;
  try {
    if (left === undefined) libc.truncate(descriptor, FILE_BYTES);
    opened = map(libc, descriptor, left === undefined, settle);
  } catch (error) {
    if (left !== undefined) store.release(NAME);
    libc.close(descriptor);
    throw error;
  }
  store.keep(NAME, NAME, () => descriptor);
  if (store.outlives(NAME)) return opened;
  store.release(NAME);
  return undefined;
}

/** What an earlier process has left, for a process that keeps no log itself. Throws as {@link openReadLog}. */
export function takeReadLog(store: DescriptorStore, libc: Libc): ReadonlyMap<string, Uint8Array> {
  const descriptor = store.claim(NAME);
  if (descriptor === undefined) return new Map();
  store.release(NAME);
  try {
    return map(libc, descriptor, false, () => {}).unread;
  } finally {
    libc.close(descriptor);
  }
}

function map(libc: Libc, descriptor: number, isNew: boolean, settle: () => void): ReadLogFile {
  if (fstatSync(descriptor).size !== FILE_BYTES) throw new ReadLogError("the log of what was read has another size");
  const { address, bytes, discard } = libc.mapShared(descriptor, FILE_BYTES);
  // What is possible now is possible later.
  if (isNew) discard(HEADER_BYTES, HEADER_BYTES);
  const memory = isNew ? ReadLogMemory.create(bytes) : ReadLogMemory.open(bytes);
  const log = new ReadLog(memory, {
    settle,
    discard,
    address,
    receive: (socket, header) => libc.recvmmsg(socket, header, MSG_DONTWAIT),
  });
  const unread = new Map<string, Uint8Array>();
  for (const name of log.inherited) unread.set(name, log.pending(name) as Uint8Array);
  return { log, unread };
}
