import { lstatSync } from "node:fs";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import { MAX_PATH_BYTES } from "../../../ffi/sockets.ts";
import { Directory } from "./directory.ts";
import type { Watch } from "./directory-watcher.ts";
import { ListenError } from "./listener.ts";
import type { SandboxServer, ServeSandbox } from "./sandbox-server.ts";
import { listenAt, type SocketAccess, type SocketFile } from "./socket-file.ts";

/** What the sandboxes of one template have in common. */
export interface SandboxContext {
  readonly libc: Libc;
  readonly serve: ServeSandbox;
  readonly onProblem: (message: string, error: Error) => void;
  readonly onNotice: (message: string, fields: Readonly<Record<string, string>>) => void;
  /** Watches a directory; undefined where it cannot be watched. */
  readonly watch: (directory: Directory, onChange: () => void) => Watch | undefined;
  /** A sandbox's `needsPolling` has become true. */
  readonly onNeedsPolling: () => void;
  /** The names of the directories below the sandbox's, down to the socket's. */
  readonly between: readonly string[];
  /** The socket's name, and the one that it is bound at first. */
  readonly socket: string;
  readonly temporary: string;
  readonly access: SocketAccess;
  readonly group: string | undefined;
  /** Beside root, the only one who may own a directory that is listened in. */
  readonly user: number;
}

/** A socket that listens, and the directory that it is in. */
interface Listening {
  readonly directory: string;
  readonly file: SocketFile;
  readonly server: SandboxServer;
}

/**
 * One sandbox: listens in its directory for as long as that is there. A guest or a VMM must not make the forwarder
 * create or delete files elsewhere: directories are opened one in another, none through a link, and each is checked
 * before anything is done in it.
 */
export class Sandbox {
  readonly id: string;
  readonly #context: SandboxContext;
  readonly #onChange: () => void;
  #listening: Listening | undefined;
  #watches: Watch[] = [];
  #isUnwatched = true;
  #problem: string | undefined;

  /** @param onChange something has happened below the sandbox's directory: it should be looked at. */
  constructor(id: string, context: SandboxContext, onChange: () => void) {
    this.id = id;
    this.#context = context;
    this.#onChange = onChange;
  }

  /** Whether {@link update} must be called now and then, because no event reports that its outcome may have changed. */
  get needsPolling(): boolean {
    return this.#isUnwatched || this.#problem !== undefined;
  }

  /**
   * Listens where its directories are there, and stops where they are not any more; a problem is told once. With what
   * privilege there is. False where there is no such sandbox (any more).
   *
   * @param parent the directory that its own is in.
   */
  update(parent: Directory): boolean {
    const opened: Directory[] = [];
    const earlier = this.#watches;
    this.#watches = [];
    this.#isUnwatched = false;
    try {
      const found = this.#open(parent, opened);
      if (found === undefined) this.#stop();
      else this.#listenIn(found);
      this.#problem = undefined;
      return opened.length > 0;
    } catch (error) {
      if (this.#isOtherFile(parent, error)) return false;
      // It went while it was looked at.
      if (errnoOf(error) === "ENOENT") return opened.length > 0;
      this.#report(error);
      // It was trusted before, and is not any more.
      if (error instanceof ListenError) this.#stop();
      return true;
    } finally {
      for (const directory of opened) directory.close();
      // Only now, so that what is watched further on is watched without a gap.
      for (const watch of earlier) watch.release();
    }
  }

  /** Opens and checks its directories, watches all but the last, and gives the last; undefined where one is missing. */
  #open(parent: Directory, opened: Directory[]): Directory | undefined {
    const { between, watch, user } = this.#context;
    let directory = parent;
    for (const name of [this.id, ...between]) {
      // Before the next one is looked for: else it could come in between, unseen.
      if (directory !== parent) {
        const added = watch(directory, this.#onChange);
        if (added === undefined) this.#isUnwatched = true;
        else this.#watches.push(added);
      }
      const next = this.#child(directory, name);
      if (next === undefined) return undefined;
      opened.push(next);
      next.requireTrusted(user);
      directory = next;
    }
    return directory;
  }

  #child(directory: Directory, name: string): Directory | undefined {
    try {
      return directory.child(name);
    } catch (error) {
      if (errnoName(error) !== "ENOTDIR") throw error;
      throw new ListenError(
        `${directory.shownChild(name)} is a link or not a directory: nothing is made there`,
        { cause: error },
      );
    }
  }

