import { forgetOldest } from "../../base/forget-oldest.ts";
import { closeSync, openSync, readSync } from "node:fs";
import { errnoName } from "../../../ffi/errors.ts";
import { isAlive, openSockets, processIds, readShim, type ShimProcess } from "./shim-process.ts";
import { inodeOf, isLoopback, type LocalConnection } from "./socket-table.ts";

/** Finds out which sandbox's shim is at the other end of a connection. Never rejects. */
export type FindPeer = (connection: LocalConnection) => Promise<string | undefined>;

/** How long one turn of the event loop may go to looking, milliseconds: others wait for their answers meanwhile. */
const TURN_MS = 0.5;
/** How long a search may take in all, milliseconds: a shim's first spans wait for it. */
const SEARCH_MS = 500;
/** Connections that may wait to be looked up. */
const MAX_WAITING = 256;
/** Shims that are remembered. */
const MAX_SHIMS = 4096;
/** A socket table is read in pieces of this size, bytes, and this many of them. */
const PIECE_BYTES = 16 * 1024;
const MAX_PIECES = 1024;

const TABLES = ["net/tcp", "net/tcp6"] as const;

interface Search {
  readonly connection: LocalConnection;
  readonly deadline: number;
  readonly found: (sandbox: string | undefined) => void;
}

/**
 * Looks up shims by their loopback connections: the socket in /proc/net/tcp, the process that has it open in
 * /proc/PID/fd, and `-id` on its command line.
 *
 * A node may have thousands of processes, so the work is done in small pieces between other work, one search after the
 * other, and shims that were found are remembered.
 */
export class PeerFinder {
  readonly #proc: string;
  readonly #onForbidden: () => void;
  readonly #waiting: Search[] = [];
  readonly #shims = new Map<number, ShimProcess>();
  #isSearching = false;
  #turnEnd = 0;

  /**
   * @param onForbidden is told when a process that may be the one cannot be looked into.
   * @param proc where a proc file system is mounted.
   */
  constructor(onForbidden: () => void, proc = "/proc") {
    this.#onForbidden = onForbidden;
    this.#proc = proc;
  }

  /** See {@link FindPeer}. Undefined also if it takes too long, or too many searches wait. */
  find(connection: LocalConnection): Promise<string | undefined> {
    if (!isLoopback(connection.address) || this.#waiting.length >= MAX_WAITING) return Promise.resolve(undefined);
    return new Promise((found) => {
      this.#waiting.push({ connection, deadline: performance.now() + SEARCH_MS, found });
      if (!this.#isSearching) void this.#searchAll();
    });
  }

  /**
   * The sandboxes whose shims run, as far as this user may see processes. For that nothing but command lines is read.
   * Never rejects.
   */
  async runningSandboxes(): Promise<ReadonlySet<string>> {
    const sandboxes = new Set<string>();
    try {
      for (const pid of processIds(this.#proc)) {
        await this.#pause();
        const shim = readShim(this.#proc, pid);
        if (shim !== undefined) sandboxes.add(shim.sandbox);
      }
    } catch {
      // There is no such file system, or it is not as expected. Then nobody's runtime is known to run.
    }
    return sandboxes;
  }

  async #searchAll(): Promise<void> {
    this.#isSearching = true;
    // The connection's first request is answered first.
    await nextTurn();
    for (let search; (search = this.#waiting.shift()) !== undefined;) {
      let sandbox: string | undefined;
      try {
        sandbox = await this.#search(search);
      } catch {
        // There is no such file system, or it is not as expected. Then nobody's sandbox is known so.
      }
      search.found(sandbox);
    }
    this.#isSearching = false;
  }

  async #search(search: Search): Promise<string | undefined> {
    const inode = await this.#inode(search);
    if (inode === undefined) return undefined;
    for (const shim of [...this.#shims.values()].reverse()) {
      await this.#pause();
      if (!isAlive(this.#proc, shim)) this.#shims.delete(shim.pid);
      else if (openSockets(this.#proc, shim.pid)?.has(inode)) return shim.sandbox;
    }
    for (const pid of processIds(this.#proc)) {
      await this.#pause();
      if (performance.now() > search.deadline) return undefined;
      if (this.#shims.has(pid)) continue;
      const shim = readShim(this.#proc, pid);
      if (shim === undefined) continue;
      const sockets = openSockets(this.#proc, pid);
      if (sockets === undefined) {
        this.#onForbidden();
        continue;
      }
      if (!sockets.has(inode)) continue;
      this.#remember(shim);
      return shim.sandbox;
    }
    return undefined;
  }

  #remember(shim: ShimProcess): void {
    this.#shims.set(shim.pid, shim);
    forgetOldest(this.#shims, MAX_SHIMS);
  }

  async #inode({ connection, deadline }: Search): Promise<number | undefined> {
    for (const table of TABLES) {
      const lines = this.#lines(`${this.#proc}/${table}`);
      for await (const line of lines) {
        const inode = inodeOf(line, connection);
        if (inode !== undefined) return inode;
        if (performance.now() > deadline) return undefined;
      }
    }
    return undefined;
  }

  async *#lines(path: string): AsyncGenerator<string> {
    let file: number;
    try {
      file = openSync(path, "r");
    } catch (error) {
      // Without IPv6 there is no table of its connections.
      if (errnoName(error) === "ENOENT") return;
      throw error;
    }
    try {
      const piece = new Uint8Array(PIECE_BYTES);
      let rest = "";
      for (let pieces = 0; pieces < MAX_PIECES; pieces++) {
        await this.#pause();
        const bytes = readSync(file, piece);
        if (bytes === 0) return;
        const lines = (rest + LATIN1.decode(piece.subarray(0, bytes))).split("\n");
        rest = lines.pop() ?? "";
        yield* lines;
      }
    } finally {
      closeSync(file);
    }
  }

  /** Lets others go on if this turn has taken long enough. */
  async #pause(): Promise<void> {
    if (performance.now() < this.#turnEnd) return;
    await nextTurn();
    this.#turnEnd = performance.now() + TURN_MS;
  }
}

const LATIN1 = new TextDecoder("latin1");

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
