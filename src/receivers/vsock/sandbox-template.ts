import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import type { Directory } from "./directory.ts";
import type { Watch } from "./directory-watcher.ts";
import type { DirectoryWatches } from "./directory-watches.ts";
import { ListenError } from "./listener.ts";
import { SandboxDirectory } from "./sandbox-directory.ts";
import type { ServeSandbox } from "./sandbox-server.ts";
import { SandboxSockets } from "./sandbox-sockets.ts";
import { groupNumber } from "./socket-file.ts";

/** Where to listen: at `<directory>/<sandbox>/<between…>/<name>_<port>` for each sandbox there is. */
export interface TemplateSettings {
  /** What holds a directory for each sandbox, absolute. It need not exist yet. */
  readonly directory: string;
  /** See `SocketTemplate`: where each user has a `SandboxTemplate`, the user's number is already in `directory`. */
  readonly perUser?: true;
  /** The directories between a sandbox's and its socket. */
  readonly between: readonly string[];
  /** The name of the VMM's own socket. */
  readonly name: string;
  readonly port: number;
  /** Permission bits of the sockets. */
  readonly mode: number;
  /** The sockets' group, by name or number; absent: the process's. */
  readonly group?: string;
  /** Names in the directory that are not sandbox IDs. */
  readonly except?: readonly string[];
  /** A sandboxes' directory that cannot be watched is reported instead of failing the start. */
  readonly optional?: true;
}

/**
 * How often to look for what the kernel has no events for, milliseconds: a mount above the directory, a directory
 * further up that is renamed, a socket that somebody has removed.
 */
const RESCAN_MS = 10_000;
/** The same while something has to be looked at because it cannot be watched, or has a problem, milliseconds. */
const UNWATCHED_RESCAN_MS = 1000;
/** The same if no directory can be watched, milliseconds: an agent connects some 50 ms after its sandbox appears. */
const POLL_MS = 100;
/** Every so many of these more frequent looks, every sandbox is looked at. */
const RESCANS_FOR_ALL = 10;

/** What a template needs of the process that makes its sockets. */
export interface TemplateHost {
  readonly libc: Libc;
  readonly watches: DirectoryWatches;
  readonly serve: ServeSandbox;
  /** The only user besides root who may own a directory that is listened in. */
  readonly user: number;
  /** The user that `act` makes files as. Default: this process's. */
  readonly fileOwner?: number;
  /** Runs an operation on directories with the rights that it needs. */
  readonly act: <Result>(operation: () => Result) => Result;
  readonly onProblem: (message: string, error: Error) => void;
  readonly onNotice: (message: string, fields: Readonly<Record<string, string>>) => void;
  /** How often to look for what the kernel has no events for, milliseconds. Default: {@link RESCAN_MS}. */
  readonly rescanMs?: number | undefined;
}

/** What can go wrong with the sandboxes' directory as a whole. */
type ProblemKind = "locate" | "use" | "watch";

/** What exists from `open` until `close`. */
interface Running {
  readonly directory: SandboxDirectory;
  readonly sockets: SandboxSockets;
}

/**
 * The sockets of all sandboxes of one kind of hypervisor over hybrid vsock. It watches the directory that the
 * sandboxes' directories are made in, and makes a socket in each of them as soon as it is there.
 *
 * {@link SandboxDirectory} finds the directory and scans it for sandboxes, {@link SandboxSockets} makes the sockets in
 * them. What the kernel has no events for is looked for now and then, and more often while something cannot be watched.
 * A problem with one sandbox is reported and costs only that sandbox.
 */
export class SandboxTemplate {
  readonly address: string;
  readonly #settings: TemplateSettings;
  readonly #host: TemplateHost;
  readonly #rescanMs: number;
  readonly #reported = new Map<ProblemKind, string>();
  #running: Running | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How long the timer was set for, milliseconds. */
  #waitMs = Infinity;
  #rescans = 0;

  constructor(settings: TemplateSettings, host: TemplateHost) {
    this.#settings = settings;
    this.#host = host;
    this.#rescanMs = host.rescanMs ?? RESCAN_MS;
    this.address = templateAddress(settings);
  }