  /** A file beside the sandboxes' directories is nobody's fault. A link in the place of one is. */
  #isOtherFile(parent: Directory, error: unknown): boolean {
    if (errnoOf(error) !== "ENOTDIR") return false;
    const found = lstatSync(`${parent.path}/${this.id}`, { throwIfNoEntry: false });
    return found === undefined || !(found.isSymbolicLink() || found.isDirectory());
  }

  #listenIn(directory: Directory): void {
    const { socket, temporary, access, group, libc, serve, onNotice } = this.#context;
    const { directory: current, file: own } = this.#listening ?? {};
    // Somebody may have removed the socket, and nobody would find it again.
    if (current === directory.identity && own?.isAt(`${directory.path}/${socket}`)) return;
    this.#stop();
    const address = directory.shownChild(socket);
    const bytes = new TextEncoder().encode(address).length;
    // It could be bound here, by a shorter way, but no VMM could connect to it.
    if (bytes > MAX_PATH_BYTES) {
      throw new ListenError(
        `${address} is ${bytes} bytes long, and a UNIX socket's path has at most ${MAX_PATH_BYTES}: the VMM cannot ` +
          "connect to it",
      );
    }
    const place = {
      path: `${directory.path}/${socket}`,
      temporary: `${directory.path}/${temporary}`,
      shown: address,
      group,
    };
    const server = serve({ id: this.id, address, access, owner: directory.owner });
    const file = server.listen((opener) => listenAt(place, access, libc, opener));
    this.#listening = { directory: directory.identity, file, server };
    onNotice("listening for a sandbox", { sandbox: this.id, address });
  }

  /**
   * Stops listening, and leaves the socket to the next process if it outlives this one. @param parent see {@link
   * close}.
   */
  handOver(parent: Directory | undefined): void {
    if (this.#listening?.server.handOver() === true) this.#listening = undefined;
    this.close(parent);
  }

  /**
   * Stops listening, and removes the socket where it still is. Guests that are connected stay.
   *
   * @param parent the directory that its own is in, if that is there.
   */
  close(parent: Directory | undefined): void {
    for (const watch of this.#watches) watch.release();
    this.#watches = [];
    if (this.#listening !== undefined && parent !== undefined) {
      try {
        this.#remove(this.#listening, parent);
      } catch (error) {
        this.#report(error);
      }
    }
    this.#stop();
  }

  /** Removes the socket from its directory, if that is still the one that was checked. */
  #remove({ directory, file }: Listening, parent: Directory): void {
    const opened: Directory[] = [];
    try {
      let last: Directory | undefined = parent;
      for (const name of [this.id, ...this.#context.between]) {
        last = last.child(name);
        if (last === undefined) return;
        opened.push(last);
      }
      if (last.identity === directory) file.remove(`${last.path}/${this.#context.socket}`);
    } finally {
      for (const each of opened) each.close();
    }
  }

  #stop(): void {
    const listening = this.#listening;
    if (listening === undefined) return;
    this.#listening = undefined;
    listening.server.retire();
    this.#context.onNotice("no longer listening for a sandbox", { sandbox: this.id });
  }

  #report(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    if (this.#problem === message) return;
    this.#problem = message;
    this.#context.onProblem(
      `cannot listen for sandbox ${this.id}`,
      error instanceof Error ? error : new Error(message),
    );
  }
}

/** The errno's name in an error or in what caused it. */
function errnoOf(error: unknown): string | undefined {
  return errnoName(error instanceof ListenError ? error.cause : error);
}
