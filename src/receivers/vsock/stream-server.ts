import type { ConnectionReads } from "./descriptor-keeper.ts";
import type { VsockAddress } from "./identity.ts";
import type { GuestReceiver } from "./listener.ts";

/** One accepted connection, as a runtime reads it. */
export interface Stream {
  /** See `GuestConnection`. */
  pause(): void;
  resume(): void;
  destroy(): void;
  /** See `GuestConnection`. */
  readonly isClosed?: boolean;
  /** The connection's descriptor, as long as it is open; absent under a runtime that does not tell. */
  readonly descriptor?: number | undefined;
  /**
   * Reads from now on straight to where `reads` says, which is asked each time; absent under a runtime that cannot. The
   * connection has another descriptor afterwards. Throws what the system calls do, and nothing has changed then.
   */
  readInto?(reads: () => ConnectionReads | undefined): void;
}

/** What a stream server calls. */
export interface StreamHandlers {
  /** A connection has come; `peer` is known for AF_VSOCK. */
  accept(stream: Stream, peer: VsockAddress | undefined): GuestReceiver;
  /** Something went wrong that belongs to no connection's receiver. */
  problem(message: string, error: unknown): void;
}

/** A listening socket that accepts connections, and can leave them waiting in the kernel's backlog. */
export interface StreamServer {
  /** The listening socket's descriptor at the moment; absent under a runtime that does not tell. */
  readonly descriptor?: number | undefined;
  /** Accepts no more: new connections wait in the backlog. Reading goes on. */
  pause(): void;
  /** Accepts again. False if that failed, which `problem` has reported; it may be tried again. */
  resume(): boolean;
  /** Closes the listening socket for good, and resolves once it is; connections stay. */
  close(): Promise<void>;
}

/**
 * A runtime's way of making stream servers. Both throw the runtime's or libc's error, whose `code` is the errno's name.
 */
export interface StreamServers {
  /** Binds and listens at a path, synchronously, so that a umask may be set around the call. */
  unix(path: string, handlers: StreamHandlers): StreamServer;
  /** Binds and listens at an AF_VSOCK address. */
  vsock(address: VsockAddress, handlers: StreamHandlers): Promise<StreamServer>;
  /** Goes on with descriptors that another process has opened; absent under a runtime that cannot (Deno). */
  readonly adoption?: Adoption;
}

/** Goes on with what another process has opened. The descriptors are the callee's from then on, also if it throws. */
export interface Adoption {
  /** Accepts from a listening socket. */
  listener(descriptor: number, handlers: StreamHandlers): StreamServer;
  /** Reads from a connection. `accept` is called for it before this resolves, unless this rejects. */
  connection(descriptor: number, handlers: StreamHandlers): Promise<void>;
}

let loaded: StreamServers | undefined;

/** The stream servers of the runtime that runs this; loaded once. */
export async function loadStreamServers(): Promise<StreamServers> {
  if (loaded !== undefined) return loaded;
  const { streamServers } = "Bun" in globalThis
    ? await import("./stream-server.bun.ts")
    : await import("./stream-server.deno.ts");
  return loaded = streamServers;
}

/** VMADDR_CID_ANY, vsock(7): every CID of this machine. */
export const CID_ANY = 0xffff_ffff;
