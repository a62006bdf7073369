import { statSync } from "node:fs";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import { ListenError } from "./listener.ts";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH } from "./open-flags.ts";

/** inode(7) */
const WORLD_WRITABLE = 0o002;

/**
 * An open directory. Whatever becomes of its name, `path` leads to this one, without a link on the way, so code that
 * checks it and then works in it works in the directory that it has checked.
 */
export class Directory {
  /** What people call it. */
  readonly shown: string;
  /** `device:inode`. */
  readonly identity: string;
  readonly #libc: Libc;
  readonly #fd: number;
  /** The user that it belongs to. */
  readonly owner: number;
  readonly #mode: number;

  private constructor(libc: Libc, fd: number, shown: string) {
    this.#libc = libc;
    this.#fd = fd;
    this.shown = shown;
    const { dev, ino, uid, mode } = statSync(this.path, { bigint: true });
    this.identity = `${dev}:${ino}`;
    this.owner = Number(uid);
    this.#mode = Number(mode);
  }

  /** Opens a path, and follows links. Undefined if there is none. Throws what openat(2) does. */
  static open(libc: Libc, path: string): Directory | undefined {
    return openDirectory(
      () => libc.openAt(AT_FDCWD, path, O_DIRECTORY | O_PATH | O_CLOEXEC),
      (fd) => new Directory(libc, fd, path),
      libc,
    );
  }

  /**
   * The directory `name` in this one; undefined if there is none. Throws ENOTDIR for a link, and what openat(2) does.
   */
  child(name: string): Directory | undefined {
    const flags = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
    return openDirectory(
      () => this.#libc.openAt(this.#fd, name, flags),
      (fd) => new Directory(this.#libc, fd, this.shownChild(name)),
      this.#libc,
    );
  }

  /** What leads to it while it is open; proc_pid_fd(5). */
  get path(): string {
    return `/proc/self/fd/${this.#fd}`;
  }

  shownChild(name: string): string {
    return this.shown === "/" ? `/${name}` : `${this.shown}/${name}`;
  }

  /**
   * Throws a {@link ListenError} if somebody else could replace files of this process: root or `user` must own the
   * directory, and nobody but them and its group may write to it.
   */
  requireTrusted(user: number): void {
    if (this.owner !== 0 && this.owner !== user) {
      throw new ListenError(
        `${this.shown} belongs to the user ${this.owner}, neither to root nor to the user that the forwarder runs ` +
          `as (${user})`,
      );
    }
    // Also if it is sticky, as /tmp is: everyone could make a sandbox there.
    if ((this.#mode & WORLD_WRITABLE) !== 0) {
      throw new ListenError(`everyone may write to ${this.shown}`);
    }
  }

  close(): void {
    this.#libc.close(this.#fd);
  }
}

function openDirectory(
  open: () => number,
  make: (fd: number) => Directory,
  libc: Libc,
): Directory | undefined {
  let fd: number;
  try {
    fd = open();
  } catch (error) {
    if (errnoName(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return make(fd);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}
