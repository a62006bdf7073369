import { readdirSync, statSync } from "node:fs";
import process from "node:process";
import { errnoName } from "../../../ffi/errors.ts";
import { loadLibc } from "../../../ffi/libc.ts";
import type { Directory } from "./directory.ts";
import { type DirectoryEvent, DirectoryWatcher, type Watch } from "./directory-watcher.ts";
import { FollowedDirectory } from "./followed-directory.ts";
import type { GuestServer, ListenerOptions } from "./guest-server.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "./listener.ts";
import { Sandbox, type SandboxContext } from "./sandbox.ts";
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
  /** Names in the directory that are no sandboxes' IDs. */
  readonly except?: readonly string[];
  /** That the sandboxes' directory cannot be watched is told, and no error. */
  readonly optional?: true;
}

/** How often to look for what no event told of, milliseconds. */
const RESCAN_MS = 1000;
/** After how many of these every sandbox is looked at. */
const RESCANS_FOR_ALL = 10;
/** How long sandboxes are seen to before guests have their turn, milliseconds. */
const TURN_MS = 5;
/**
 * A directory's time of change proves nothing while it is as young as this, nanoseconds: there may be another change
 * within one tick of the file system's clock.
 */
const YOUNG_NS = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
/**
 * How long who has connected to a sandbox's socket is still accepted after its directory is gone, milliseconds: an
 * agent's last spans may come right before. It takes a turn of the event loop.
 */
const RETIRED_MS = 1000;
/** How sandboxes may be called: `VerifyContainerID` in Kata's src/runtime/pkg/katautils. */
const SANDBOX_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** What there is from `listen` until `cleanUp`. */
interface Running {
  readonly watcher: DirectoryWatcher;
  readonly directory: FollowedDirectory;
  readonly context: SandboxContext;
}

/**
 * Guests of all sandboxes of one kind of hypervisor over hybrid vsock: watches the directory that the sandboxes'
 * directories are made in, and listens in each as soon as it is there.
 *
 * The directory itself may appear, go and come again. What the kernel's events do not tell is found by looking each
 * second. A problem with one sandbox is told, and costs only that one.
 */
export class TemplateListener implements Listener {
  readonly address: string;
  readonly #settings: TemplateSettings;
  readonly #options: ListenerOptions;
  #running: Running | undefined;
  readonly #sandboxes = new Map<string, Sandbox>();
  /** The IDs of those that something has happened to, in their order. */
  readonly #changed = new Set<string>();
  /** The IDs of those to look at when there are no such. */
  readonly #unchanged = new Set<string>();
  #turn: ReturnType<typeof setImmediate> | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #rescans = 0;
  /** The directory's time of change when it was last read, nanoseconds; absent where it must be read again. */
  #readAt: bigint | undefined;
  readonly #retired = new Map<GuestServer, ReturnType<typeof setTimeout>>();
  readonly #told = new Map<string, string>();

  constructor(settings: TemplateSettings, options: ListenerOptions) {
    this.#settings = settings;
    this.#options = options;
    const { directory, between, name, port } = settings;
    const prefix = directory === "/" ? "" : directory;
    this.address = [prefix, "{ID}", ...between, `${name}_${port}`].join("/");
  }

  /** Makes sure that it can listen; from {@link begin} on it does. */
  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    const servers = await loadStreamServers();
    const libc = await loadLibc();
    const { directory, between, name, port, mode, group } = this.#settings;
    const gid = group === undefined ? undefined : groupNumber(libc, group);
    if (group !== undefined && gid === undefined) {
      throw this.#error(`there is no group "${group}": check --socket-group`);
    }
    const user = this.#options.user ?? process.geteuid?.() ?? 0;
    const watcher = new DirectoryWatcher(libc, () => this.#rescan(true));
    this.#running = {
      watcher,
      directory: new FollowedDirectory(directory, libc, watcher, {
        check: (found) => found.requireTrusted(user),
        come: (found) => this.#read(found),
        gone: () => this.#leave(undefined),
        event: (event) => this.#onEvent(event),
        changed: () => this.#locate(),
      }),
      context: {
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
        retire: (guests) => this.#retire(guests),
        watch: (found, onChange) => this.#watch(found, onChange),
      },
    };
    const error = this.#look();
    if (error !== undefined && this.#settings.optional !== true) throw error;
  }

