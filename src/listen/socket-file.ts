import { chmodSync, chownSync, linkSync, lstatSync, type Stats, unlinkSync } from "node:fs";
import process from "node:process";
import { LibcError } from "../../ffi/errors.ts";
import { loadLibc } from "../../ffi/libc.ts";
import { ListenError } from "./listener.ts";
import { AF_UNIX, unixSockaddr } from "./sockaddr.ts";

/** socket(2), Linux, x86_64 and aarch64 alike. */
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** Takes every permission away from what is created. */
const UMASK_NOBODY = 0o777;

/** Permissions of a socket file. */
export interface SocketAccess {
  readonly mode: number;
  /** The group's number; undefined: as the process's. */
  readonly gid: number | undefined;
}

/** A socket file that this process made. */
export class SocketFile {
  readonly path: string;
  readonly #device: number;
  readonly #inode: number;

  /** Takes the file at `path` for this process's own. */
  constructor(path: string) {
    const { dev, ino } = lstatSync(path);
    this.path = path;
    this.#device = dev;
    this.#inode = ino;
  }

  /**
   * Removes the file if it is still the one that was made. To be called before the socket closes: until then its
   * inode cannot become another file's. Throws what unlink(2) does.
   */
  remove(): void {
    const file = look(this.path);
    if (file?.dev === this.#device && file.ino === this.#inode) unlinkSync(this.path);
  }
}

/**
 * Makes way at `path`: nothing there is fine, a socket that nobody listens at is removed, anything else stays and is
 * a {@link ListenError}.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const file = look(path);
  if (file === undefined) return;
  if (!file.isSocket()) {
    throw new ListenError(
      `cannot listen at ${path}: ${kind(file)} is there, which is left as it is: move it away`,
    );
  }
  await refuseLiveSocket(path);
  try {
    unlinkSync(path);
  } catch (error) {
    throw new ListenError(
      `cannot listen at ${path}: a forwarder that is gone has left a socket there, which this user (uid ${process.geteuid?.()}) may not remove: run as root, or remove it`,
      { cause: error },
    );
  }
}

/**
 * Binds with `bind` so that the file appears at `path` with its permissions, already listening, and never with more.
 *
 * The socket is bound beside `path` and then linked there: link(2) replaces nothing, and the runtimes, which remove
 * the name that they bound when they close a socket, cannot remove another forwarder's.
 */
export function bindAt<Server extends { close(): Promise<void> }>(
  path: string,
  temporary: string,
  access: SocketAccess,
  bind: (path: string) => Server,
): { server: Server; file: SocketFile } {
  const server = bindWithoutPermissions(temporary, bind);
  try {
    try {
      if (access.gid !== undefined) chownSync(temporary, -1, access.gid);
      chmodSync(temporary, access.mode);
      linkSync(temporary, path);
    } finally {
      unlinkSync(temporary);
    }
    return { server, file: new SocketFile(path) };
  } catch (error) {
    void server.close();
    throw error;
  }
}

function bindWithoutPermissions<Server>(path: string, bind: (path: string) => Server): Server {
  const umask = process.umask(UMASK_NOBODY);
  try {
    return bind(path);
  } finally {
    process.umask(umask);
  }
}

/**
 * Asks the kernel whether somebody listens: connect(2) itself, since Bun calls a listener whose backlog is full
 * (EAGAIN) "refused" too, and a forwarder under load must not be taken for a dead one.
 */
async function refuseLiveSocket(path: string): Promise<void> {
  const libc = await loadLibc();
  const fd = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    libc.connect(fd, unixSockaddr(path));
  } catch (error) {
    if (!(error instanceof LibcError)) throw error;
    if (error.code === "ECONNREFUSED") return;
    if (error.code !== "EAGAIN") {
      throw new ListenError(
        `cannot listen at ${path}: a socket is there of which cannot be told whether it is in use (${error.code}): remove it if it is not`,
        { cause: error },
      );
    }
  } finally {
    libc.close(fd);
  }
  throw new ListenError(
    `cannot listen at ${path}: another forwarder listens there (or another process): stop it, or use another --socket-path or --vsock-port`,
  );
}

/** The file itself, links not followed; undefined where there is none. */
function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function kind(file: Stats): string {
  if (file.isDirectory()) return "a directory";
  if (file.isSymbolicLink()) return "a symbolic link";
  return file.isFile() ? "a file" : "something that is no socket";
}
