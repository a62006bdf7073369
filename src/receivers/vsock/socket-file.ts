import { type BigIntStats, chmodSync, chownSync, linkSync, lstatSync, statSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { errnoName, LibcError } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, unixSockaddr } from "../../../ffi/sockets.ts";
import { ListenError } from "./listener.ts";
import { AT_FDCWD, O_CLOEXEC, O_NOFOLLOW, O_PATH } from "./open-flags.ts";

/** Takes every permission away from what is created. */
const UMASK_NOBODY = 0o777;

/** Permissions of a socket file. */
export interface SocketAccess {
  readonly mode: number;
  /** The group's number; undefined: as the process's. */
  readonly gid: number | undefined;
  /** The number of the user that files are made as. Default: the process's. */
  readonly uid?: number;
}

/** The largest number of a group: chown(2) takes 2^32 - 1 for none. */
const MAX_GID = 2 ** 32 - 2;

/** The number of a group that is given by its name or number; undefined if the group does not exist. */
export function groupNumber(libc: Libc, group: string): number | undefined {
  if (!/^\d+$/.test(group)) return libc.groupByName(group);
  return Number(group) <= MAX_GID ? Number(group) : undefined;
}

/** A socket file that this process made. */
export class SocketFile {
  readonly path: string;
  readonly status: BigIntStats;

  /** @param status of this process's file, which is at `path`. */
  constructor(path: string, status: BigIntStats) {
    this.path = path;
    this.status = status;
  }

  /**
   * Removes the file if it is still the one that was made. To be called before the socket closes: until then its
   * inode cannot become another file's. Throws what unlink(2) does.
   *
   * @param path what leads to it now.
   */
  remove(path: string = this.path): void {
    if (this.isAt(path)) unlinkSync(path);
  }

  /** Whether it is what is at a path. */
  isAt(path: string): boolean {
    const file = look(path);
    return file?.dev === this.status.dev && file.ino === this.status.ino;
  }
}

/** Where a socket shall be. */
export interface SocketPlace {
  readonly path: string;
  /** A name beside it, which the socket is bound at before it is linked to `path`. */
  readonly temporary: string;
  /** What people call `path`. */
  readonly shown: string;
  /** The group's name, for people. */
  readonly group?: string | undefined;
}

/** How a listening socket comes to be. */
export interface SocketOpener<Server extends { close(): Promise<void> }> {
  /** Binds at a path and listens. */
  bind(path: string): Server;
  /**
   * Goes on with the socket that an earlier process has left and that this file belongs to; undefined if it is not such
   * a socket.
   */
  resume?(file: BigIntStats): Server | undefined;
}

/**
 * Listens at a place, with {@link bindAt}, or goes on with the socket there that an earlier process has left. A socket
 * that nobody listens at is removed. Anything else at that path stays where it is. Throws a {@link ListenError} then,
 * and whenever else it cannot listen.
 */
export function listenAt<Server extends { close(): Promise<void> }>(
  place: SocketPlace,
  access: SocketAccess,
  libc: Libc,
  opener: SocketOpener<Server>,
): { server: Server; file: SocketFile } {
  try {
    const left = look(place.path);
    const server = left?.isSocket() === true ? opener.resume?.(left) : undefined;
    if (left !== undefined && server !== undefined) return resumeAt(place.path, left, server, access, libc);
    removeStaleSocket(place.path, place.shown, libc);
    removeStaleSocket(place.temporary, place.shown, libc);
    return bindAt(place.path, place.temporary, access, libc, (path) => opener.bind(path));
  } catch (error) {
    if (error instanceof ListenError) throw error;
    const advice = socketAdvice(error, dirname(place.shown), place.group);
    throw new ListenError(`cannot listen at ${place.shown}: ${advice}`, { cause: error });
  }
}

