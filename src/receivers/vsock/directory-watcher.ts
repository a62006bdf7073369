import process from "node:process";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";

/** inotify(7), linux/inotify.h */
const IN_ATTRIB = 0x4;
const IN_MOVED_FROM = 0x40;
const IN_MOVED_TO = 0x80;
const IN_CREATE = 0x100;
const IN_DELETE = 0x200;
const IN_DELETE_SELF = 0x400;
const IN_MOVE_SELF = 0x800;
const IN_Q_OVERFLOW = 0x4000;
const IN_IGNORED = 0x8000;
const IN_ONLYDIR = 0x0100_0000;
/** One mask for all, since a second watch of one directory would replace the first one's. IN_ATTRIB: a new owner. */
const WATCHED = IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF |
  IN_MOVE_SELF | IN_ONLYDIR;
/** inotify_init1(2), O_NONBLOCK and O_CLOEXEC, and fcntl(2): x86_64 and aarch64 alike. */
const IN_NONBLOCK = 0o4000;
const IN_CLOEXEC = 0o2000000;
const F_SETFL = 4;
const F_SETOWN = 8;
const F_SETSIG = 10;
const O_NONBLOCK = 0o4000;
const O_ASYNC = 0o20000;
/** signal(7); see {@link DirectoryWatcher}. */
const SIGURG = 23;

/** `struct inotify_event`: watch i32, mask u32, cookie u32, length of the name u32, the name with NULs behind it. */
const EVENT_BYTES = 16;
/** Some hundreds of events a read: what a name needs at most (16 + NAME_MAX + 1) fits many times. */
const BUFFER_BYTES = 64 * 1024;

/** What happened in a watched directory, or to it. */
export type DirectoryEvent =
  /** An entry has come, or has another owner or other permissions. */
  | { readonly kind: "changed"; readonly name: string }
  /** An entry has gone. */
  | { readonly kind: "removed"; readonly name: string }
  /** The directory itself is gone or has been moved away. */
  | { readonly kind: "gone" };

/** One watched directory. */
export interface Watch {
  /** No more events. */
  release(): void;
}

type OnEvent = (event: DirectoryEvent) => void;

/**
 * Watches directories through inotify, for which the runtimes' own `fs.watch` is not fit: Deno's loses all but a
 * thousandth of a burst, Bun's comes up to 30 ms late, and both open what they watch on threads of their own, without
 * the rights of this one.
 *
 * No thread waits and nothing polls: the kernel sends a signal when there is something to read (O_ASYNC, fcntl(2)), and
 * both runtimes' event loops can wait for signals. The signal is SIGURG, because it does nothing if nobody handles it,
 * and the runtimes do not use it.
 */
export class DirectoryWatcher {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #onLost: () => void;
  readonly #callbacks = new Map<number, Set<OnEvent>>();
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #onSignal = (): void => this.#read();

  /**
   * @param onLost events were lost, so everything that is watched must be looked at again.
   * Throws what inotify_init1(2) does (EMFILE: too many instances).
   */
  constructor(libc: Libc, onLost: () => void) {
    this.#libc = libc;
    this.#onLost = onLost;
    this.#fd = libc.inotifyInit(IN_NONBLOCK | IN_CLOEXEC);
    process.on("SIGURG", this.#onSignal);
    libc.fcntl(this.#fd, F_SETOWN, process.pid);
    libc.fcntl(this.#fd, F_SETSIG, SIGURG);
    libc.fcntl(this.#fd, F_SETFL, O_NONBLOCK | O_ASYNC);
  }

  /** Calls `onEvent` with all that happens from now on. Throws what inotify_add_watch(2) does. */
  watch(path: string, onEvent: OnEvent): Watch {
    const id = this.#libc.inotifyAddWatch(this.#fd, path, WATCHED);
    const callbacks = this.#callbacks.get(id) ?? new Set();
    this.#callbacks.set(id, callbacks);
    // Of its own, so that one function may watch twice.
    const callback: OnEvent = (event) => onEvent(event);
    callbacks.add(callback);
    return { release: () => this.#release(id, callbacks, callback) };
  }

  #release(id: number, callbacks: Set<OnEvent>, callback: OnEvent): void {
    if (!callbacks.delete(callback) || callbacks.size > 0) return;
    // Else the kernel has given it up itself.
    if (this.#callbacks.get(id) !== callbacks) return;
    this.#callbacks.delete(id);
    try {
      this.#libc.inotifyRemoveWatch(this.#fd, id);
    } catch (error) {
      // The directory is gone, and the event that says so has not been read yet.
      if (errnoName(error) !== "EINVAL") throw error;
    }
  }

  close(): void {
    this.#callbacks.clear();
    this.#libc.close(this.#fd);
    process.off("SIGURG", this.#onSignal);
  }

  #read(): void {
    for (;;) {
      let length: number;
      try {
        length = this.#libc.read(this.#fd, this.#buffer);
      } catch (error) {
        if (errnoName(error) === "EAGAIN") return;
        throw error;
      }
      this.#dispatch(length);
    }
  }

  #dispatch(length: number): void {
    const view = new DataView(this.#buffer.buffer);
    for (let at = 0; at < length;) {
      const id = view.getInt32(at, true);
      const mask = view.getUint32(at + 4, true);
      const start = at + EVENT_BYTES;
      at = start + view.getUint32(at + 12, true);
      if ((mask & IN_Q_OVERFLOW) !== 0) this.#onLost();
      const callbacks = this.#callbacks.get(id);
      if (callbacks === undefined) continue;
      if ((mask & IN_IGNORED) !== 0) this.#callbacks.delete(id);
      const event = readEvent(mask, this.#buffer.subarray(start, at));
      // A copy: what is called may watch and release.
      if (event !== undefined) { for (const callback of [...callbacks]) callback(event); }
    }
  }
}

const UTF8 = new TextDecoder();

/** Undefined for a change that does not matter: of the directory's own attributes. */
function readEvent(mask: number, padded: Uint8Array): DirectoryEvent | undefined {
  if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) !== 0) return { kind: "gone" };
  const end = padded.indexOf(0);
  const name = UTF8.decode(end < 0 ? padded : padded.subarray(0, end));
  if (name === "") return undefined;
  const removed = (mask & (IN_DELETE | IN_MOVED_FROM)) !== 0;
  return { kind: removed ? "removed" : "changed", name };
}
