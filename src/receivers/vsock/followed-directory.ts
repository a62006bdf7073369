import { basename, dirname } from "node:path";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import { Directory } from "./directory.ts";
import type { DirectoryEvent, Watch } from "./directory-watcher.ts";
import type { DirectoryWatches } from "./directory-watches.ts";

/** What is told of a directory that is followed. */
export interface Follower {
  /** Throws if it may not be used. */
  check(directory: Directory): void;
  /** It is there, and watched: it may be read. */
  come(directory: Directory): void;
  /** It is not there any more, or another one is in its place. */
  gone(): void;
  /** Something has happened in it. */
  event(event: DirectoryEvent): void;
  /** Something has happened on the way to it: {@link FollowedDirectory.look} should be called. */
  changed(): void;
}

/**
 * A directory that is watched by its path: it may come later, go, and come again, and so may those above it. The
 * nearest one above it is watched too, even while it is there, because the kernel reports a directory's own end only
 * when nobody holds it any more, and sockets that are bound below it do.
 */
export class FollowedDirectory {
  readonly #path: string;
  readonly #libc: Libc;
  readonly #watches: DirectoryWatches;
  readonly #follower: Follower;
  #current: { readonly identity: string; readonly watch: Watch | undefined } | undefined;
  #parent: { readonly path: string; readonly identity: string; readonly watch: Watch } | undefined;

  constructor(path: string, libc: Libc, watches: DirectoryWatches, follower: Follower) {
    this.#path = path;
    this.#libc = libc;
    this.#watches = watches;
    this.#follower = follower;
  }

  /** Whether it is watched, if it is there, and the nearest directory above it too. */
  get isWatched(): boolean {
    const isBelowWatched = this.#parent !== undefined || this.#path === "/";
    return isBelowWatched && (this.#current === undefined || this.#current.watch !== undefined);
  }

  /** Runs an operation with the directory that is watched, if that is still there. Throws what openat(2) does. */
  use(operation: (directory: Directory) => void): void {
    const directory = Directory.open(this.#libc, this.#path);
    try {
      if (directory !== undefined && directory.identity === this.#current?.identity) {
        operation(directory);
      }
    } finally {
      directory?.close();
    }
  }

  /** Finds out whether it is there, and tells what has changed. Throws what prevents it from being watched. */
  look(): void {
    let isNew: boolean;
    do {
      isNew = this.#watchParent();
      const found = Directory.open(this.#libc, this.#path);
      try {
        if (found === undefined || found.identity !== this.#current?.identity) this.#leave();
        if (found !== undefined && this.#current === undefined) this.#enter(found);
        else if (found !== undefined && this.#current?.watch === undefined) this.#watch(found);
      } finally {
        found?.close();
      }
      // Once more with a new watch: nothing may come between looking and watching.
    } while (isNew);
  }

  close(): void {
    this.#leave();
    this.#leaveParent();
  }

  #enter(directory: Directory): void {
    this.#follower.check(directory);
    this.#watch(directory);
    this.#follower.come(directory);
  }

  #watch(directory: Directory): void {
    const watch = this.#watches.watch(directory.path, (event) => {
      if (event.kind === "gone") this.#lost();
      else this.#follower.event(event);
    });
    this.#current = { identity: directory.identity, watch };
  }

  /** It has gone. Another one may already be in its place, even with the same inode. */
  #lost(): void {
    this.#leave();
    this.#follower.changed();
  }

  #leave(): void {
    const current = this.#current;
    this.#current = undefined;
    if (current === undefined) return;
    current.watch?.release();
    this.#follower.gone();
  }

  /** Watches the nearest directory above. True where that was not watched before. */
  #watchParent(): boolean {
    let path = this.#path;
    let awaited: string;
    let parent: Directory | undefined;
    if (path === "/") return false;
    do {
      awaited = basename(path);
      path = dirname(path);
      parent = Directory.open(this.#libc, path);
    } while (parent === undefined);
    const { identity } = parent;
    try {
      if (this.#parent?.path === path && this.#parent.identity === identity) return false;
      const watch = this.#watches.watch(parent.path, (event) => {
        if (event.kind === "gone") this.#follower.changed();
        else if (event.name !== awaited) return;
        else if (event.kind === "removed") this.#lost();
        else this.#follower.changed();
      });
      this.#leaveParent();
      if (watch === undefined) return false;
      this.#parent = { path, identity, watch };
      return true;
    } catch (error) {
      // A user that may not read it has to look again and again instead, as for lost events.
      if (errnoName(error) !== "EACCES") throw error;
      this.#leaveParent();
      return false;
    } finally {
      parent.close();
    }
  }

  #leaveParent(): void {
    this.#parent?.watch.release();
    this.#parent = undefined;
  }
}
