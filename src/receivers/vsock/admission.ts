import { type Libc } from "../../../ffi/libc.ts";
import { peerCredentials, peerGroups } from "../../../ffi/descriptor-passing.ts";
import type { SocketAccess } from "./socket-file.ts";

/** inode(7) */
const GROUP_WRITABLE = 0o020;
const WORLD_WRITABLE = 0o002;

/**
 * Says who may connect to a sandbox's socket: root, the owner of the VMM's directory, and every user that the socket's
 * mode and group let in. The kernel also lets in the socket's owner, which is the user that the forwarder runs as.
 * Other programs may run as that user too, so they could pass for a sandbox.
 */
export class Admission {
  readonly #access: SocketAccess;
  readonly #owner: number;

  /** @param owner of the directory that the socket is in. */
  constructor(access: SocketAccess, owner: number) {
    this.#access = access;
    this.#owner = owner;
  }

  /** Why the process at the other end of a connection may not be a sandbox's VMM; undefined if it may. */
  refusal(libc: Libc, socket: number): string | undefined {
    const { mode, gid } = this.#access;
    if ((mode & WORLD_WRITABLE) !== 0) return undefined;
    const peer = peerCredentials(libc, socket);
    if (peer.uid === 0 || peer.uid === this.#owner) return undefined;
    const isInGroup = gid !== undefined && (mode & GROUP_WRITABLE) !== 0 &&
      (peer.gid === gid || peerGroups(libc, socket).includes(gid));
    if (isInGroup) return undefined;
    return `process ${peer.pid} of the user ${peer.uid} is neither root's, nor of the owner of the VMM's directory ` +
      `(${this.#owner}), nor in the socket's group: see --socket-group`;
  }
}
