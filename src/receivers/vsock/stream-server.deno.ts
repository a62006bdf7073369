import type { VsockAddress } from "./identity.ts";
import type { GuestReceiver } from "./listener.ts";
import type { Stream, StreamHandlers, StreamServer, StreamServers } from "./stream-server.ts";

interface DenoConnection {
  /** Resolves with the number of bytes read, or null at the end of the stream. */
  read(buffer: Uint8Array): Promise<number | null>;
  close(): void;
  readonly remoteAddr: Partial<VsockAddress>;
}
interface DenoListener {
  accept(): Promise<DenoConnection>;
  close(): void;
}
/** As much of Deno's API as is used here: its types are not installed. https://docs.deno.com/api/deno/network */
declare const Deno: {
  listen(
    options: { transport: "unix"; path: string } | ({ transport: "vsock" } & VsockAddress),
  ): DenoListener;
};

/** What one read takes at most, bytes; each guest has such a buffer. */
const READ_BYTES = 64 * 1024;
/** How long to wait after a failed accept (out of descriptors, mostly) before the next, milliseconds. */
const ACCEPT_RETRY_MS = 500;

/** Lets a loop wait while something is paused. */
class Gate {
  #waiting: PromiseWithResolvers<void> | undefined;

  close(): void {
    this.#waiting ??= Promise.withResolvers();
  }

  open(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  /** Resolves once the gate is open; undefined where it is already, so that an open gate costs no turn. */
  get opened(): Promise<void> | undefined {
    return this.#waiting?.promise;
  }
}

class DenoStream implements Stream {
  readonly #connection: DenoConnection;
  readonly #gate = new Gate();
  #destroyed = false;

  constructor(connection: DenoConnection) {
    this.#connection = connection;
  }

  pause(): void {
    this.#gate.close();
  }

  resume(): void {
    this.#gate.open();
  }

  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#connection.close();
    this.#gate.open();
  }

  /** Reads to the end of the stream. */
  async deliver(receiver: GuestReceiver): Promise<void> {
    let failure: Error | undefined;
    try {
      await this.#read(receiver);
    } catch (error) {
      // A read that `destroy` interrupted is not a failure of the guest's.
      if (!this.#destroyed) failure = error instanceof Error ? error : new Error(String(error));
    }
    this.destroy();
    receiver.end(failure);
  }

  async #read(receiver: GuestReceiver): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      await this.#gate.opened;
      if (this.#destroyed) return;
      const length = await this.#connection.read(buffer);
      // Paused while the read was under way: what it brought is kept back.
      await this.#gate.opened;
      if (length === null || this.#destroyed) return;
      receiver.data(buffer.subarray(0, length));
    }
  }
}

class DenoStreamServer implements StreamServer {
  readonly #listener: DenoListener;
  readonly #handlers: StreamHandlers;
  readonly #gate = new Gate();
  /** Settles when no accept is under way any more: until then the socket stays open. */
  readonly #accepting: Promise<void>;
  #closed = false;

  constructor(listener: DenoListener, handlers: StreamHandlers) {
    this.#listener = listener;
    this.#handlers = handlers;
    this.#accepting = this.#accept();
  }

  async #accept(): Promise<void> {
    let failing = false;
    while (!this.#closed) {
      await this.#gate.opened;
      if (this.#closed) return;
      try {
        this.#serve(await this.#listener.accept());
        failing = false;
      } catch (error) {
        // `close` ends the accept under way.
        if (this.#closed) return;
        // Once for failures in a row.
        if (!failing) this.#handlers.problem("a connection could not be accepted", error);
        failing = true;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  #serve(connection: DenoConnection): void {
    if (this.#closed) return connection.close();
    const { cid, port } = connection.remoteAddr;
    const peer = cid === undefined || port === undefined ? undefined : { cid, port };
    const stream = new DenoStream(connection);
    try {
      void stream.deliver(this.#handlers.accept(stream, peer));
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  pause(): void {
    this.#gate.close();
  }

  resume(): boolean {
    this.#gate.open();
    return true;
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#gate.open();
      this.#listener.close();
    }
    return this.#accepting;
  }
}

/** Deno's side of {@link StreamServers}; AF_VSOCK needs `--unstable-vsock`. */
export const streamServers: StreamServers = {
  unix: (path, handlers) => new DenoStreamServer(Deno.listen({ transport: "unix", path }), handlers),
  vsock: async ({ cid, port }, handlers) =>
    new DenoStreamServer(Deno.listen({ transport: "vsock", cid, port }), handlers),
};
