import type { Socket } from "node:net";
import type { HttpLimits } from "./limits.ts";
import type { HttpConnection } from "./messages.ts";
import type { Protocol } from "./protocol.ts";

/** How often connections are looked at, as a share of the shorter of their deadlines. */
const CHECKS_PER_DEADLINE = 4;

/** One connection and its requests. */
export class Connection implements HttpConnection {
  readonly socket: Socket;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** Undefined until its first bytes have told. */
  protocol: Protocol | undefined;
  /** Ends the connection once its open requests are answered. */
  endGently: () => void;
  /** Requests that have begun and are not answered. */
  openRequests = 0;
  hasServed = false;
  isOpen = true;
  /** When the connection was accepted, or its last request was answered; monotonic milliseconds. */
  idleSince = performance.now();
  /** When bytes of a request's headers were first seen; monotonic milliseconds. */
  headerSince: number | undefined;
  #bytesWhenIdle = 0;

  constructor(socket: Socket) {
    this.socket = socket;
    this.remoteAddress = socket.remoteAddress ?? "";
    this.remotePort = socket.remotePort ?? 0;
    this.localAddress = socket.localAddress ?? "";
    this.localPort = socket.localPort ?? 0;
    // With HTTP/1 the last answer says and does it, if there is one to come.
    this.endGently = () => {
      if (this.openRequests === 0) socket.destroy();
    };
  }

  /** A request's headers have come. */
  requestBegan(): void {
    this.openRequests++;
    this.hasServed = true;
    this.headerSince = undefined;
  }

  /** A request has been answered. */
  requestEnded(): void {
    if (--this.openRequests > 0) return;
    this.idleSince = performance.now();
    this.#bytesWhenIdle = this.socket.bytesRead;
  }

  /** Whether the connection has missed a deadline. To be called now and then. */
  isOverdue(now: number, limits: HttpLimits): boolean {
    if (this.openRequests > 0) return false;
    if (!this.hasServed) return now - this.idleSince > limits.headerMs;
    // Once HTTP/2's library has the socket, its bytes say nothing, because they may be control frames.
    if (this.protocol === "HTTP/1" && this.socket.bytesRead > this.#bytesWhenIdle) {
      this.headerSince ??= now;
      return now - this.headerSince > limits.headerMs;
    }
    return now - this.idleSince > limits.idleMs;
  }
}

/** The open connections of a server, within its limits. */
export class ConnectionTable {
  readonly #limits: HttpLimits;
  readonly #open = new Set<Connection>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(limits: HttpLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Takes in a new connection; undefined if there is no room, and the socket is destroyed then. */
  add(socket: Socket, onClose: (connection: Connection) => void): Connection | undefined {
    if (this.#open.size >= this.#limits.maxConnections && !this.#evict()) {
      socket.destroy();
      return undefined;
    }
    const connection = new Connection(socket);
    this.#open.add(connection);
    socket.once("close", () => {
      connection.isOpen = false;
      this.#forget(connection);
      onClose(connection);
    });
    this.#timer ??= this.#startTimer();
    return connection;
  }

  /** Ends each connection once its open requests are answered. */
  endGently(): void {
    for (const connection of this.#open) connection.endGently();
  }

  destroyAll(): void {
    for (const { socket } of this.#open) socket.destroy();
  }

  /** Resolves once no connection is open, or after `timeoutMs`. */
  async waitUntilEmpty(timeoutMs: number): Promise<void> {
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onEmpty = undefined;
  }

  /** Makes room for a new connection; returns false if every connection has a request. */
  #evict(): boolean {
    let victim: Connection | undefined;
    for (const connection of this.#open) {
      if (connection.openRequests > 0) continue;
      if (victim === undefined || isWorthLess(connection, victim)) victim = connection;
    }
    if (victim === undefined) return false;
    // Forgotten at once, because several may come in before it is closed.
    this.#forget(victim);
    victim.socket.destroy();
    return true;
  }

  #forget(connection: Connection): void {
    if (!this.#open.delete(connection) || this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#onEmpty?.();
  }

  #startTimer(): ReturnType<typeof setInterval> {
    const { headerMs, idleMs } = this.#limits;
    const deadline = idleMs > 0 ? Math.min(headerMs, idleMs) : headerMs;
    const timer = setInterval(() => this.#closeOverdue(), deadline / CHECKS_PER_DEADLINE);
    timer.unref();
    return timer;
  }

  #closeOverdue(): void {
    const now = performance.now();
    for (const connection of this.#open) {
      if (!connection.isOverdue(now, this.#limits)) continue;
      // A client of HTTP/2 that was only idle is told, so that it sends its next request over another connection.
      if (connection.hasServed && connection.protocol === "HTTP/2") connection.endGently();
      else connection.socket.destroy();
    }
  }
}

/** Connections that have never sent a request go first, then those that have been idle for longest. */
function isWorthLess(connection: Connection, other: Connection): boolean {
  if (connection.hasServed !== other.hasServed) return !connection.hasServed;
  return connection.idleSince < other.idleSince;
}
