import { randomInt } from "node:crypto";
import { type AddressInfo, createServer, type Server } from "node:net";

/** Listens on a port of 127.0.0.1, or on a free one for 0. Returns the port. */
export function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

/**
 * Ports of 127.0.0.1 that nothing listens on. They are below the range that the system gives to outgoing connections:
 * a port from that range could be taken by a client while a server restarts, or a client could reach itself on it.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  const held = new Map<number, Server>();
  while (held.size < count) {
    const port = randomInt(20_000, 32_000);
    const server = createServer();
    try {
      held.set(await listen(server, port), server);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    }
  }
  for (const server of held.values()) await new Promise((resolve) => server.close(resolve));
  return [...held.keys()];
}

/** One such port. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port as number;
}
