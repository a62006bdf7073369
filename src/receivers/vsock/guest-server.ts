import type { Source } from "../../pipeline/source.ts";
import type { DescriptorBudget } from "./descriptor-budget.ts";
import type { DirectoryWatches } from "./directory-watches.ts";
import type { ConnectionReads, DescriptorKeeper, ReadKeeper } from "./descriptor-keeper.ts";
import { guestDescriptorName, unixListenerName } from "./descriptor-names.ts";
import { type VsockAddress, vsockSource } from "./identity.ts";
import { ConnectionError, type GuestConnection, type GuestReceiver } from "./listener.ts";
import type { SocketOpener } from "./socket-file.ts";
import type { Stream, StreamHandlers, StreamServer, StreamServers } from "./stream-server.ts";

/** What every listener is told beside where to listen. */
export interface ListenerOptions {
  /** Shared by all listeners of the process. */
  readonly budget: DescriptorBudget;
  /** Something that ends neither the listener nor a guest but that an operator should know. */
  readonly onProblem: (message: string, error?: Error) => void;
  /** Something that is as it should be, and that an operator may want to know. Default: nobody is told. */
  readonly onNotice?: (message: string, fields: Readonly<Record<string, string>>) => void;
  /** The number of the user that the process becomes. Default: it stays who it is. */
  readonly user?: number | undefined;
  /** Watches directories, for all listeners together. Default: each watches by itself. */
  readonly watches?: DirectoryWatches;
  /** See `TemplateHost`. */
  readonly rescanMs?: number | undefined;
  /** Keeps descriptors for the next process. Default: they end with this one. */
  readonly keeper?: DescriptorKeeper;
  /** Keeps what is read of the connections whose descriptors are kept. Default: it ends with this process. */
  readonly reads?: ReadKeeper | undefined;
}

/** Who a peer is; later where that takes time: until then it is not read. */
export type Identify = (
  peer: VsockAddress | undefined,
) => Source | Promise<Source>;

/** Why a connection is not taken in, given its descriptor; undefined if it is. */
export type Refusal = (descriptor: number) => string | undefined;

/** Guests made out of the connections of one stream server. */
export class GuestServer {
  readonly #options: ListenerOptions;
  readonly #identify: Identify;
  readonly #refusal: Refusal;
  #server: StreamServer | undefined;
  /** What the listening socket's descriptor is kept as. */
  #keptAs: string | undefined;
  /** Guests that are not identified yet, with what is known of each. */
  readonly #unidentified = new Map<Stream, { readonly peer: VsockAddress; readonly keptAs: string | undefined }>();

  /** @param refusal why a connection is not taken in, if it is not. Default: all are taken in. */
  constructor(options: ListenerOptions, identify: Identify, refusal: Refusal = () => undefined) {
    this.#options = options;
    this.#identify = identify;
    this.#refusal = refusal;
  }

  /** What the stream server is to call for `accept` to be called. */
  handlers(accept: (connection: GuestConnection) => GuestReceiver): StreamHandlers {
    return {
      accept: (stream, peer) => this.#accept(stream, peer, accept),
      problem: (message, error) => this.#options.onProblem(message, asError(error)),
    };
  }

  /** How its listening UNIX socket comes to be. */
  opener(
    servers: StreamServers,
    accept: (connection: GuestConnection) => GuestReceiver,
  ): SocketOpener<StreamServer> {
    const handlers = this.handlers(accept);
    return {
      bind: (path) => servers.unix(path, handlers),
      resume: (file) => this.resume(unixListenerName(file), servers, handlers),
    };
  }

  /** Goes on with the listening socket that an earlier process has left under a name; undefined if there is none. */
  resume(name: string, { adoption }: StreamServers, handlers: StreamHandlers): StreamServer | undefined {
    const { keeper, onProblem } = this.#options;
    const descriptor = adoption && keeper?.claim(name);
    if (adoption === undefined || descriptor === undefined) return undefined;
    try {
      return adoption.listener(descriptor, handlers);
    } catch (error) {
      // It is not what its name says, and a new one takes its place.
      keeper?.release(name);
      onProblem("a listening socket of an earlier process cannot be used", asError(error));
      return undefined;
    }
  }

