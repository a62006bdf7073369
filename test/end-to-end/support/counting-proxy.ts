/** A TCP proxy that counts what goes through it. */

import { connect, createServer, type Socket } from "node:net";
import { onFreePorts } from "../../collector/daemon.ts";

/** A proxy on 127.0.0.1. */
export interface CountingProxy {
  readonly port: number;
  /** Bytes from clients to the server until now. */
  sentBytes(): number;
  stop(): Promise<void>;
}

/** Starts a proxy to a port of 127.0.0.1. */
export function startCountingProxy(target: number): Promise<CountingProxy> {
  let sent = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target, "127.0.0.1");
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (chunk) => {
      sent += chunk.length;
    });
    client.pipe(upstream);
    upstream.pipe(client);
  });
  return onFreePorts(1, async ([port = 0]) => {
    await new Promise<void>((resolve, reject) => {
      server.once(
        "error",
        (error) => reject(new Error("address already in use", { cause: error })),
      );
      server.listen(port, "127.0.0.1", () => resolve());
    });
    return {
      port,
      sentBytes: () => sent,
      stop: () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          for (const socket of sockets) socket.destroy();
        }),
    };
  });
}