  /**
   * Makes sure that sockets can be made. They are made from {@link begin} on. Throws a {@link ListenError} if there is
   * no such group; returns what prevents the directory from being watched.
   */
  open(): ListenError | undefined {
    const { libc, watches, serve, user, fileOwner, act, onProblem, onNotice } = this.#host;
    const { between, name, port, mode, group } = this.#settings;
    const gid = group === undefined ? undefined : groupNumber(libc, group);
    if (group !== undefined && gid === undefined) {
      throw this.#error(`there is no group "${group}": check --socket-group`);
    }
    const sockets = new SandboxSockets(
      {
        libc,
        serve,
        user,
        between,
        group,
        onProblem,
        onNotice,
        socket: `${name}_${port}`,
        temporary: `${name}~${port}`,
        access: { mode, gid, ...(fileOwner !== undefined && { uid: fileOwner }) },
        watch: (found, onChange) => this.#watch(found, onChange),
        onNeedsPolling: () => this.#rescanLater(true),
      },
      (operation) => this.#tryToUse((directory) => directory.use(operation)),
    );
    const directory = new SandboxDirectory(
      { path: this.#settings.directory, except: this.#settings.except ?? [], user, libc, watches, act },
      {
        scanned: (ids) => sockets.reconcile(ids),
        changed: (id) => sockets.change(id),
        removed: (id) => sockets.remove(id),
        gone: () => sockets.close(undefined),
        moved: () => this.#locateAndServe(),
        eventsLost: () => this.#rescan(true),
      },
    );
    this.#running = { directory, sockets };
    return this.#locate(directory);
  }

  /** Makes sockets for the sandboxes that there are, and from now on for each one that appears. */
  begin(): void {
    this.#running?.sockets.start();
    this.#locateAndServe(Infinity);
    this.#rescanLater();
  }

  /** Makes no more sockets. Those that there are stay as they are. */
  pause(): void {
    this.#stopTimer();
    this.#running?.sockets.stop();
  }

  /** Makes no more sockets, and leaves those to the next process that outlive this one. The others are removed. */
  handOver(): void {
    this.#stop((sockets, directory) => sockets.handOver(directory));
  }

  /** Makes no more sockets, and removes those that there are. Their connections stay. */
  close(): void {
    this.#stop((sockets, directory) => sockets.close(directory));
  }

  /** @param leave is called with the sandboxes' directory if that is there. */
  #stop(leave: (sockets: SandboxSockets, directory: Directory) => void): void {
    this.#stopTimer();
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    const { directory, sockets } = running;
    sockets.stop();
    try {
      directory.use((found) => leave(sockets, found));
    } catch (error) {
      this.#host.onProblem("sockets are left behind", error as Error);
    }
    directory.close();
  }

  #error(advice: string, cause?: unknown): ListenError {
    return new ListenError(`cannot listen at ${this.address}: ${advice}`, { cause });
  }

  /** Finds out where the directory is. Returns what prevents that. */
  #locate(directory: SandboxDirectory): ListenError | undefined {
    const error = directory.locate();
    return error && this.#error(error.message, error.cause ?? error);
  }

  /** @param turnMs how long sandboxes may be served before guests have their turn; default: a short while. */
  #locateAndServe(turnMs?: number): void {
    if (this.#running === undefined) return;
    const { directory, sockets } = this.#running;
    this.#reportOnce("locate", this.#locate(directory));
    sockets.serve(turnMs);
    this.#rescanLater();
  }

  /**
   * Looks for what no event has reported, after a while.
   *
   * @param isUrgent whether that is known to be needed; default: it is found out.
   */
  #rescanLater(isUrgent = false): void {
    const { directory, sockets } = this.#running ?? {};
    if (directory === undefined || sockets?.isServing !== true) return;
    const { isIncomplete } = this.#host.watches;
    const isFrequent = isUrgent || isIncomplete || !directory.isWatched || this.#reported.size > 0;
    const ms = isIncomplete ? POLL_MS : isFrequent ? UNWATCHED_RESCAN_MS : this.#rescanMs;
    if (this.#waitMs <= ms) return;
    this.#stopTimer();
    this.#waitMs = ms;
    this.#timer = setTimeout(() => {
      this.#stopTimer();
      this.#rescan(!isFrequent || ++this.#rescans % RESCANS_FOR_ALL === 0);
      this.#rescanLater();
    }, ms);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waitMs = Infinity;
  }

  /** Looks for what no event has reported. @param all at every sandbox, not only at those that need polling. */
  #rescan(all: boolean): void {
    if (this.#running === undefined) return;
    const { directory, sockets } = this.#running;
    this.#reportOnce("locate", this.#locate(directory));
    this.#tryToUse(() => directory.scan(all));
    sockets.recheck(all);
    sockets.serve();
  }

  #tryToUse(operation: (directory: SandboxDirectory) => void): void {
    if (this.#running === undefined) return;
    try {
      operation(this.#running.directory);
      this.#reportOnce("use", undefined);
    } catch (error) {
      this.#reportOnce("use", error as Error);
    }
  }

  /** Watches a sandbox's directory; undefined if it cannot be watched. */
  #watch(directory: Directory, onChange: () => void): Watch | undefined {
    try {
      return this.#host.watches.watch(directory.path, onChange);
    } catch (error) {
      // It may have gone; else whoever may not read it looks at it each second.
      if (errnoName(error) === "ENOENT") return undefined;
      const message = "directories that cannot be watched are looked at each second instead";
      this.#reportOnce("watch", new ListenError(message, { cause: error }));
      return undefined;
    }
  }

  /** Reports a problem with all sandboxes, once until it is over or becomes another one. */
  #reportOnce(kind: ProblemKind, error: Error | undefined): void {
    if (error === undefined) this.#reported.delete(kind);
    else if (this.#reported.get(kind) !== error.message) {
      this.#reported.set(kind, error.message);
      this.#host.onProblem("not all sandboxes can be listened for", error);
      this.#rescanLater(true);
    }
  }
}

/** Where a template's sockets are, with `{ID}` for the sandbox. */
export function templateAddress({ directory, between, name, port }: TemplateSettings): string {
  const prefix = directory === "/" ? "" : directory;
  return [prefix, "{ID}", ...between, `${name}_${port}`].join("/");
}
