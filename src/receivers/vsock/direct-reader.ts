import process from "node:process";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import { AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET } from "../../../ffi/sockets.ts";
import type { ConnectionReads } from "./descriptor-keeper.ts";
import { O_CLOEXEC } from "./open-flags.ts";

/** epoll_ctl(2) */
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
/** `struct epoll_event` is packed on x86-64 alone. */
const EVENT_BYTES = process.arch === "x64" ? 12 : 16;
const EVENT_DATA_OFFSET = EVENT_BYTES - 8;
/** How many connections are read before the event loop goes on with everything else. */
const MOST_EVENTS = 256;
/** The most that is read at once from a connection that is not kept, bytes. */
const SCRATCH_BYTES = 256 * 1024;
/** The bell is filled again when it has this many messages left. Some 278 fit into a socket's usual buffer. */
const LEAST_RINGS = 64;

/** A connection that is read directly. */
export interface DirectConnection {
  /** Where what is read is kept; asked at each read. */
  readonly reads: ConnectionReads | undefined;
  data(chunk: Uint8Array): void;
  /** Called once; nothing comes afterwards. */
  end(error: Error | undefined): void;
}

/**
 * Has the runtime read from a descriptor, which is the runtime's from then on, and call `ring` each time that something
 * came, and `ended` when it reads no more.
 */
export type Watch = (descriptor: number, watcher: { open(): void; ring(): void; ended(error?: Error): void }) => void;

/**
 * Reads connections without the runtime, straight into memory that outlives the process. A runtime reads into memory of
 * its own, which a killed process loses before a program has even seen it.
 *
 * The runtime has no way to wait for a descriptor without reading from it. So it is given an epoll instance, which is
 * ready when one of the connections is, under a number that then becomes another file's: a socket in which messages of
 * one byte wait, the bell. Whenever a connection is ready, the runtime reads one of those, and calls.
 */
export class DirectReader {
  readonly #libc: Libc;
  readonly #watch: Watch;
  readonly #problem: (message: string, error: Error | undefined) => void;
  readonly #epoll: number;
  /** The two ends of the bell. */
  readonly #bell: readonly [number, number];
  #rings = 0;
  readonly #events = new Uint8Array(MOST_EVENTS * EVENT_BYTES);
  readonly #view = new DataView(this.#events.buffer);
  readonly #connections = new Map<number, DirectConnection>();
  #scratch: Uint8Array | undefined;

  /** Throws what the system calls do. */
  constructor(libc: Libc, watch: Watch, problem: (message: string, error: Error | undefined) => void) {
    this.#libc = libc;
    this.#watch = watch;
    this.#problem = problem;
    this.#epoll = libc.epollCreate(O_CLOEXEC);
    this.#bell = libc.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    this.#fill();
    this.#hang();
  }

  /** Reads a descriptor whenever there is something. */
  add(descriptor: number, connection: DirectConnection): void {
    const event = new Uint8Array(EVENT_BYTES);
    const view = new DataView(event.buffer);
    view.setUint32(0, EPOLLIN, true);
    view.setInt32(EVENT_DATA_OFFSET, descriptor, true);
    this.#libc.epollControl(this.#epoll, EPOLL_CTL_ADD, descriptor, event);
    this.#connections.set(descriptor, connection);
  }

  /** Reads it no more. To be called before it is closed. */
  remove(descriptor: number): void {
    if (!this.#connections.delete(descriptor)) return;
    this.#libc.epollControl(this.#epoll, EPOLL_CTL_DEL, descriptor, null);
  }

  /** Gives the bell to the runtime. */
  #hang(): void {
    const descriptor = this.#libc.duplicate(this.#epoll);
    this.#watch(descriptor, {
      open: () => this.#libc.replace(descriptor, this.#bell[1]),
      ring: () => this.#readReady(),
      ended: (error) => {
        this.#problem("waiting for guests' data has failed: it begins anew", error);
        this.#hang();
      },
    });
  }

  #fill(): void {
    const message = new Uint8Array(1);
    try {
      for (;; this.#rings++) this.#libc.send(this.#bell[0], message, MSG_DONTWAIT);
    } catch (error) {
      if (errnoName(error) !== "EAGAIN") throw error;
    }
  }

  #readReady(): void {
    if (--this.#rings < LEAST_RINGS) this.#fill();
    const ready = this.#libc.epollPoll(this.#epoll, this.#events, MOST_EVENTS);
    for (let index = 0; index < ready; index++) {
      const descriptor = this.#view.getInt32(index * EVENT_BYTES + EVENT_DATA_OFFSET, true);
      // It may have been removed for what was read of another one.
      const connection = this.#connections.get(descriptor);
      if (connection !== undefined) this.#read(descriptor, connection);
    }
  }

  #read(descriptor: number, connection: DirectConnection): void {
    let chunk: Uint8Array;
    try {
      chunk = connection.reads?.receive(descriptor) ?? this.#receive(descriptor);
      if (chunk.length > 0) {
        connection.data(chunk);
        return;
      }
    } catch (error) {
      if (errnoName(error) === "EAGAIN" || errnoName(error) === "EINTR") return;
      this.#end(descriptor, connection, error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#end(descriptor, connection, undefined);
  }

  #receive(descriptor: number): Uint8Array {
    const scratch = this.#scratch ??= new Uint8Array(SCRATCH_BYTES);
    return scratch.subarray(0, this.#libc.recv(descriptor, scratch, MSG_DONTWAIT));
  }

  #end(descriptor: number, connection: DirectConnection, error: Error | undefined): void {
    this.remove(descriptor);
    connection.end(error);
  }
}
