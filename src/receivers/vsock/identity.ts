import { basename, dirname } from "node:path";
import type { Source } from "../../pipeline/source.ts";

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

/** A guest that came over AF_VSOCK, and its sandbox where that is known. Its CID is its account, from whatever port. */
export function vsockSource(peer: VsockAddress, sandbox?: string): Source {
  const attributes = new Map<string, string | number>([["kata.vsock.cid", peer.cid]]);
  if (sandbox !== undefined) attributes.set("kata.sandbox.id", sandbox);
  return { kind: "guest", name: `vsock:${peer.cid}:${peer.port}`, account: `vsock:${peer.cid}`, attributes };
}

/** The guest whose VMM connects to the socket beside `socketPath` (absolute, normalised). */
export function socketSource(socketPath: string): Source {
  return sandboxSource(sandboxId(socketPath), socketPath);
}

/**
 * The guest of a sandbox.
 *
 * @param path of its VMM's socket or of its directory, which no other sandbox has: its account. IDs alone would not do,
 * because sandboxes in different directories may have the same.
 */
export function sandboxSource(id: string, path: string): Source {
  return { kind: "guest", name: id, account: `hybrid:${path}`, attributes: new Map([["kata.sandbox.id", id]]) };
}