  /**
   * The server made with these handlers. @param name what its descriptor is kept as for the next process, if at all.
   */
  start(server: StreamServer, name?: string): void {
    this.#server = server;
    this.#options.budget.attach(server);
    if (name === undefined || server.descriptor === undefined || this.#options.keeper === undefined) return;
    this.#keptAs = name;
    this.#options.keeper.keep(name, name, () => server.descriptor as number);
  }

  /**
   * Accepts no more guests, and leaves the listening socket to the next process. False if it does not outlive this one.
   */
  handOver(): boolean {
    const { keeper } = this.#options;
    if (this.#keptAs === undefined || keeper?.outlives(this.#keptAs) !== true) return false;
    this.#server?.pause();
    // The next process finds out who they are.
    for (const [stream, { peer, keptAs }] of this.#unidentified) this.#keep(stream, vsockSource(peer), keptAs);
    return true;
  }

  /** Closes the listening socket; guests stay. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    if (this.#keptAs !== undefined) this.#options.keeper?.release(this.#keptAs);
    await server.close();
    this.#options.budget.detach(server);
  }

  /** The handlers of a connection that an earlier process has left. */
  adopt(
    left: LeftConnection,
    accept: (connection: GuestConnection) => GuestReceiver,
  ): StreamHandlers {
    return {
      ...this.handlers(accept),
      accept: (stream, peer) => {
        const takeIn: TakeIn = (connection) => {
          const receiver = accept(connection);
          if (left.unread === undefined) return receiver;
          if (connection.reads?.bytes === 0) connection.reads.read(left.unread);
          receiver.data(left.unread);
          return receiver;
        };
        // If an earlier process did not find the sandbox, it may only have lacked the time.
        const isKnown = peer === undefined || left.source.attributes.has("kata.sandbox.id");
        return this.#take(stream, peer, isKnown ? left.source : this.#identify(peer), takeIn, left.name);
      },
    };
  }

  #accept(
    stream: Stream,
    peer: VsockAddress | undefined,
    accept: (connection: GuestConnection) => GuestReceiver,
  ): GuestReceiver {
    const refusal = stream.descriptor === undefined ? undefined : this.#refusal(stream.descriptor);
    if (refusal !== undefined) {
      this.#options.onProblem("connection to a sandbox's socket refused", new Error(refusal));
      stream.destroy();
      return { data: () => {}, end: () => {} };
    }
    return this.#take(stream, peer, this.#identify(peer), accept, undefined);
  }

  /** @param keptAs the name that its descriptor is kept as already. */
  #take(
    stream: Stream,
    peer: VsockAddress | undefined,
    source: Source | Promise<Source>,
    accept: TakeIn,
    keptAs: string | undefined,
  ): GuestReceiver {
    const { budget } = this.#options;
    const guest = source instanceof Promise
      ? this.#hold(stream, peer, source, accept, keptAs)
      : this.#receive(stream, source, accept, keptAs);
    budget.take();
    return {
      data: (chunk, release) => guest.data(chunk, release),
      end: (error) => {
        budget.release();
        guest.end(error);
      },
    };
  }

  /** A guest that is not read until it is known who it is: its first span already bears the whole identity. */
  #hold(
    stream: Stream,
    peer: VsockAddress | undefined,
    source: Promise<Source>,
    accept: TakeIn,
    keptAs: string | undefined,
  ): GuestReceiver {
    let guest: GuestReceiver | undefined;
    let isEnded = false;
    stream.pause();
    if (peer !== undefined) this.#unidentified.set(stream, { peer, keptAs });
    source.then((known) => {
      this.#unidentified.delete(stream);
      // Broken before a byte of it was read.
      if (isEnded) return;
      // Unless the code that takes it in has paused it.
      let resume = true;
      const taken: Stream = {
        get descriptor() {
          return stream.descriptor;
        },
        readInto: (reads) => stream.readInto?.(reads),
        get isClosed() {
          return stream.isClosed === true;
        },
        pause: () => {
          resume = false;
          stream.pause();
        },
        resume: () => stream.resume(),
        destroy: () => {
          resume = false;
          stream.destroy();
        },
      };
      guest = this.#receive(taken, known, accept, keptAs);
      if (resume) stream.resume();
    }).catch((error: unknown) => {
      this.#options.onProblem("a guest could not be taken in", asError(error));
      stream.destroy();
    });
    return {
      data: (chunk, release) => {
        if (guest === undefined) throw new Error("a paused guest was read");
        guest.data(chunk, release);
      },
      end: (error) => {
        isEnded = true;
        this.#unidentified.delete(stream);
        if (guest === undefined && keptAs !== undefined) {
          this.#options.reads?.of(keptAs, keptAs).end();
          this.#options.keeper?.release(keptAs);
        }
        guest?.end(error);
      },
    };
  }

  #receive(stream: Stream, source: Source, accept: TakeIn, inheritedName: string | undefined): GuestReceiver {
    const { keeper } = this.#options;
    // Known once its descriptor is kept, which is another one when it is read directly.
    const kept: { reads?: ConnectionReads | undefined } = {};
    try {
      if (this.#options.reads !== undefined) stream.readInto?.(() => kept.reads);
    } catch (error) {
      this.#options.onProblem("a kill would lose some of what is read of a guest", asError(error));
    }
    const name = this.#keep(stream, source, inheritedName);
    const reads = kept.reads = this.#readsOf(name, source);
    const receiver = accept({
      source,
      keptAs: name,
      reads,
      get isClosed() {
        return stream.isClosed === true;
      },
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      destroy: () => stream.destroy(),
    });
    return {
      data: (chunk, release) => receiver.data(chunk, release),
      end: (error) => {
        if (name !== undefined) keeper?.release(name);
        receiver.end(error && new ConnectionError(source.name, error));
      },
    };
  }

  /** Keeps a guest's descriptor for the next process. Returns the name that it is kept as. */
  #keep(stream: Stream, source: Source, inheritedName: string | undefined): string | undefined {
    const { keeper } = this.#options;
    const { descriptor } = stream;
    if (keeper === undefined || descriptor === undefined) return undefined;
    const name = inheritedName ?? guestDescriptorName(source);
    if (name !== undefined) keeper.keep(name, source.account, () => descriptor);
    return name;
  }

  #readsOf(name: string | undefined, { account }: Source): ConnectionReads | undefined {
    const { keeper, reads } = this.#options;
    return name !== undefined && keeper?.outlives(name) === true ? reads?.of(name, account) : undefined;
  }
}

/** A connection that an earlier process has left. */
export interface LeftConnection {
  /** Whose it is, as far as that process knew. */
  readonly source: Source;
  /** What its descriptor is kept as. */
  readonly name: string;
  /** What that process read of a frame that was not whole. */
  readonly unread: Uint8Array | undefined;
}

/** What takes a guest's connection in. */
type TakeIn = (connection: GuestConnection) => GuestReceiver;

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
