import { basename, dirname } from "node:path";
import type { GuestIdentity } from "./listener.ts";

/** The address of one end of an AF_VSOCK stream; vsock(7). */
export interface VsockAddress {
  readonly cid: number;
  readonly port: number;
}

/**
 * Sockets in a jail's `root`, whose sandbox is one directory up:
 * - the Go runtime's Firecracker: `/run/vc/firecracker/{ID}/root/kata.hvsock`,
 * - the Rust runtime's Dragonball and Firecracker: `/run/kata/{ID}/root/kata.hvsock`, jailed
 *   `/run/kata/firecracker/{ID}/root/kata.hvsock`.
 * Rootless, the same stands below `$XDG_RUNTIME_DIR`.
 */
const JAIL_TEMPLATES = [
  /\/vc\/[^/]+\/([^/]+)\/root\/[^/]+$/,
  /\/kata\/(?:[^/]+\/)?([^/]+)\/root\/[^/]+$/,
] as const;

/**
 * The sandbox whose VMM has its socket at `socketPath` (absolute, normalised): its ID in the paths that Kata's
 * templates describe, such as `/run/vc/vm/{ID}/clh.sock` (what `kata-runtime env` prints), else the name of the
 * directory that holds the socket.
 */
export function sandboxId(socketPath: string): string {
  for (const template of JAIL_TEMPLATES) {
    const id = template.exec(socketPath)?.[1];
    if (id !== undefined) return id;
  }
  // `/run/vc/vm/{ID}/clh.sock`, `/run/kata/{ID}/ch-vm.sock`, and any other place.
  return basename(dirname(socketPath)) || "/";
}

/** A guest that came over AF_VSOCK, and its sandbox where that is known. */
export function vsockIdentity(peer: VsockAddress, sandbox?: string): GuestIdentity {
  const attributes = new Map<string, string | number>([["kata.vsock.cid", peer.cid]]);
  if (sandbox !== undefined) attributes.set("kata.sandbox.id", sandbox);
  return { peer: `vsock:${peer.cid}:${peer.port}`, attributes };
}

/** A guest whose VMM connected to the socket beside `socketPath`. */
export function sandboxIdentity(socketPath: string): GuestIdentity {
  return sandboxGuest(sandboxId(socketPath));
}

/** A guest of a sandbox. */
export function sandboxGuest(id: string): GuestIdentity {
  return { peer: id, attributes: new Map([["kata.sandbox.id", id]]) };
}
