import type { Source } from "../../pipeline/source.ts";
import type { DescriptorBudget } from "./descriptor-budget.ts";
import type { VsockAddress } from "./identity.ts";
import { ConnectionError, type GuestConnection, type GuestReceiver } from "./listener.ts";
import type { Stream, StreamHandlers, StreamServer } from "./stream-server.ts";

/** What every listener is told beside where to listen. */
export interface ListenerOptions {
  /** Shared by all listeners of the process. */
  readonly budget: DescriptorBudget;
  /** Something that ends neither the listener nor a guest but that an operator should know. */
  readonly onProblem: (message: string, error?: Error) => void;
  /** Something that goes as it should, and that an operator may want to know. Default: told to nobody. */
  readonly onNotice?: (message: string, fields: Readonly<Record<string, string>>) => void;
  /** Runs, synchronously, what needs a right that the process has kept. Default: it has kept none. */
  readonly privileged?: <Result>(operation: () => Result) => Result;
  /** The number of the user that the process becomes. Default: it stays who it is. */
  readonly user?: number | undefined;
}

/** Who a peer is; later where that takes time: until then it is not read. */
export type Identify = (
  peer: VsockAddress | undefined,
) => Source | Promise<Source>;

/** Guests made out of the connections of one stream server. */
export class GuestServer {
  readonly #options: ListenerOptions;
  readonly #identify: Identify;
  #server: StreamServer | undefined;

  constructor(options: ListenerOptions, identify: Identify) {
    this.#options = options;
    this.#identify = identify;
  }

  /** What the stream server is to call for `accept` to be called. */
  handlers(accept: (connection: GuestConnection) => GuestReceiver): StreamHandlers {
    return {
      accept: (stream, peer) => this.#accept(stream, peer, accept),
      problem: (message, error) => this.#options.onProblem(message, asError(error)),
    };
  }

  /** The server made with these handlers. */
  start(server: StreamServer): void {
    this.#server = server;
    this.#options.budget.attach(server);
  }

  /** Closes the listening socket; guests stay. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await server.close();
    this.#options.budget.detach(server);
  }

  #accept(
    stream: Stream,
    peer: VsockAddress | undefined,
    accept: (connection: GuestConnection) => GuestReceiver,
  ): GuestReceiver {
    const source = this.#identify(peer);
    const { budget } = this.#options;
    const guest = source instanceof Promise ? this.#hold(stream, source, accept) : receive(stream, source, accept);
    budget.take();
    return {
      data: (chunk) => guest.data(chunk),
      end: (error) => {
        budget.release();
        guest.end(error);
      },
    };
  }

  /** A guest that is not read until it is known who it is: its first span already bears the whole identity. */
  #hold(
    stream: Stream,
    source: Promise<Source>,
    accept: (connection: GuestConnection) => GuestReceiver,
  ): GuestReceiver {
    let guest: GuestReceiver | undefined;
    let isEnded = false;
    stream.pause();
    source.then((known) => {
      // Broken before a byte of it was read.
      if (isEnded) return;
      // Unless whoever takes it in wants it otherwise.
      let resume = true;
      const taken: Stream = {
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
      guest = receive(taken, known, accept);
      if (resume) stream.resume();
    }).catch((error: unknown) => {
      this.#options.onProblem("a guest could not be taken in", asError(error));
      stream.destroy();
    });
    return {
      data: (chunk) => {
        if (guest === undefined) throw new Error("a paused guest was read");
        guest.data(chunk);
      },
      end: (error) => {
        isEnded = true;
        guest?.end(error);
      },
    };
  }
}

function receive(
  stream: Stream,
  source: Source,
  accept: (connection: GuestConnection) => GuestReceiver,
): GuestReceiver {
  const receiver = accept({
    source,
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    destroy: () => stream.destroy(),
  });
  return {
    data: (chunk) => receiver.data(chunk),
    end: (error) => receiver.end(error && new ConnectionError(source.name, error)),
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
