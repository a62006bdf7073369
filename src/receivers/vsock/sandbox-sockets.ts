import type { Directory } from "./directory.ts";
import { Sandbox, type SandboxContext } from "./sandbox.ts";

/** How long sandboxes are served before guests have their turn, milliseconds. */
const TURN_MS = 5;

/**
 * The sockets of all sandboxes in one directory. Sandboxes that have changed are queued and served within short turns
 * of the event loop, so that a thousand new sandboxes do not keep the guests from being read.
 */
export class SandboxSockets {
  readonly #context: SandboxContext;
  readonly #useDirectory: (operation: (directory: Directory) => void) => void;
  readonly #sandboxes = new Map<string, Sandbox>();
  /** The IDs of sandboxes that something has happened to, in order. */
  readonly #changed = new Set<string>();
  /** The IDs of sandboxes to look at once there are no changed ones. */
  readonly #recheck = new Set<string>();
  #isServing = false;
  #nextTurn: ReturnType<typeof setImmediate> | undefined;

  /**
   * @param useDirectory runs an operation with the directory that the sandboxes' directories are in, if it is there.
   */
  constructor(
    context: SandboxContext,
    useDirectory: (operation: (directory: Directory) => void) => void,
  ) {
    this.#context = context;
    this.#useDirectory = useDirectory;
  }

  /** Queues the sandboxes that have appeared since, and those that are gone. */
  reconcile(ids: ReadonlySet<string>): void {
    for (const id of ids) if (!this.#sandboxes.has(id)) this.#changed.add(id);
    for (const id of this.#sandboxes.keys()) if (!ids.has(id)) this.#changed.add(id);
  }

  /** Serves a sandbox that something has happened to. */
  change(id: string): void {
    this.#changed.add(id);
    this.serve();
  }

  /** Stops listening for a sandbox at once, because another directory of that name may come, which is not this one. */
  remove(id: string): void {
    this.#changed.delete(id);
    this.#recheck.delete(id);
    this.#sandboxes.get(id)?.close(undefined);
    this.#sandboxes.delete(id);
  }

  /** Queues sandboxes to be looked at again: all of them, or only those whose state no event reports. */
  recheck(all: boolean): void {
    for (const [id, sandbox] of this.#sandboxes) {
      if (all || sandbox.needsPolling) this.#recheck.add(id);
    }
  }

  /** Whether {@link serve} works. */
  get isServing(): boolean {
    return this.#isServing;
  }

  /** From now on {@link serve} works. */
  start(): void {
    this.#isServing = true;
  }

  stop(): void {
    this.#isServing = false;
    clearImmediate(this.#nextTurn);
    this.#nextTurn = undefined;
  }

  /** Serves the queued sandboxes for as long as a turn may last, and the others in the next turns. */
  serve(turnMs = TURN_MS): void {
    if (!this.#isServing) return;
    const deadline = performance.now() + turnMs;
    for (const ids of [this.#changed, this.#recheck]) {
      for (const id of ids) {
        if (performance.now() > deadline) return this.#serveInNextTurn();
        ids.delete(id);
        this.#update(id);
      }
    }
  }

  /** Stops listening for all sandboxes. @param directory theirs, if it is there: their sockets are removed from it. */
  close(directory: Directory | undefined): void {
    for (const sandbox of this.#sandboxes.values()) sandbox.close(directory);
    this.#sandboxes.clear();
    this.#changed.clear();
    this.#recheck.clear();
  }

  /** The same, but leaves those sockets to the next process that outlive this one. */
  handOver(directory: Directory | undefined): void {
    for (const sandbox of this.#sandboxes.values()) sandbox.handOver(directory);
    this.#sandboxes.clear();
    this.close(directory);
  }

  #serveInNextTurn(): void {
    this.#nextTurn ??= setImmediate(() => {
      this.#nextTurn = undefined;
      this.serve();
    });
  }

  #update(id: string): void {
    this.#recheck.delete(id);
    const sandbox = this.#sandboxes.get(id) ?? new Sandbox(id, this.#context, () => this.change(id));
    this.#sandboxes.set(id, sandbox);
    this.#useDirectory((directory) => {
      if (sandbox.update(directory)) {
        if (sandbox.needsPolling) this.#context.onNeedsPolling();
        return;
      }
      sandbox.close(undefined);
      this.#sandboxes.delete(id);
    });
  }
}
