import { readFileSync } from "node:fs";
import type { StreamServer } from "./stream-server.ts";

/**
 * Descriptors that guests may not use up: standard streams, event loop, log, the spool's files (at most 32) and the
 * exporter's connections. Of a small limit it is half at most.
 */
const RESERVED_DESCRIPTORS = 96;
/** A guest can provoke a pause at will: it is reported once in this time, milliseconds. */
const REPORT_INTERVAL_MS = 60_000;

/**
 * The file descriptors that guests may use, shared by all listeners.
 *
 * When they are used up, accepting pauses everywhere until a guest leaves. New guests wait in the kernel's backlog, and
 * the exporter can still open connections. Running into the limit itself is not a way to pause: with EMFILE Bun spins
 * on the connection that it cannot accept.
 */
export class DescriptorBudget {
  /** How many there are for connections and listening sockets together. */
  readonly limit: number;
  readonly #onProblem: (message: string) => void;
  readonly #now: () => number;
  readonly #servers = new Set<StreamServer>();
  #connections = 0;
  #paused = false;
  #reportedAt = -Infinity;

  /** `openFiles` is the process's limit of open files, `now` a clock in milliseconds. */
  constructor(
    openFiles: number,
    onProblem: (message: string) => void,
    now: () => number = () => performance.now(),
  ) {
    this.limit = openFiles - Math.min(RESERVED_DESCRIPTORS, Math.ceil(openFiles / 2));
    this.#onProblem = onProblem;
    this.#now = now;
  }

  /** How many are used. */
  get used(): number {
    return this.#connections + this.#servers.size;
  }

  /** A server listens. */
  attach(server: StreamServer): void {
    this.#servers.add(server);
    if (this.#paused) server.pause();
    else this.#pauseIfUsedUp();
  }

  /** A server has closed. */
  detach(server: StreamServer): void {
    if (this.#servers.delete(server)) this.#resumeIfRoom();
  }

  /** A connection was accepted. */
  take(): void {
    this.#connections++;
    this.#pauseIfUsedUp();
  }

  /** A connection has closed. */
  release(): void {
    this.#connections--;
    this.#resumeIfRoom();
  }

  #pauseIfUsedUp(): void {
    if (this.#paused || this.used < this.limit) return;
    this.#paused = true;
    for (const server of this.#servers) server.pause();
    const now = this.#now();
    if (now - this.#reportedAt < REPORT_INTERVAL_MS) return;
    this.#reportedAt = now;
    this.#onProblem(
      `guests have used up the ${this.limit} file descriptors there are for them: new ones wait until others leave ` +
        "(raise the limit of open files, LimitNOFILE= or ulimit -n)",
    );
  }

  #resumeIfRoom(): void {
    if (!this.#paused || this.used >= this.limit) return;
    this.#paused = false;
    for (const server of this.#servers) {
      // Tried again when the next connection closes.
      if (!server.resume()) this.#paused = true;
    }
  }
}

/** How many files this process may have open (the soft RLIMIT_NOFILE), as proc_pid_limits(5) tells. */
export function openFileLimit(limits: string = readFileSync("/proc/self/limits", "utf8")): number {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  if (soft === undefined) throw new Error("no limit of open files in /proc/self/limits");
  return soft === "unlimited" ? Infinity : Number(soft);
}
