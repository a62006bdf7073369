import { readdirSync } from "node:fs";
import { type QemuProcess, readQemuProcess, uptime } from "./qemu-process.ts";

/** How long processes are read before guests have their turn, milliseconds. */
const TURN_MS = 2;
/** How long a guest waits at most for its sandbox to be found, milliseconds: what it writes waits as long. */
const PATIENCE_MS = 1000;
/** How long nothing is looked for again for a CID that had no process, milliseconds. */
const ABSENT_MS = 1000;

/** What a finder needs; the defaults are the real ones. */
export interface FinderOptions {
  /** Where the proc file system is. */
  readonly proc?: string;
  readonly patienceMs?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/**
 * Finds the sandbox of an AF_VSOCK guest: the QEMU process that owns the guest's CID names both on its command line.
 *
 * Absent rather than wrong: a sandbox counts as found only if one live process of root's names it, or several that
 * agree. Each must have started before the guest connected, and is read twice. CIDs are reused, and so are numbers of
 * processes.
 *
 * All processes are read for a CID that is not known, in short turns, once for all guests that wait; one that is known
 * costs a look at its process.
 */
export class SandboxFinder {
  readonly #proc: string;
  readonly #patienceMs: number;
  readonly #now: () => number;
  readonly #onProblem: (message: string, error?: Error) => void;
  /** By CID, as the last scan found them. */
  #known = new Map<number, readonly QemuProcess[]>();
  /** CIDs without a process, and until when to believe it. */
  readonly #absent = new Map<number, number>();
  #scan: Promise<void> | undefined;
  #nextScan: Promise<void> | undefined;
  readonly #stopped = Promise.withResolvers<undefined>();
  #isStopped = false;

  constructor(
    onProblem: (message: string, error?: Error) => void,
    { proc = "/proc", patienceMs = PATIENCE_MS, now = () => performance.now() }: FinderOptions = {},
  ) {
    this.#onProblem = onProblem;
    this.#proc = proc;
    this.#patienceMs = patienceMs;
    this.#now = now;
  }

  /**
   * The sandbox of a guest that has just connected; undefined if it cannot be found for certain and in time. Never
   * rejects.
   */
  async find(cid: number): Promise<string | undefined> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), this.#patienceMs);
    });
    try {
      return await Promise.race([this.#find(cid), patience, this.#stopped.promise]);
    } catch (error) {
      this.#onProblem("processes cannot be read to find a sandbox by its CID", error as Error);
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  async #find(cid: number): Promise<string | undefined> {
    const connectedAt = uptime(this.#proc);
    const known = this.#verified(cid, connectedAt);
    if (known !== undefined || this.#isStopped || this.#isAbsent(cid)) return known;
    await this.#scanAfter();
    const sandbox = this.#verified(cid, connectedAt);
    if (sandbox === undefined) this.#absent.set(cid, this.#now() + ABSENT_MS);
    return sandbox;
  }

  /** Nobody waits any more, and nothing is looked for. */
  stop(): void {
    this.#isStopped = true;
    this.#stopped.resolve(undefined);
  }

  /** What the processes say that the last scan found and that are still the same. */
  #verified(cid: number, connectedAt: number): string | undefined {
    const found = this.#known.get(cid) ?? [];
    const sandboxes = new Set(found.map(({ sandbox }) => sandbox));
    // Two that differ: one of them does not own the CID, and nobody knows which.
    if (sandboxes.size !== 1) return undefined;
    for (const process of found) {
      if (process.start >= connectedAt) continue;
      const again = readQemuProcess(this.#proc, process.pid);
      if (
        again?.start === process.start && again.cid === cid && again.sandbox === process.sandbox
      ) return process.sandbox;
    }
    return undefined;
  }

  #isAbsent(cid: number): boolean {
    const now = this.#now();
    for (const [each, until] of this.#absent) if (until <= now) this.#absent.delete(each);
    return this.#absent.has(cid);
  }

  /** Resolves when a scan is done that had not begun yet. */
  #scanAfter(): Promise<void> {
    return this.#nextScan ??= (this.#scan ?? Promise.resolve()).then(() => {
      this.#nextScan = undefined;
      const scan = this.#scanAll();
      // Its failure is told to those who wait for it, not to those who wait for the one after it.
      this.#scan = scan.catch(() => {});
      return scan;
    });
  }

  async #scanAll(): Promise<void> {
    const found = new Map<number, QemuProcess[]>();
    let turnEnds = this.#now() + TURN_MS;
    for (const name of readdirSync(this.#proc)) {
      if (!/^[0-9]+$/.test(name)) continue;
      if (this.#isStopped) return;
      if (this.#now() >= turnEnds) {
        await new Promise((resolve) => setImmediate(resolve));
        turnEnds = this.#now() + TURN_MS;
      }
      const process = readQemuProcess(this.#proc, Number(name));
      if (process === undefined) continue;
      const same = found.get(process.cid);
      if (same === undefined) found.set(process.cid, [process]);
      else same.push(process);
    }
    this.#known = found;
  }
}
