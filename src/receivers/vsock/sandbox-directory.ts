import { readdirSync, statSync } from "node:fs";
import process from "node:process";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import type { Directory } from "./directory.ts";
import type { DirectoryEvent } from "./directory-watcher.ts";
import type { DirectoryWatches } from "./directory-watches.ts";
import { FollowedDirectory } from "./followed-directory.ts";
import { ListenError } from "./listener.ts";

/**
 * A directory's modification time proves nothing while it is younger than this, nanoseconds, because another change can
 * fall within the same tick of the file system's clock.
 */
const YOUNG_NS = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
/** Valid sandbox IDs: `VerifyContainerID` in Kata's src/runtime/pkg/katautils. */
const SANDBOX_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** Which directory holds the sandboxes' directories, and how it may be used. */
export interface SandboxDirectoryOptions {
  /** Absolute. It need not exist yet. */
  readonly path: string;
  /** Names in it that are not sandbox IDs. */
  readonly except: readonly string[];
  /** The only user besides root who may own it. */
  readonly user: number;
  readonly libc: Libc;
  readonly watches: DirectoryWatches;
  /** Runs an operation on directories with the rights that it needs. */
  readonly act: <Result>(operation: () => Result) => Result;
}

/** Is told what happens to the sandboxes. */
export interface SandboxDirectoryObserver {
  /** The directory was read: these are the IDs of all sandboxes in it. */
  scanned(ids: ReadonlySet<string>): void;
  /** A sandbox's directory has appeared, or its owner or permissions have changed. */
  changed(id: string): void;
  /** A sandbox's directory is gone. */
  removed(id: string): void;
  /** The directory of all sandboxes is gone, or another one has taken its place. */
  gone(): void;
  /** The directory may be somewhere else now, so {@link SandboxDirectory.locate} should be called. */
  moved(): void;
  /** The kernel dropped events, so everything should be looked at again. */
  eventsLost(): void;
}

/**
 * The directory that the sandboxes' directories are made in. It finds out where that directory is, also when it appears
 * late, goes and comes again, and which sandboxes are in it.
 */
export class SandboxDirectory {
  readonly #options: SandboxDirectoryOptions;
  readonly #observer: SandboxDirectoryObserver;
  readonly #unsubscribe: () => void;
  readonly #followed: FollowedDirectory;
  /** The directory's modification time at the last scan, nanoseconds; undefined if it must be scanned again. */
  #scannedAt: bigint | undefined;

  constructor(options: SandboxDirectoryOptions, observer: SandboxDirectoryObserver) {
    const { path, libc, watches, user } = options;
    this.#options = options;
    this.#observer = observer;
    this.#unsubscribe = watches.subscribeLost(() => observer.eventsLost());
    this.#followed = new FollowedDirectory(path, libc, watches, {
      check: (found) => found.requireTrusted(user),
      come: (found) => this.#scan(found),
      gone: () => {
        this.#scannedAt = undefined;
        observer.gone();
      },
      event: (event) => this.#onEvent(event),
      changed: () => observer.moved(),
    });
  }

  /** Whether events report all that happens to it, or on the way to it. */
  get isWatched(): boolean {
    return this.#followed.isWatched;
  }

  /**
   * Finds out whether the directory is there, and scans it if it is new. Returns what prevents it from being watched.
   */
  locate(): ListenError | undefined {
    try {
      this.#options.act(() => this.#followed.look());
      return undefined;
    } catch (error) {
      const { path } = this.#options;
      if (error instanceof ListenError) return error;
      const advice = errnoName(error) === "EACCES"
        ? `this user (uid ${process.geteuid?.()}) may not watch ${path}: run as root, or use a --socket-path that ` +
          "this user may watch"
        : `cannot watch ${path}: ${error instanceof Error ? error.message : String(error)}`;
      return new ListenError(advice, { cause: error });
    }
  }

  /**
   * Runs an operation with the directory, if it is there, and with the rights that it needs. Throws what openat(2)
   * does.
   */
  use(operation: (directory: Directory) => void): void {
    this.#options.act(() => this.#followed.use(operation));
  }

  /** Scans the directory: always if `isForced`, else only if it may have changed since the last scan. */
  scan(isForced: boolean): void {
    this.use((directory) => {
      if (isForced || this.#scannedAt === undefined || this.#scannedAt !== modificationTime(directory)) {
        this.#scan(directory);
      }
    });
  }

  close(): void {
    this.#followed.close();
    this.#unsubscribe();
  }

  #scan(directory: Directory): void {
    const modifiedAt = modificationTime(directory);
    const isYoung = BigInt(Date.now()) * NS_PER_MS - modifiedAt < YOUNG_NS;
    this.#scannedAt = isYoung ? undefined : modifiedAt;
    this.#observer.scanned(new Set(readdirSync(directory.path).filter((name) => this.#isSandboxId(name))));
  }

  #onEvent(event: DirectoryEvent): void {
    if (event.kind === "gone" || !this.#isSandboxId(event.name)) return;
    if (event.kind === "changed") this.#observer.changed(event.name);
    else this.#observer.removed(event.name);
  }

  #isSandboxId(name: string): boolean {
    return SANDBOX_ID.test(name) && !this.#options.except.includes(name);
  }
}

/** When a directory's entries last changed, nanoseconds since the epoch. */
function modificationTime(directory: Directory): bigint {
  return statSync(directory.path, { bigint: true }).mtimeNs;
}