/** What to do about a socket that cannot be made in a directory. */
export function socketAdvice(error: unknown, directory: string, group?: string): string {
  const user = `this user (uid ${process.geteuid?.()})`;
  switch (errnoName(error)) {
    case "EACCES":
      return `${user} may not write to ${directory}: run as root, or use a --socket-path in a directory of this user's`;
    case "EPERM":
      return group === undefined
        ? `${user} may not make a socket there: run as root`
        : `${user} may not give the socket to the group ${group}: run as root, or use a --socket-group that this ` +
          "user is in";
    case "EROFS":
      return `${directory} is on a read-only file system: use another --socket-path`;
    case "EEXIST":
    case "EADDRINUSE":
      return "another forwarder has just started to listen there";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

function removeStaleSocket(path: string, shown: string, libc: Libc): void {
  const file = look(path);
  if (file === undefined) return;
  if (!file.isSocket()) {
    throw new ListenError(
      `cannot listen at ${shown}: ${kind(file)} is there, which is left as it is: move it away`,
    );
  }
  refuseLiveSocket(path, shown, libc);
  try {
    unlinkSync(path);
  } catch (error) {
    throw new ListenError(
      `cannot listen at ${shown}: a forwarder that is gone has left a socket there, which this user (uid ` +
        `${process.geteuid?.()}) may not remove: run as root, or remove it`,
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
  libc: Libc,
  bind: (path: string) => Server,
): { server: Server; file: SocketFile } {
  const server = bindWithoutPermissions(temporary, bind);
  try {
    try {
      const user = access.uid ?? process.geteuid?.();
      const status = giveAccess(temporary, access, libc, ({ uid }) => Number(uid) === user);
      linkSync(temporary, path);
      return { server, file: new SocketFile(path, status) };
    } finally {
      unlinkSync(temporary);
    }
  } catch (error) {
    void server.close();
    throw error;
  }
}

/** Goes on with a server whose file is at `path`, and gives it the permissions that it should have now. */
function resumeAt<Server extends { close(): Promise<void> }>(
  path: string,
  file: BigIntStats,
  server: Server,
  access: SocketAccess,
  libc: Libc,
): { server: Server; file: SocketFile } {
  try {
    const status = giveAccess(path, access, libc, ({ dev, ino }) => dev === file.dev && ino === file.ino);
    return { server, file: new SocketFile(path, status) };
  } catch (error) {
    void server.close();
    throw error;
  }
}

/**
 * Sets a socket's group and permissions and returns its status. It uses the inode and not the name, because anyone else
 * who may write to the directory could meanwhile make the name a link to another file.
 */
function giveAccess(
  path: string,
  { mode, gid }: SocketAccess,
  libc: Libc,
  isTheOne: (status: BigIntStats) => boolean,
): BigIntStats {
  const fd = libc.openAt(AT_FDCWD, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  try {
    const inode = `/proc/self/fd/${fd}`;
    const status = statSync(inode, { bigint: true });
    if (!status.isSocket() || !isTheOne(status)) {
      throw new ListenError(`${path} is not the socket that was made there: somebody replaced it`);
    }
    if (gid !== undefined) chownSync(inode, -1, gid);
    chmodSync(inode, mode);
    return status;
  } finally {
    libc.close(fd);
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
function refuseLiveSocket(path: string, shown: string, libc: Libc): void {
  const fd = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    libc.connect(fd, unixSockaddr(path));
  } catch (error) {
    if (!(error instanceof LibcError)) throw error;
    if (error.code === "ECONNREFUSED") return;
    if (error.code !== "EAGAIN") {
      throw new ListenError(
        `cannot listen at ${shown}: the socket there may be in use (${error.code}): remove it if it is not`,
        { cause: error },
      );
    }
  } finally {
    libc.close(fd);
  }
  throw new ListenError(
    `cannot listen at ${shown}: another forwarder listens there (or another process): stop it, or use another ` +
      "--socket-path or --vsock-port",
  );
}

/** The file itself, without following links; undefined if there is none. */
function look(path: string): BigIntStats | undefined {
  return lstatSync(path, { throwIfNoEntry: false, bigint: true });
}

function kind(file: BigIntStats): string {
  if (file.isDirectory()) return "a directory";
  if (file.isSymbolicLink()) return "a symbolic link";
  return file.isFile() ? "a file" : "something that is not a socket";
}
