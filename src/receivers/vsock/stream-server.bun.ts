import { loadLibc } from "../../../ffi/libc.ts";
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from "../../../ffi/sockets.ts";
import { freeBytes } from "../../base/free-bytes.ts";
import type { ConnectionReads } from "./descriptor-keeper.ts";
import { DirectReader, type Watch } from "./direct-reader.ts";
import type { ReleaseChunk } from "../../decode/frame-reader.ts";
import type { GuestReceiver } from "./listener.ts";
import type { VsockAddress } from "./identity.ts";
import type { Stream, StreamHandlers, StreamServer, StreamServers } from "./stream-server.ts";
import { AF_VSOCK, readVsockSockaddr, vsockSockaddr } from "./sockaddr.ts";

const libc = await loadLibc();
/** poll(2): the other end writes no more, or both ends do not. */
const POLLRDHUP = 0x2000;
const POLLHUP = 0x10;

/** How many connections may wait to be accepted: what the kernel allows at most by default (net.core.somaxconn). */
const BACKLOG = 4096;
/**
 * How many connections a server accepts in one turn of the event loop. Bun accepts as long as there is another one, so
 * a guest that connects and leaves as fast as it can would never let a turn end.
 */
const MOST_ACCEPTED = 64;
/** After a failure to accept again, milliseconds. */
const RETRY_MS = 100;

/** A socket of Bun, with its descriptor, which Bun's types leave out. */
type BunSocket = Bun.Socket<BunStream> & { readonly fd: number };
type BunListener = Bun.SocketListener<BunStream> & { readonly fd: number };
/** Bun takes a bound descriptor too (`node:net` needs it for `listen({ fd })`), which its types leave out. */
type BunListen = (
  options: ({ unix: string } | { fd: number }) & { socket: Bun.SocketHandler<BunStream> },
) => BunListener;
const bunListen = Bun.listen as unknown as BunListen;
/** Likewise a connected one. */
type BunConnect = (options: { fd: number; socket: Bun.SocketHandler<BunStream> }) => Promise<BunSocket>;
const bunConnect = Bun.connect as unknown as BunConnect;

/**
 * A connection. `Bun.listen` and not `node:net`: a paused socket then leaves everything in the kernel, where
 * `node:net` reads up to another 512 KiB a guest into memory.
 */
class BunStream implements Stream {
  readonly #socket: BunSocket;
  readonly #handlers: StreamHandlers;
  receiver: GuestReceiver | undefined;
  error: Error | undefined;
  #ended = false;
  #isPaused = false;
  /** The connection's descriptor, once Bun has it no more. */
  #own: number | undefined;
  #reads: () => ConnectionReads | undefined = () => undefined;

  constructor(socket: BunSocket, handlers: StreamHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
  }

  get descriptor(): number {
    return this.#own ?? this.#socket.fd;
  }

  get isClosed(): boolean {
    return this.#ended || (libc.poll(this.descriptor, POLLRDHUP) & (POLLRDHUP | POLLHUP)) !== 0;
  }

  get reads(): ConnectionReads | undefined {
    return this.#reads();
  }

