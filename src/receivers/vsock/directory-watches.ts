import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import { type DirectoryEvent, DirectoryWatcher, type Watch } from "./directory-watcher.ts";

/** The limits that watching runs into, by what the kernel answers; inotify(7). */
const LIMITS: Readonly<Record<string, string>> = {
  EMFILE: "fs.inotify.max_user_instances (or the limit of open files)",
  ENOSPC: "fs.inotify.max_user_watches",
};

/**
 * The directories that this process watches, with one inotify instance for all of them, which is there only while
 * something is watched. Where the kernel has no more watches to give, directories have to be looked at instead.
 */
export class DirectoryWatches {
  readonly #libc: Libc;
  readonly #onProblem: (message: string, error: Error) => void;
  readonly #lostSubscribers = new Set<() => void>();
  #watcher: DirectoryWatcher | undefined;
  #active = 0;
  #reported: string | undefined;

  /** @param onProblem is told once when watching is no longer possible. */
  constructor(libc: Libc, onProblem: (message: string, error: Error) => void) {
    this.#libc = libc;
    this.#onProblem = onProblem;
  }

  /** Whether some directories are not watched, so that they should be looked at often. */
  get isIncomplete(): boolean {
    return this.#reported !== undefined;
  }

  /** Calls `onLost` when the kernel has dropped events. Returns what ends that. */
  subscribeLost(onLost: () => void): () => void {
    this.#lostSubscribers.add(onLost);
    return () => this.#lostSubscribers.delete(onLost);
  }

  /**
   * Calls `onEvent` with everything that happens in a directory from now on. Undefined if no watch is to be had. Throws
   * what inotify_add_watch(2) does for the directory itself.
   */
  watch(path: string, onEvent: (event: DirectoryEvent) => void): Watch | undefined {
    let watch: Watch;
    try {
      this.#watcher ??= new DirectoryWatcher(this.#libc, () => this.#lost());
      watch = this.#watcher.watch(path, onEvent);
    } catch (error) {
      this.#closeIfUnused();
      const limit = LIMITS[errnoName(error) ?? ""];
      if (limit === undefined) throw error;
      if (this.#reported !== limit) {
        this.#reported = limit;
        this.#onProblem(
          `${limit} is used up, so directories cannot be watched and are looked at ten times a second: raise it ` +
            "(sysctl -w)",
          error as Error,
        );
      }
      return undefined;
    }
    this.#reported = undefined;
    this.#active++;
    let isReleased = false;
    return {
      release: () => {
        if (isReleased) return;
        isReleased = true;
        watch.release();
        this.#active--;
        this.#closeIfUnused();
      },
    };
  }

  #lost(): void {
    for (const onLost of [...this.#lostSubscribers]) onLost();
  }

  #closeIfUnused(): void {
    if (this.#active > 0) return;
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
