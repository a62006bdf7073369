import { readdirSync, statSync } from "node:fs";
import type { Libc } from "../../ffi/libc.ts";
import type { Directory } from "../receivers/vsock/directory.ts";
import type { DirectoryEvent } from "../receivers/vsock/directory-watcher.ts";
import { FollowedDirectory } from "../receivers/vsock/followed-directory.ts";
import { ListenError } from "../receivers/vsock/listener.ts";
import type { ServeSandbox } from "../receivers/vsock/sandbox-server.ts";
import { SandboxTemplate, type TemplateHost, type TemplateSettings } from "../receivers/vsock/sandbox-template.ts";
import { asUser, isMissing } from "./as-user.ts";

/** What stands for the user in a template's directory. */
const UID = "{UID}";
/**
 * How often to look for users that no event reported, milliseconds: there are no events for a mount above the
 * directory. The second is for a directory that cannot be watched.
 */
const RESCAN_MS = 10_000;
const UNWATCHED_RESCAN_MS = 1000;
/** A rootless VMM's user has one sandbox. This is how many are served, so that no user can fill the machine with them. */
const MAX_SANDBOXES = 8;
/** The largest number of a user; 2^32 - 1 means none. */
const MAX_UID = 2 ** 32 - 2;

/** A user's directory in a path, as in `/run/user/1000`. */
const USER_DIRECTORY = /^(.*\/user)\/([1-9][0-9]*)(\/.*)?$/;

/** One user's directory that is named in a template without `{UID}`. */
export interface NamedUser {
  readonly uid: number;
  /** The template's directory, with `{UID}` in it. */
  readonly directory: string;
}

/**
 * The user whose directory a template's is in, as in `/run/user/1000/run/vc/vm`, unless that directory is there and
 * belongs to somebody else. Undefined for any other directory.
 */
export function namedUser(directory: string): NamedUser | undefined {
  const [, parent = "", number = "", below = ""] = USER_DIRECTORY.exec(directory) ?? [];
  const uid = Number(number);
  if (number === "" || uid > MAX_UID) return undefined;
  const owner = statSync(`${parent}/${number}`, { throwIfNoEntry: false })?.uid ?? uid;
  return owner === uid ? { uid, directory: `${parent}/${UID}${below}` } : undefined;
}

/** What the templates of all users need. */
export type RootlessHost = Pick<TemplateHost, "libc" | "watches" | "serve" | "onProblem" | "onNotice">;

/**
 * The sockets of rootless VMMs: Kata makes a user for each of them, with a directory that bears the user's number. For
 * each of these users there is a {@link SandboxTemplate}, which acts as that user, so that a VMM that somebody has got
 * hold of cannot make this process touch what its user may not.
 *
 * The directory of a login session, which systemd-logind mounts, is left alone, unless it is the one that was asked
 * for: otherwise any user who may log in could pass for a sandbox.
 */
export class RootlessTemplates {
  readonly #settings: TemplateSettings;
  readonly #host: RootlessHost;
  readonly #only: number | undefined;
  /** What the users' directories are in. */
  readonly #parent: string;
  readonly #below: string;
  readonly #users = new Map<number, SandboxTemplate>();
  readonly #followed: FollowedDirectory;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isRunning = false;