  readInto(reads: () => ConnectionReads | undefined): void {
    const own = libc.duplicate(this.#socket.fd);
    try {
      const reader = directReader(this.#handlers);
      if (!this.#isPaused) reader.add(own, this);
    } catch (error) {
      libc.close(own);
      throw error;
    }
    this.#reads = reads;
    this.#own = own;
    // Bun closes its descriptor, and the connection stays.
    this.#socket.terminate();
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    if (this.#own === undefined) this.#socket.pause();
    else directReader(this.#handlers).remove(this.#own);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#own === undefined) this.#socket.resume();
    else if (!this.#ended) directReader(this.#handlers).add(this.#own, this);
  }

  destroy(): void {
    // Bun calls `close` within `terminate`, and `data` no more.
    if (this.#own === undefined) this.#socket.terminate();
    else this.end(undefined);
  }

  /** Bun's socket has closed. */
  closed(error: Error | undefined): void {
    if (this.#own === undefined) this.end(error);
  }

  /** @param release absent where the chunk is the receiver's only until this returns. */
  data(chunk: Uint8Array, release?: ReleaseChunk): void {
    this.receiver?.data(chunk, release);
  }

  end(error: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#own !== undefined) {
      directReader(this.#handlers).remove(this.#own);
      libc.close(this.#own);
    }
    // Later: `destroy` may have been called from within `accept` or `data`, which `end` must not overtake.
    queueMicrotask(() => this.receiver?.end(this.error ?? error));
  }
}

let reader: DirectReader | undefined;

/** One for all connections. Throws what the system calls do. */
function directReader(handlers: StreamHandlers): DirectReader {
  return reader ??= new DirectReader(libc, watch, handlers.problem);
}

const watch: Watch = (fd, { open, ring, ended }) => {
  const socket = { open, data: ring, close: (_socket: unknown, error?: Error) => ended(error) };
  bunConnect({ fd, socket }).catch(ended);
};

/** The address of the peer that has connected, if the kernel reports one. */
type PeerOf = (socket: BunSocket) => VsockAddress | undefined;

/** What Bun calls for connections. */
function socketEvents(handlers: StreamHandlers, peerOf: PeerOf): Bun.SocketHandler<BunStream> {
  return {
    open: (opened) => {
      const socket = opened as BunSocket;
      const peer = peerOf(socket);
      const stream = new BunStream(socket, handlers);
      socket.data = stream;
      stream.receiver = handlers.accept(stream, peer);
    },
    // Bun makes an array for each read, of up to 512 KiB.
    data: (socket, chunk) => socket.data.data(chunk, freeBytes),
    close: (socket, error) => (socket.data as BunStream | undefined)?.closed(error),
    // Bun brings exceptions of the handlers here: one guest's failure ends that guest alone.
    error: (socket, error) => {
      const stream = socket.data as BunStream | undefined;
      if (stream?.receiver === undefined) handlers.problem("a connection could not be accepted", error);
      else stream.error ??= error;
      socket.terminate();
    },
  };
}

/** A listening socket that Bun accepts from. */
class BunStreamServer implements StreamServer {
  readonly #handlers: StreamHandlers;
  readonly #events: Bun.SocketHandler<BunStream>;
  /** Absent while paused. */
  #listener: BunListener | undefined;
  /**
   * A descriptor of our own for the listening socket while paused: Bun cannot pause accepting, so that a pause closes
   * the listener and a resume makes another of the same socket. At any time there is one descriptor: a guest that makes
   * a server pause must not thereby use up what the descriptor budget has not counted.
   */
  #held: number | undefined;
  #isPaused = false;
  /** Paused for the rest of this turn of the event loop, because enough have been accepted in it. */
  #isResting = false;
  #accepted = 0;

  /** @param from where to listen; a bound descriptor is the server's from now on, also if this throws. */
  constructor(
    handlers: StreamHandlers,
    peerOf: PeerOf,
    from: { unix: string } | { bound: number },
  ) {
    this.#handlers = handlers;
    const events = socketEvents(handlers, peerOf);
    this.#events = {
      ...events,
      open: (socket) => {
        this.#countAccepted();
        return events.open?.(socket);
      },
    };
    if ("unix" in from) this.#listener = bunListen({ unix: from.unix, socket: this.#events });
    else this.#held = from.bound;
    try {
      this.#listener ??= this.#listenAgain();
      this.#widen(this.#listener);
    } catch (error) {
      this.#listener?.stop(true);
      this.#closeHeld();
      throw error;
    }
  }

  /** Gives the held descriptor to a listener of Bun's; on failure it is held as before. */
  #listenAgain(): BunListener {
    const listener = bunListen({ fd: this.#held as number, socket: this.#events });
    this.#held = undefined;
    return listener;
  }

  /** Bun lets 512 wait, even at a socket that let more. At a UNIX socket without room, connect(2) fails (EAGAIN). */
  #widen(listener: BunListener): void {
    libc.listen(listener.fd, BACKLOG);
  }

  #closeHeld(): void {
    if (this.#held !== undefined) libc.close(this.#held);
    this.#held = undefined;
  }

  get descriptor(): number | undefined {
    return this.#listener?.fd ?? this.#held;
  }

  pause(): void {
    this.#isPaused = true;
    this.#stop();
  }

  resume(): boolean {
    this.#isPaused = false;
    return this.#isResting || this.#start();
  }

  #countAccepted(): void {
    if (this.#accepted++ === 0) setImmediate(() => this.#endTurn());
    if (this.#accepted < MOST_ACCEPTED || this.#isResting) return;
    this.#isResting = true;
    this.#stop();
  }

  #endTurn(): void {
    this.#accepted = 0;
    if (!this.#isResting) return;
    this.#isResting = false;
    if (this.#isPaused || this.#start()) return;
    this.#isResting = true;
    setTimeout(() => this.#endTurn(), RETRY_MS);
  }

  /** Leaves new connections in the backlog. */
  #stop(): void {
    if (this.#listener === undefined) return;
    try {
      this.#held = libc.duplicate(this.#listener.fd);
    } catch (error) {
      this.#handlers.problem("accepting could not be paused", error);
      return;
    }
    this.#listener.stop(false);
    this.#listener = undefined;
  }

  /** Accepts again; false if that failed. */
  #start(): boolean {
    if (this.#listener !== undefined || this.#held === undefined) return true;
    try {
      this.#listener = this.#listenAgain();
    } catch (error) {
      this.#handlers.problem("accepting could not be resumed", error);
      return false;
    }
    try {
      this.#widen(this.#listener);
    } catch (error) {
      this.#handlers.problem("fewer connections than wished may wait to be accepted", error);
    }
    return true;
  }

  close(): Promise<void> {
    this.#listener?.stop(false);
    this.#listener = undefined;
    this.#closeHeld();
    return Promise.resolve();
  }
}

const noPeer: PeerOf = () => undefined;
const vsockPeer: PeerOf = (socket) => readVsockSockaddr(libc.getpeername(socket.fd));

/** Bun's side of {@link StreamServers}. */
export const streamServers: StreamServers = {
  unix: (path, handlers) => new BunStreamServer(handlers, noPeer, { unix: path }),
  async vsock(address, handlers) {
    const bound = libc.socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    try {
      libc.bind(bound, vsockSockaddr(address));
      libc.listen(bound, BACKLOG);
    } catch (error) {
      libc.close(bound);
      throw error;
    }
    return new BunStreamServer(handlers, vsockPeer, { bound });
  },
  adoption: {
    listener: (bound, handlers) => new BunStreamServer(handlers, peerOfSocket(bound), { bound }),
    async connection(fd, handlers) {
      const events = socketEvents(handlers, peerOfSocket(fd));
      let isOpen = false;
      const open: typeof events.open = (socket) => {
        isOpen = true;
        return events.open?.(socket);
      };
      try {
        await bunConnect({ fd, socket: { ...events, open } });
      } catch (error) {
        if (!isOpen) libc.close(fd);
        throw error;
      }
    },
  },
};

/**
 * How the peers of a socket that another process has opened are known. Closes a descriptor that is not a socket, and
 * throws.
 */
function peerOfSocket(fd: number): PeerOf {
  try {
    const family = new DataView(libc.getsockname(fd).slice().buffer).getUint16(0, true);
    return family === AF_VSOCK ? vsockPeer : noPeer;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}
