import type { ReleaseChunk } from "../../decode/frame-reader.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { Source } from "../../pipeline/source.ts";
import type { GuestConnection, GuestReceiver } from "./listener.ts";

/**
 * Takes guests in with what the host knows of their sandboxes. A guest whose sandbox has to be looked for is not read
 * until then, so that its first span already has everything.
 */
export class DescribedGuests {
  readonly #lookup: SandboxLookup;
  readonly #accept: (connection: GuestConnection) => GuestReceiver;
  readonly #waiting = new Set<WaitingGuest>();
  #isFlushed = false;

  /** @param accept takes a guest in. */
  constructor(lookup: SandboxLookup, accept: (connection: GuestConnection) => GuestReceiver) {
    this.#lookup = lookup;
    this.#accept = accept;
  }

  /** What a listener is to call for each guest. */
  readonly accept = (connection: GuestConnection): GuestReceiver => {
    const sandbox = connection.source.attributes.get("kata.sandbox.id");
    if (typeof sandbox !== "string") return this.#accept(connection);
    const known = this.#lookup.known(sandbox);
    if (known !== undefined) return this.#accept(described(connection, known));
    if (this.#isFlushed) return this.#accept(connection);
    const guest = new WaitingGuest(connection, this.#accept);
    this.#waiting.add(guest);
    void this.#lookup.find(sandbox).then((attributes) => {
      this.#waiting.delete(guest);
      guest.takeIn(attributes);
    });
    return guest;
  };

  /**
   * From now on nobody waits, because guests are read for the last time, or are left to another process with what this
   * one has read of them.
   */
  flush(): void {
    this.#isFlushed = true;
    for (const guest of this.#waiting) guest.takeIn(new Map());
    this.#waiting.clear();
  }
}

/** A guest that is not read yet. */
class WaitingGuest implements GuestReceiver {
  readonly #connection: GuestConnection;
  readonly #accept: (connection: GuestConnection) => GuestReceiver;
  #receiver: GuestReceiver | undefined;
  /** What an earlier process has read of a frame that was not whole. */
  readonly #unread: Uint8Array[] = [];
  /** Whether it is paused for anything else by now. */
  #isPaused = false;
  /** It has ended, with this error if it broke. */
  #ended: { readonly error: Error | undefined } | undefined;

  constructor(connection: GuestConnection, accept: (connection: GuestConnection) => GuestReceiver) {
    this.#connection = connection;
    this.#accept = accept;
    connection.pause();
  }

  data(chunk: Uint8Array, release?: ReleaseChunk): void {
    if (this.#receiver !== undefined) this.#receiver.data(chunk, release);
    else {
      this.#unread.push(chunk.slice());
      release?.(chunk);
    }
  }

  end(error?: Error): void {
    this.#ended = { error };
    this.#receiver?.end(error);
  }

  takeIn(attributes: ReadonlyMap<string, string>): void {
    if (this.#receiver !== undefined) return;
    const connection = this.#connection;
    // It broke before a byte of it was read.
    if (this.#ended !== undefined && this.#unread.length === 0) return connection.reads?.end();
    this.#receiver = this.#accept({
      ...described(connection, attributes),
      get isClosed() {
        return connection.isClosed === true;
      },
      pause: () => {
        this.#isPaused = true;
        connection.pause();
      },
      resume: () => {
        this.#isPaused = false;
        connection.resume();
      },
      destroy: () => {
        this.#isPaused = true;
        connection.destroy();
      },
    });
    for (const chunk of this.#unread.splice(0)) this.#receiver.data(chunk);
    if (this.#ended !== undefined) this.#receiver.end(this.#ended.error);
    else if (!this.#isPaused) connection.resume();
  }
}

/** The same connection, of a source with more attributes. */
function described(connection: GuestConnection, attributes: ReadonlyMap<string, string>): GuestConnection {
  if (attributes.size === 0) return connection;
  const { source } = connection;
  const known: Source = { ...source, attributes: new Map([...source.attributes, ...attributes]) };
  return {
    source: known,
    keptAs: connection.keptAs,
    reads: connection.reads,
    get isClosed() {
      return connection.isClosed === true;
    },
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    destroy: () => connection.destroy(),
  };
}
