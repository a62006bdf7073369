import { performance } from "node:perf_hooks";
import type { KnownSandboxes } from "../accounts/known-sandboxes.ts";

/** How often at most, milliseconds: a scan reads a file of each process. */
const INTERVAL_MS = 1_000;

/**
 * Finds out which sandboxes' shims run, when spans have come whose service could be one of them. A shim's command line
 * can be read by every user.
 */
export class ShimScans {
  readonly #sandboxes: KnownSandboxes;
  readonly #running: () => Promise<ReadonlySet<string>>;
  #lastScan = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param sandboxes are told what was found.
   * @param running finds the sandboxes whose shims run. Never rejects.
   */
  constructor(sandboxes: KnownSandboxes, running: () => Promise<ReadonlySet<string>>) {
    this.#sandboxes = sandboxes;
    this.#running = running;
  }

  /** Scans soon. */
  request(): void {
    const delay = Math.max(0, this.#lastScan + INTERVAL_MS - performance.now());
    this.#timer ??= setTimeout(() => void this.#scan(), delay);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  async #scan(): Promise<void> {
    // A shim that starts from now on may be missed, so that it has to be asked for again.
    this.#timer = undefined;
    this.#lastScan = performance.now();
    this.#sandboxes.noteRunning(await this.#running());
  }
}
