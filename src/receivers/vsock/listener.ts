import type { ReleaseChunk } from "../../decode/frame-reader.ts";
import type { Source } from "../../pipeline/source.ts";
import type { ConnectionReads } from "./descriptor-keeper.ts";

/** One guest's stream. The agent never reads from it, so nothing is ever written to it. */
export interface GuestConnection {
  readonly source: Source;
  /** The name under which its descriptor is kept for the next process; absent if it is not. */
  readonly keptAs?: string | undefined;
  /** Gets what is read of it and told what has been processed, for the next process; absent if nothing is kept. */
  readonly reads?: ConnectionReads | undefined;
  /**
   * Whether the other end has closed the connection, though what it wrote before may still have to be read. Absent
   * where nobody can tell while the connection is not read (Deno).
   */
  readonly isClosed?: boolean;
  /**
   * Stops reading: what the guest writes waits in the kernel, and then in the guest. Of a connection that breaks, what
   * the kernel held of it still comes.
   */
  pause(): void;
  resume(): void;
  /** Ends the connection at once. `GuestReceiver.end` is called, once. */
  destroy(): void;
}

/** What takes a guest's bytes. */
export interface GuestReceiver {
  /**
   * Bytes as they came.
   *
   * @param release is to be called once the receiver is done with the chunk, which is the receiver's until then. If it
   * is absent, the chunk belongs to the receiver only until `data` returns.
   */
  data(chunk: Uint8Array, release?: ReleaseChunk): void;
  /** The stream has ended: cleanly, or with the error that broke it. Called once, after the last `data`. */
  end(error?: Error): void;
}

/** A place where guests come in. */
export interface Listener {
  /** For people and logs: `vsock:any:10240` or a socket's path. */
  readonly address: string;
  /** Binds and listens; rejects with a {@link ListenError} that says what to do. Accepts only after this resolved. */
  listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void>;
  /**
   * To be called once, when the process has no privileges any more and guests may come: some listeners listen from then
   * on, in places that appear while they do.
   */
  begin?(): void | Promise<void>;
  /**
   * To be called before `handOver`: no more sockets are made from now on, so that none appears while the existing ones
   * are handed over. Never rejects.
   */
  settle?(): Promise<void>;
  /** Accepts no more guests; those connected stay. */
  stopAccepting(): Promise<void>;
  /**
   * Accepts no more guests, and leaves the sockets that outlive this process as they are: guests that connect wait for
   * the next one. The others are removed, as by `cleanUp`.
   */
  handOver(): void;
  /** Removes what `listen` made (the socket file), where permissions still allow it. */
  cleanUp(): void;
}

/** A listener that cannot listen: the message names what, where and what to do. */
export class ListenError extends Error {
  override readonly name = "ListenError";
  /** This machine has nothing of the kind to listen at, as opposed to something that is there but cannot be used. */
  readonly absent: boolean;

  constructor(message: string, options?: ErrorOptions & { readonly absent?: boolean }) {
    super(message, options);
    this.absent = options?.absent === true;
  }
}

/** A guest's connection that broke; the cause says how. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";

  constructor(peer: string, cause: Error) {
    super(`the connection of ${peer} broke: ${cause.message}`, { cause });
  }
}
