import type { HttpConnection } from "../../http/messages.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { FindPeer } from "../peers/peer-finder.ts";

/** What may wait for one connection, and for all, bytes: some hundred spans, and those of many sandboxes' starts. */
const MAX_HELD_BYTES = 1024 * 1024;
const MAX_TOTAL_HELD_BYTES = 16 * 1024 * 1024;

interface HeldBody {
  readonly body: Uint8Array;
  /** Whether it says itself which sandbox its spans are of. */
  readonly isNamed: boolean;
}

interface Peer {
  /** Undefined while it is looked up, and if it was not found. */
  sandbox: string | undefined;
  isLookedUp: boolean;
  /** Bodies that wait for the lookup. */
  held: HeldBody[];
  heldBytes: number;
}

/**
 * Whose shim is at the other end of each connection. That is looked up when the connection is accepted, and the bodies
 * that come before it is known may wait for it, because a shim's first spans are those of its sandbox's start. They
 * have been answered by then.
 */
export class PeerSandboxes {
  readonly #find: FindPeer;
  readonly #lookup: SandboxLookup | undefined;
  readonly #onBody: (body: Uint8Array, connection: HttpConnection) => void;
  readonly #peers = new Map<HttpConnection, Peer>();
  #heldBytes = 0;

  /**
   * @param lookup what the host knows of sandboxes, which bodies wait for too. @param onBody takes a body that need not
   * wait any more.
   */
  constructor(
    find: FindPeer,
    lookup: SandboxLookup | undefined,
    onBody: (body: Uint8Array, connection: HttpConnection) => void,
  ) {
    this.#find = find;
    this.#lookup = lookup;
    this.#onBody = onBody;
  }

  /** Begins to look up who is at the other end. */
  connected(connection: HttpConnection): void {
    const peer: Peer = { sandbox: undefined, isLookedUp: false, held: [], heldBytes: 0 };
    this.#peers.set(connection, peer);
    void this.#find({
      address: connection.remoteAddress,
      port: connection.remotePort,
      peerAddress: connection.localAddress,
      peerPort: connection.localPort,
    }).then(async (sandbox) => {
      peer.sandbox = sandbox;
      if (sandbox !== undefined) await this.#lookup?.find(sandbox);
      this.#release(peer, connection);
    });
  }

  disconnected(connection: HttpConnection): void {
    const peer = this.#peers.get(connection);
    if (peer !== undefined) this.#release(peer, connection);
    this.#peers.delete(connection);
  }

  /** The sandbox of a connection's shim, as far as it is known. */
  of(connection: HttpConnection): string | undefined {
    return this.#peers.get(connection)?.sandbox;
  }

  /**
   * Keeps a body until it is known whose it is. Returns false if it need not wait, or there is no room.
   *
   * @param isNamed whether it says itself which sandbox its spans are of.
   */
  hold(connection: HttpConnection, body: Uint8Array, isNamed: boolean): boolean {
    const peer = this.#peers.get(connection);
    if (peer === undefined || peer.isLookedUp) return false;
    const { length } = body;
    if (peer.heldBytes + length > MAX_HELD_BYTES || this.#heldBytes + length > MAX_TOTAL_HELD_BYTES) {
      this.#release(peer, connection);
      return false;
    }
    peer.held.push({ body, isNamed });
    peer.heldBytes += length;
    this.#heldBytes += length;
    return true;
  }

  /** Hands on everything that waits. */
  close(): void {
    for (const [connection, peer] of this.#peers) this.#release(peer, connection);
  }

  /** Hands on what waits for a connection: first what names its sandbox, so that others of the same trace are known. */
  #release(peer: Peer, connection: HttpConnection): void {
    peer.isLookedUp = true;
    const { held } = peer;
    this.#heldBytes -= peer.heldBytes;
    peer.held = [];
    peer.heldBytes = 0;
    for (const isNamed of [true, false]) {
      for (const each of held) if (each.isNamed === isNamed) this.#onBody(each.body, connection);
    }
  }
}
