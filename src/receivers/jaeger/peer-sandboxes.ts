import type { JaegerBatch } from "../../decode/jaeger-thrift/decoder.ts";
import type { HttpConnection } from "../../http/messages.ts";
import type { EncodedSpans, PackedSpans } from "../../otlp/encoded-spans.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { FindPeer } from "../peers/peer-finder.ts";

/** What may wait for one connection, and for all, bytes: some hundred spans, and those of many sandboxes' starts. */
const MAX_HELD_BYTES = 1024 * 1024;
const MAX_TOTAL_HELD_BYTES = 16 * 1024 * 1024;

/** A batch that waits. */
export interface HeldBatch {
  readonly batch: JaegerBatch;
  readonly spans: PackedSpans;
  /** Whether it says itself which sandbox its spans are of. */
  readonly isNamed: boolean;
}

interface Peer {
  /** Undefined while it is looked up, and if it was not found. */
  sandbox: string | undefined;
  /** What batches wait for, if anything: the lookup, or one that names the sandbox of their trace. */
  waitsFor: "lookup" | "name" | undefined;
  held: HeldBatch[];
  heldBytes: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/**
 * Whose shim is at the other end of each connection. That is looked up when the connection is accepted, and the batches
 * that come before it is known may wait for it, because a shim's first spans are those of its sandbox's start. They
 * have been answered by then.
 *
 * A process that runs as another user than the shims may not look them up. Then batches wait a moment for one that
 * names its sandbox.
 */
export class PeerSandboxes {
  readonly #find: FindPeer;
  readonly #lookup: SandboxLookup | undefined;
  readonly #nameWaitMs: number;
  readonly #onBatch: (held: HeldBatch, connection: HttpConnection) => void;
  readonly #peers = new Map<HttpConnection, Peer>();
  #heldBytes = 0;

  /**
   * @param lookup what the host knows of sandboxes, which batches wait for too.
   * @param nameWaitMs how long batches wait at most for one that names its sandbox, if the lookup has found nothing.
   * @param onBatch takes a batch that need not wait any more.
   */
  constructor(
    find: FindPeer,
    lookup: SandboxLookup | undefined,
    nameWaitMs: number,
    onBatch: (held: HeldBatch, connection: HttpConnection) => void,
  ) {
    this.#find = find;
    this.#lookup = lookup;
    this.#nameWaitMs = nameWaitMs;
    this.#onBatch = onBatch;
  }

  /** Begins to look up who is at the other end. */
  connected(connection: HttpConnection): void {
    const peer: Peer = { sandbox: undefined, waitsFor: "lookup", held: [], heldBytes: 0, timer: undefined };
    this.#peers.set(connection, peer);
    void this.#find({
      address: connection.remoteAddress,
      port: connection.remotePort,
      peerAddress: connection.localAddress,
      peerPort: connection.localPort,
    }).then(async (sandbox) => {
      peer.sandbox = sandbox;
      if (sandbox !== undefined) await this.#lookup?.find(sandbox);
      if (peer.waitsFor !== "lookup") return;
      const waitsOn = sandbox === undefined && this.#nameWaitMs > 0 && !peer.held.some(({ isNamed }) => isNamed);
      if (waitsOn) this.#waitForName(peer, connection);
      else this.#release(peer, connection);
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
   * Keeps a copy of a batch until it is known whose it is. Returns false if it need not wait, or there is no room.
   *
   * @param isNamed whether it says itself which sandbox its spans are of.
   */
  hold(connection: HttpConnection, batch: JaegerBatch, spans: EncodedSpans, isNamed: boolean): boolean {
    const peer = this.#peers.get(connection);
    if (peer?.waitsFor === undefined || (peer.waitsFor === "name" && isNamed)) return false;
    const length = spans.writer.position;
    if (peer.heldBytes + length > MAX_HELD_BYTES || this.#heldBytes + length > MAX_TOTAL_HELD_BYTES) {
      this.#release(peer, connection);
      return false;
    }
    peer.held.push({ batch, spans: spans.pack(), isNamed });
    peer.heldBytes += length;
    this.#heldBytes += length;
    return true;
  }

  /** A batch of a connection has named its sandbox: hands on what waits for that. */
  named(connection: HttpConnection): void {
    const peer = this.#peers.get(connection);
    if (peer?.waitsFor === "name") this.#release(peer, connection);
  }

  #waitForName(peer: Peer, connection: HttpConnection): void {
    peer.waitsFor = "name";
    peer.timer = setTimeout(() => this.#release(peer, connection), this.#nameWaitMs);
  }

  /** Hands on everything that waits. */
  close(): void {
    for (const [connection, peer] of this.#peers) this.#release(peer, connection);
  }

  /** Hands on what waits for a connection: first what names its sandbox, so that others of the same trace are known. */
  #release(peer: Peer, connection: HttpConnection): void {
    clearTimeout(peer.timer);
    peer.waitsFor = undefined;
    const { held } = peer;
    this.#heldBytes -= peer.heldBytes;
    peer.held = [];
    peer.heldBytes = 0;
    for (const isNamed of [true, false]) {
      for (const each of held) if (each.isNamed === isNamed) this.#onBatch(each, connection);
    }
  }
}
