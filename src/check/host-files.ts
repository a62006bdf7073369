import {
  accessSync,
  constants,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statfsSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { errnoName } from "../../ffi/errors.ts";

/** The result of a look at a file: its contents, that it does not exist, or that this user may not see it. */
export type Seen<Content> =
  | { readonly kind: "seen"; readonly content: Content }
  | { readonly kind: "absent" }
  | { readonly kind: "hidden"; readonly reason: string };

/** The owner and permissions of a file or directory. */
export interface FileStatus {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
  readonly isDirectory: boolean;
  readonly isSocket: boolean;
  readonly isCharacterDevice: boolean;
}

/** What of a file system is free for ordinary users, bytes. */
export interface FreeSpace {
  readonly path: string;
  readonly bytes: number;
}

/** What the kernel says if there is no such file. */
const ABSENT: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ENXIO", "ESRCH"]);
/** What it says if this user may not see it. */
const FORBIDDEN: ReadonlySet<string> = new Set(["EACCES", "EPERM"]);

/** The files of the host, which are only ever read. */
export class HostFiles {
  readonly #root: string;

  /** @param root where the host's root directory is; another one than `/` is for tests. */
  constructor(root = "/") {
    this.#root = root;
  }

  /** The place of one of the host's paths on this machine. */
  path(path: string): string {
    return join(this.#root, path);
  }

  text(path: string): Seen<string> {
    return look(() => readFileSync(this.path(path), "utf8"));
  }

  /** The text of a small file of the kernel's, without its newline; undefined if it cannot be read. */
  value(path: string): string | undefined {
    const seen = this.text(path);
    return seen.kind === "seen" ? seen.content.trim() : undefined;
  }

  /** The names in a directory, sorted. */
  names(path: string): Seen<readonly string[]> {
    return look(() => readdirSync(this.path(path)).sort());
  }

  /** Follows links. */
  status(path: string): Seen<FileStatus> {
    return look(() => {
      const status = statSync(this.path(path));
      return {
        uid: status.uid,
        gid: status.gid,
        mode: status.mode & 0o7777,
        isDirectory: status.isDirectory(),
        isSocket: status.isSocket(),
        isCharacterDevice: status.isCharacterDevice(),
      };
    });
  }

  exists(path: string): boolean {
    return this.status(path).kind === "seen";
  }

  /** Where a path leads once all links are followed, as a path of the host. */
  resolved(path: string): Seen<string> {
    return look(() => {
      const real = realpathSync(this.path(path));
      const root = realpathSync(this.#root);
      return root === "/" ? real : `/${real.slice(root.length).replace(/^\/+/, "")}`;
    });
  }

  /** Where a symbolic link points to. */
  link(path: string): Seen<string> {
    return look(() => readlinkSync(this.path(path)));
  }

  /** Whether this process may write there. */
  isWritable(path: string): boolean {
    try {
      accessSync(this.path(path), constants.W_OK);
      return true;
    } catch {
      return false;
    }
  }

  /** What is free where a path is, or where it would be made. */
  freeSpace(path: string): Seen<FreeSpace> {
    for (let at = path;; at = dirname(at)) {
      const seen = look(() => {
        const { bavail, bsize } = statfsSync(this.path(at));
        return { path: at, bytes: bavail * bsize };
      });
      if (seen.kind !== "absent" || at === "/") return seen;
    }
  }
}

function look<Content>(read: () => Content): Seen<Content> {
  try {
    return { kind: "seen", content: read() };
  } catch (error) {
    const code = errnoName(error) ?? "";
    if (ABSENT.has(code)) return { kind: "absent" };
    if (FORBIDDEN.has(code)) return { kind: "hidden", reason: "permission denied" };
    // Anything else, such as an input/output error, is an unusual host, which must not end the whole check.
    return { kind: "hidden", reason: error instanceof Error ? error.message : String(error) };
  }
}
