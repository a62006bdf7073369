import process from "node:process";
import { loadLibc } from "../../../ffi/libc.ts";
import type { Directory } from "./directory.ts";
import type { Watch } from "./directory-watcher.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "./listener.ts";
import { RetiredServers } from "./retired-servers.ts";
import { SandboxDirectory } from "./sandbox-directory.ts";
import { SandboxSockets } from "./sandbox-sockets.ts";
import { groupNumber } from "./socket-file.ts";
import { loadStreamServers } from "./stream-server.ts";

/** Where to listen: at `<directory>/<sandbox>/<between…>/<name>_<port>` for each sandbox there is. */
export interface TemplateSettings {
  /** What holds a directory for each sandbox, absolute. It need not exist yet. */
  readonly directory: string;
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

/** How often to look for what no event reported, milliseconds. */
const RESCAN_MS = 1000;
/** Every so many of these, every sandbox is looked at. */
const RESCANS_FOR_ALL = 10;

/** What can go wrong with the sandboxes' directory as a whole. */
type ProblemKind = "locate" | "use" | "watch";

/** What exists from `listen` until `cleanUp`. */
interface Running {
  readonly directory: SandboxDirectory;
  readonly sockets: SandboxSockets;
}

/**
 * Guests of all sandboxes of one kind of hypervisor over hybrid vsock. It watches the directory that the sandboxes'
 * directories are made in, and listens in each of them as soon as it is there.
 *
 * {@link SandboxDirectory} finds the directory and scans it for sandboxes, {@link SandboxSockets} listens in each of
 * them, and {@link RetiredServers} finishes those that are gone. Once a second everything that the kernel's events did
 * not report is looked for. A problem with one sandbox is reported and costs only that sandbox.
 */
export class TemplateListener implements Listener {
  readonly address: string;
  readonly #settings: TemplateSettings;
  readonly #options: ListenerOptions;
  readonly #retired: RetiredServers;
  readonly #reported = new Map<ProblemKind, string>();
  #running: Running | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #rescans = 0;

  constructor(settings: TemplateSettings, options: ListenerOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#retired = new RetiredServers(options.onProblem);
    const { directory, between, name, port } = settings;
    const prefix = directory === "/" ? "" : directory;
    this.address = [prefix, "{ID}", ...between, `${name}_${port}`].join("/");
  }

  /** Makes sure that it can listen. It starts to do so with {@link begin}. */
  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    const servers = await loadStreamServers();
    const libc = await loadLibc();
    const { between, name, port, mode, group } = this.#settings;
    const gid = group === undefined ? undefined : groupNumber(libc, group);
    if (group !== undefined && gid === undefined) {
      throw this.#error(`there is no group "${group}": check --socket-group`);
    }
    const user = this.#options.user ?? process.geteuid?.() ?? 0;
    const sockets = new SandboxSockets(
      {
        libc,
        servers,
        accept,
        user,
        between,
        group,
        options: this.#options,
        socket: `${name}_${port}`,
        temporary: `${name}~${port}`,
        access: { mode, gid },
        retire: (guests) => this.#retired.add(guests),
        watch: (found, onChange) => this.#watch(found, onChange),
      },
      (operation) => this.#tryToUse((directory) => directory.use(operation)),
    );
    const directory = new SandboxDirectory(
      {
        path: this.#settings.directory,
        except: this.#settings.except ?? [],
        user,
        libc,
        privileged: this.#options.privileged ?? ((operation) => operation()),
      },
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
    const error = this.#locate(directory);
    if (error !== undefined && this.#settings.optional !== true) throw error;
  }

  /** Listens for the sandboxes that there are, and from now on for each one that appears. */
  begin(): void {
    this.#timer = setInterval(
      () => this.#rescan(++this.#rescans % RESCANS_FOR_ALL === 0),
      RESCAN_MS,
    );
    this.#running?.sockets.start();
    this.#locateAndServe(Infinity);
  }

  async stopAccepting(): Promise<void> {
    this.cleanUp();
    await this.#retired.closeAll();
  }

  handOver(): void {
    this.#stop((sockets, directory) => sockets.handOver(directory));
  }

  /** Removes all sockets' names. Connected guests stay, and so do those that have not been accepted yet. */
  cleanUp(): void {
    this.#stop((sockets, directory) => sockets.close(directory));
  }

  /** @param leave is called with the sandboxes' directory if that is there. */
  #stop(leave: (sockets: SandboxSockets, directory: Directory) => void): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    const { directory, sockets } = running;
    sockets.stop();
    try {
      directory.use((found) => leave(sockets, found));
    } catch (error) {
      this.#options.onProblem("sockets are left behind", error as Error);
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

  #watch(directory: Directory, onChange: () => void): Watch | undefined {
    try {
      return this.#running?.directory.watch(directory, onChange);
    } catch (error) {
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
      this.#options.onProblem("not all sandboxes can be listened for", error);
    }
  }
}
