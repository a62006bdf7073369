import type { GuestServer } from "./guest-server.ts";

/**
 * How long a server is kept after its socket's name is gone, milliseconds. An agent's last spans may arrive right
 * before its sandbox's directory goes, and accepting that connection takes a turn of the event loop.
 */
const RETIRED_MS = 1000;

/** Servers whose sockets have no name any more. They still accept the connections that were made before. */
export class RetiredServers {
  readonly #onProblem: (message: string, error: Error) => void;
  readonly #timers = new Map<GuestServer, ReturnType<typeof setTimeout>>();

  constructor(onProblem: (message: string, error: Error) => void) {
    this.#onProblem = onProblem;
  }

  add(server: GuestServer): void {
    const close = (): void =>
      void this.#close(server).catch((error: unknown) =>
        this.#onProblem("a socket could not be closed", error as Error)
      );
    this.#timers.set(server, setTimeout(close, RETIRED_MS));
  }

  /** Closes them now. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#timers.keys()].map((server) => this.#close(server)));
  }

  async #close(server: GuestServer): Promise<void> {
    clearTimeout(this.#timers.get(server));
    this.#timers.delete(server);
    await server.close();
  }
}