  /** @param only the only user who is served. Default: all are. */
  constructor(settings: TemplateSettings, host: RootlessHost, only?: number) {
    this.#settings = settings;
    this.#host = host;
    this.#only = only;
    const [parent = "", below = ""] = settings.directory.split(`/${UID}`);
    this.#parent = parent;
    this.#below = below;
    const { libc, watches } = host;
    this.#followed = new FollowedDirectory(parent, libc, watches, {
      check: () => {},
      come: (directory) => this.#scan(directory),
      // If only this process stops looking, the users are not gone.
      gone: () => {
        if (this.#isRunning) this.#forgetAll();
      },
      event: (event) => this.#onEvent(event),
      changed: () => this.#look(),
    });
  }

  /** See `SandboxTemplate`. Nothing need be there yet. */
  open(): undefined {}

  begin(): void {
    this.#isRunning = true;
    this.#look();
    this.#rescanLater();
  }

  pause(): void {
    this.#stop();
    for (const template of this.#users.values()) template.pause();
  }

  handOver(): void {
    this.#stop();
    for (const template of this.#users.values()) template.handOver();
    this.#users.clear();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isRunning = false;
    this.#followed.close();
  }

  #rescanLater(): void {
    const rescan = (): void => {
      this.#look();
      this.#tryTo(() => this.#followed.use((directory) => this.#scan(directory)));
      this.#rescanLater();
    };
    this.#timer = setTimeout(rescan, this.#followed.isWatched ? RESCAN_MS : UNWATCHED_RESCAN_MS);
  }

  /** Finds out whether the users' directories are there. */
  #look(): void {
    this.#tryTo(() => this.#followed.look());
  }

  #tryTo(operation: () => void): void {
    try {
      operation();
    } catch (error) {
      if (!isMissing(error)) this.#host.onProblem("cannot listen for rootless sandboxes", error as Error);
      this.#forgetAll();
    }
  }

  #scan(directory: Directory): void {
    const { dev } = statSync(directory.path);
    const names = new Set(readdirSync(directory.path));
    for (const uid of this.#users.keys()) names.add(String(uid));
    for (const name of names) this.#update(name, dev);
  }

  #onEvent(event: DirectoryEvent): void {
    if (event.kind === "gone") return;
    this.#tryTo(() => this.#followed.use(({ path }) => this.#update(event.name, statSync(path).dev)));
  }

  #forgetAll(): void {
    for (const uid of [...this.#users.keys()]) this.#forget(uid);
  }

  #update(name: string, device: number): void {
    const uid = Number(name);
    // Root has directories of its own, and `0` never belongs to a rootless VMM.
    if (!/^[1-9][0-9]*$/.test(name) || uid > MAX_UID) return;
    if (this.#only !== undefined && uid !== this.#only) return;
    const found = statSync(`${this.#parent}/${name}`, { throwIfNoEntry: false });
    if (found === undefined) return this.#forget(uid);
    const isVmm = found.isDirectory() && found.uid === uid && (this.#only === uid || found.dev === device);
    if (!isVmm || this.#users.has(uid)) return;
    const template = this.#templateOf(uid, found.gid);
    this.#users.set(uid, template);
    const problem = template.open();
    if (problem !== undefined) this.#host.onProblem("cannot listen for rootless sandboxes", problem);
    template.begin();
  }

  #forget(uid: number): void {
    this.#users.get(uid)?.handOver();
    this.#users.delete(uid);
  }

  #templateOf(uid: number, gid: number): SandboxTemplate {
    const { libc } = this.#host;
    const { port, mode, name, between } = this.#settings;
    const settings = { directory: `${this.#parent}/${uid}${this.#below}`, between, name, port, mode };
    return new SandboxTemplate(settings, {
      ...this.#host,
      user: uid,
      fileOwner: uid,
      serve: limited(this.#host.serve),
      act: (operation) => asUser(libc as Libc, uid, gid, operation),
    });
  }
}

/** Serves only so many sandboxes at a time. */
function limited(serve: ServeSandbox): ServeSandbox {
  let count = 0;
  return (sandbox) => {
    if (count >= MAX_SANDBOXES) throw new ListenError(`its user has more than ${MAX_SANDBOXES} sandboxes`);
    const server = serve(sandbox);
    let isCounted = false;
    return {
      listen: (open) => {
        const file = server.listen(open);
        count++;
        isCounted = true;
        return file;
      },
      retire: () => {
        if (isCounted) count--;
        isCounted = false;
        server.retire();
      },
      handOver: () => server.handOver(),
    };
  };
}
