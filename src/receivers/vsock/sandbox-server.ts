import type { Libc } from "../../../ffi/libc.ts";
import { Admission } from "./admission.ts";
import { unixListenerName } from "./descriptor-names.ts";
import { GuestServer, type ListenerOptions } from "./guest-server.ts";
import { sandboxSource } from "./identity.ts";
import type { GuestConnection, GuestReceiver } from "./listener.ts";
import type { RetiredServers } from "./retired-servers.ts";
import type { SocketAccess, SocketFile, SocketOpener } from "./socket-file.ts";
import type { StreamServers } from "./stream-server.ts";

/** What can be closed. */
export interface Closable {
  close(): Promise<void>;
}

/** Makes a listening socket at the sandbox's place. Throws a `ListenError`. */
export type OpenSocket = <Server extends Closable>(
  opener: SocketOpener<Server>,
) => { server: Server; file: SocketFile };

/** What accepts the connections to one sandbox's socket. */
export interface SandboxServer {
  /** Has the socket made, and accepts connections from then on. Returns the socket's file. Throws what `open` does. */
  listen(open: OpenSocket): SocketFile;
  /** The socket has no name any more. Connections that were made before are still to be accepted. */
  retire(): void;
  /** Leaves the socket to the next process; false if it does not outlive this one. */
  handOver(): boolean;
}

/** A sandbox that appears. */
export interface NewSandbox {
  readonly id: string;
  /** The socket's path, for people. */
  readonly address: string;
  readonly access: SocketAccess;
  /** The owner of the directory that the socket is in. */
  readonly owner: number;
}

/** Makes the servers of sandboxes. */
export type ServeSandbox = (sandbox: NewSandbox) => SandboxServer;

/** Accepts connections in this process. */
export function serveHere(
  libc: Libc,
  servers: StreamServers,
  options: ListenerOptions,
  accept: (connection: GuestConnection) => GuestReceiver,
  retired: RetiredServers,
): ServeSandbox {
  return ({ id, address, access, owner }) => {
    const source = sandboxSource(id, address);
    const admission = new Admission(access, owner);
    const guests = new GuestServer(options, () => source, (fd) => admission.refusal(libc, fd));
    return {
      listen: (open) => {
        const { server, file } = open(guests.opener(servers, accept));
        guests.start(server, unixListenerName(file.status));
        return file;
      },
      retire: () => retired.add(guests),
      handOver: () => {
        if (!guests.handOver()) return false;
        retired.add(guests);
        return true;
      },
    };
  };
}
