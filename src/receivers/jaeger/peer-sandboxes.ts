import type { JaegerBatch } from "../../decode/jaeger-thrift/decoder.ts";
import type { HttpConnection } from "../../http/messages.ts";
import type { EncodedSpans, PackedSpans } from "../../otlp/encoded-spans.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import { isRuntimeService, type KnownSandboxes } from "../accounts/known-sandboxes.ts";
import type { FindPeer } from "../peers/peer-finder.ts";
import type { ShimScans } from "./shim-scans.ts";

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
  /** Whether something is of a service whose sandbox may become known with its guest. */
  hasService: boolean;
}

/** How long batches wait at most, milliseconds. */
export interface PeerWaits {
  /** For one of the same connection that names its sandbox. 0: not at all. */
  readonly nameMs: number;
  /** If they are of a service of the Rust runtime, for its sandbox to become known. */
  readonly serviceMs: number;
}

/** What is known of batches' sandboxes, and what finds out. */
export interface PeerSandboxesOptions {
  readonly find: FindPeer;
  /** What the host knows of sandboxes, which batches wait for too. */
  readonly lookup: SandboxLookup | undefined;
  readonly waits: PeerWaits;
  readonly sandboxes: KnownSandboxes;
  /** Finds out which sandboxes' runtimes run. */
  readonly scans: Pick<ShimScans, "request">;
  /** Takes a batch that need not wait any more. */
  readonly onBatch: (held: HeldBatch, connection: HttpConnection) => void;
}

/**
 * Knows whose shim is at the other end of each connection. It is looked up when the connection is accepted, and the
 * batches that come before it is known may wait for it, because a shim's first spans are those of its sandbox's start.
 * They have been answered by then.
 *
 * A process that runs as another user than the shims may not look them up. Then batches wait a moment for one that
 * names its sandbox. The Rust runtime never does, but its service has the first characters of the ID. So its batches
 * wait until a sandbox is known that begins so, because its guest connects or its shim is seen to run.
 */
export class PeerSandboxes {
  readonly #options: PeerSandboxesOptions;
  readonly #peers = new Map<HttpConnection, Peer>();
  readonly #unsubscribe: () => void;
  #heldBytes = 0;

  constructor(options: PeerSandboxesOptions) {
    this.#options = options;
    this.#unsubscribe = options.sandboxes.subscribe(() => this.#releaseKnown());
  }

  /** Begins to look up who is at the other end. */
  connected(connection: HttpConnection): void {
    const { find, lookup, waits } = this.#options;
    const peer: Peer = {
      sandbox: undefined,
      waitsFor: "lookup",
      held: [],
      heldBytes: 0,
      timer: undefined,
      hasService: false,
    };
    this.#peers.set(connection, peer);
    void find({
      address: connection.remoteAddress,
      port: connection.remotePort,
      peerAddress: connection.localAddress,
      peerPort: connection.localPort,
    }).then(async (sandbox) => {
      peer.sandbox = sandbox;
      if (sandbox !== undefined) await lookup?.find(sandbox);
      if (peer.waitsFor !== "lookup") return;
      const waitsOn = sandbox === undefined && waits.nameMs > 0 && !this.#isKnown(peer);
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
    if (!isNamed && isRuntimeService(batch.serviceName)) {
      if (!peer.hasService && peer.waitsFor === "name") {
        this.#startTimer(peer, connection, this.#options.waits.serviceMs);
      }
      peer.hasService = true;
      this.#options.scans.request();
    }
    return true;
  }

  /** A batch of a connection has named its sandbox: hands on what waits for that. */
  named(connection: HttpConnection): void {
    const peer = this.#peers.get(connection);
    if (peer?.waitsFor === "name") this.#release(peer, connection);
  }

  #waitForName(peer: Peer, connection: HttpConnection): void {
    const { nameMs, serviceMs } = this.#options.waits;
    peer.waitsFor = "name";
    this.#startTimer(peer, connection, peer.hasService ? serviceMs : nameMs);
  }

  #startTimer(peer: Peer, connection: HttpConnection, ms: number): void {
    clearTimeout(peer.timer);
    peer.timer = setTimeout(() => this.#release(peer, connection), ms);
  }

  /** There may be a new sandbox: hands on what waits for that. */
  #releaseKnown(): void {
    for (const [connection, peer] of this.#peers) {
      if (peer.waitsFor === "name" && this.#isKnown(peer)) this.#release(peer, connection);
    }
  }

  /** Whether the sandbox of something that waits is known by now. */
  #isKnown({ held }: Peer): boolean {
    const { sandboxes } = this.#options;
    return held.some(({ isNamed, batch }) => isNamed || sandboxes.ofService(batch.serviceName) !== undefined);
  }

  /** Hands on everything that waits. */
  close(): void {
    this.#unsubscribe();
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
      for (const each of held) if (each.isNamed === isNamed) this.#options.onBatch(each, connection);
    }
  }
}