  /** Listens for the sandboxes that there are, and from now on for each that comes. */
  begin(): void {
    this.#timer = setInterval(
      () => this.#rescan(++this.#rescans % RESCANS_FOR_ALL === 0),
      RESCAN_MS,
    );
    this.#locate(Infinity);
  }

  async stopAccepting(): Promise<void> {
    this.cleanUp();
    await Promise.all([...this.#retired.keys()].map((guests) => this.#closeRetired(guests)));
  }

  /** Removes all sockets' names. Who has connected stays, also who has not been accepted yet. */
  cleanUp(): void {
    clearInterval(this.#timer);
    clearImmediate(this.#turn);
    this.#timer = this.#turn = undefined;
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    try {
      this.#privileged(() => running.directory.use((directory) => this.#leave(directory)));
    } catch (error) {
      this.#options.onProblem("sockets are left behind", error as Error);
    }
    running.directory.close();
    running.watcher.close();
  }

  #error(advice: string, cause?: unknown): ListenError {
    return new ListenError(`cannot listen at ${this.address}: ${advice}`, { cause });
  }

  #privileged<Result>(operation: () => Result): Result {
    const { privileged } = this.#options;
    return privileged === undefined ? operation() : privileged(operation);
  }

  /** Tells a problem with the whole, once until it is another one. */
  #tell(what: string, error: Error | undefined): void {
    if (error === undefined) this.#told.delete(what);
    else if (this.#told.get(what) !== error.message) {
      this.#told.set(what, error.message);
      this.#options.onProblem("not all sandboxes can be listened for", error);
    }
  }

  /** Finds out where the directory is. Returns what prevents it. */
  #look(): ListenError | undefined {
    try {
      this.#privileged(() => this.#running?.directory.look());
      return undefined;
    } catch (error) {
      const directory = this.#settings.directory;
      if (error instanceof ListenError) return this.#error(error.message, error);
      const reason = errnoName(error) === "EACCES"
        ? `this user (uid ${process.geteuid?.()}) may not watch ${directory}: run as root, or use a --socket-path that this user may`
        : `cannot watch ${directory}: ${error instanceof Error ? error.message : String(error)}`;
      return this.#error(reason, error);
    }
  }

  #locate(turnMs = TURN_MS): void {
    this.#tell("directory", this.#look());
    this.#work(turnMs);
  }

  #watch(directory: Directory, onChange: () => void): Watch | undefined {
    try {
      return this.#running?.watcher.watch(directory.path, onChange);
    } catch (error) {
      const message = "directories that cannot be watched are looked at each second instead";
      this.#tell("watch", new ListenError(message, { cause: error }));
      return undefined;
    }
  }

  #onEvent(event: DirectoryEvent): void {
    if (event.kind === "gone" || !this.#isSandboxId(event.name)) return;
    if (event.kind === "changed") {
      this.#changed.add(event.name);
      this.#work();
    } else {
      // At once: another directory of the name may come, and must not be taken for this one.
      this.#changed.delete(event.name);
      this.#unchanged.delete(event.name);
      this.#sandboxes.get(event.name)?.close(undefined);
      this.#sandboxes.delete(event.name);
    }
  }

  /** Looks for what no event has told. @param all at each sandbox, not only at those that have a problem. */
  #rescan(all: boolean): void {
    this.#tell("directory", this.#look());
    this.#use((directory) => {
      if (all || this.#readAt === undefined || this.#readAt !== changeTime(directory)) {
        this.#read(directory);
      }
    });
    for (const [id, sandbox] of this.#sandboxes) {
      if (all || sandbox.isToBeWatched) this.#unchanged.add(id);
    }
    this.#work();
  }

  /** Does something with the directory, if it is there, and with what privilege there is. */
  #use(operation: (directory: Directory) => void): void {
    try {
      this.#privileged(() => this.#running?.directory.use(operation));
      this.#tell("use", undefined);
    } catch (error) {
      this.#tell("use", error as Error);
    }
  }

  /** Finds the sandboxes that have come or gone. */
  #read(directory: Directory): void {
    const changedAt = changeTime(directory);
    const isYoung = BigInt(Date.now()) * NS_PER_MS - changedAt < YOUNG_NS;
    this.#readAt = isYoung ? undefined : changedAt;
    const names = new Set(readdirSync(directory.path));
    for (const name of names) {
      if (this.#isSandboxId(name) && !this.#sandboxes.has(name)) this.#changed.add(name);
    }
    for (const id of this.#sandboxes.keys()) if (!names.has(id)) this.#changed.add(id);
  }

  #isSandboxId(name: string): boolean {
    return SANDBOX_ID.test(name) && this.#settings.except?.includes(name) !== true;
  }

  /** Looks at those that have changed, for as long as a turn may last; the others are next. */
  #work(turnMs = TURN_MS): void {
    // Not before `begin`.
    if (this.#timer === undefined) return;
    const deadline = performance.now() + turnMs;
    for (const ids of [this.#changed, this.#unchanged]) {
      for (const id of ids) {
        if (performance.now() > deadline) return this.#workLater();
        ids.delete(id);
        this.#update(id);
      }
    }
  }

  #workLater(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#work();
    });
  }

  #update(id: string): void {
    const context = this.#running?.context;
    if (context === undefined) return;
    const onChange = (): void => {
      this.#changed.add(id);
      this.#work();
    };
    this.#unchanged.delete(id);
    const sandbox = this.#sandboxes.get(id) ?? new Sandbox(id, context, onChange);
    this.#sandboxes.set(id, sandbox);
    this.#use((directory) => {
      if (sandbox.update(directory)) return;
      sandbox.close(undefined);
      this.#sandboxes.delete(id);
    });
  }

  #retire(guests: GuestServer): void {
    const close = (): void =>
      void this.#closeRetired(guests).catch((error: unknown) =>
        this.#options.onProblem("a socket could not be closed", error as Error)
      );
    this.#retired.set(guests, setTimeout(close, RETIRED_MS));
  }

  async #closeRetired(guests: GuestServer): Promise<void> {
    clearTimeout(this.#retired.get(guests));
    this.#retired.delete(guests);
    await guests.close();
  }

  /** Listens for none of the sandboxes any more. @param directory theirs, if it is there. */
  #leave(directory: Directory | undefined): void {
    for (const sandbox of this.#sandboxes.values()) sandbox.close(directory);
    this.#sandboxes.clear();
    this.#changed.clear();
    this.#unchanged.clear();
    this.#readAt = undefined;
  }
}

/** When a directory's entries last changed, nanoseconds since the epoch. */
function changeTime(directory: Directory): bigint {
  return statSync(directory.path, { bigint: true }).mtimeNs;
}
