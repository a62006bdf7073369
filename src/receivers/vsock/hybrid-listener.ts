import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { errnoName } from "../../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../../ffi/libc.ts";
import { MAX_PATH_BYTES } from "../../../ffi/sockets.ts";
import { Admission } from "./admission.ts";
import { GuestServer, type ListenerOptions, type Refusal } from "./guest-server.ts";
import { unixListenerName } from "./descriptor-names.ts";
import { socketSource } from "./identity.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "./listener.ts";
import { groupNumber, listenAt, socketAdvice, type SocketFile } from "./socket-file.ts";
import { loadStreamServers } from "./stream-server.ts";

/** Where to listen: at `<socketPath>_<port>`, the path that a VMM connects to for a guest's connection to `port`. */
export interface HybridSettings {
  /** The VMM's own socket; it need not exist yet, its directory must. */
  readonly socketPath: string;
  readonly port: number;
  /** Permission bits of the socket. */
  readonly mode: number;
  /** The socket's group, by name or number; absent: the process's. */
  readonly group?: string;
}

/**
 * unlink(2) where the process, no longer root, may not: the socket then stays behind, and the next start removes it.
 */
const NOT_PERMITTED = new Set(["EACCES", "EPERM", "EROFS"]);

/**
 * Guests of one sandbox over hybrid vsock (Firecracker, Cloud Hypervisor, Dragonball): the VMM connects to a UNIX
 * socket for each of a guest's streams.
 *
 * https://github.com/firecracker-microvm/firecracker/blob/main/docs/vsock.md#guest-initiated-connections
 */
export class HybridListener implements Listener {
  readonly address: string;
  readonly #settings: HybridSettings;
  readonly #options: ListenerOptions;
  readonly #guests: GuestServer;
  /** The name that the socket is bound at before it is linked to `address`; no longer than that. */
  readonly #temporary: string;
  #file: SocketFile | undefined;
  #refusal: Refusal = () => undefined;

  constructor(settings: HybridSettings, options: ListenerOptions) {
    // Absolute, since the process leaves its directory when it drops its privileges.
    const socketPath = resolve(settings.socketPath);
    this.address = `${socketPath}_${settings.port}`;
    this.#temporary = `${socketPath}~${settings.port}`;
    this.#settings = settings;
    this.#options = options;
    const source = socketSource(socketPath);
    this.#guests = new GuestServer(options, () => source, (fd) => this.#refusal(fd));
  }

  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    const servers = await loadStreamServers();
    const libc = await loadLibc();
    const owner = this.#directoryOwner();
    const access = { mode: this.#settings.mode, gid: this.#findGroup(libc) };
    const admission = new Admission(access, owner);
    this.#refusal = (fd) => admission.refusal(libc, fd);
    const { server, file } = listenAt(
      {
        path: this.address,
        temporary: this.#temporary,
        shown: this.address,
        group: this.#settings.group,
      },
      access,
      libc,
      this.#guests.opener(servers, accept),
    );
    this.#guests.start(server, unixListenerName(file.status));
    this.#file = file;
  }

  stopAccepting(): Promise<void> {
    this.cleanUp();
    return this.#guests.close();
  }

  handOver(): void {
    if (this.#guests.handOver()) this.#file = undefined;
    else this.cleanUp();
  }

  cleanUp(): void {
    try {
      this.#file?.remove();
    } catch (error) {
      if (NOT_PERMITTED.has(errnoName(error) ?? "")) return;
      this.#options.onProblem(`cannot remove ${this.address}`, error as Error);
    }
  }

  #error(advice: string, cause?: unknown): ListenError {
    return new ListenError(`cannot listen at ${this.address}: ${advice}`, { cause });
  }

  /**
   * The owner of the directory that the socket shall be in. Throws a {@link ListenError} if a socket cannot be there.
   */
  #directoryOwner(): number {
    const bytes = new TextEncoder().encode(this.address).length;
    if (bytes > MAX_PATH_BYTES) {
      throw this.#error(
        `the path is ${bytes} bytes long, and a UNIX socket's has at most ${MAX_PATH_BYTES}: use a shorter ` +
          "--socket-path",
      );
    }
    const directory = dirname(this.address);
    let found;
    try {
      found = statSync(directory, { throwIfNoEntry: false });
    } catch (error) {
      throw this.#error(socketAdvice(error, directory), error);
    }
    if (found === undefined) {
      throw this.#error(
        `the directory ${directory} does not exist: check --socket-path, or make the directory (mkdir -p ` +
          `${directory}) before the sandbox starts`,
      );
    }
    if (!found.isDirectory()) {
      throw this.#error(`${directory} is not a directory: check --socket-path`);
    }
    return found.uid;
  }

  #findGroup(libc: Libc): number | undefined {
    const { group } = this.#settings;
    if (group === undefined) return undefined;
    const gid = groupNumber(libc, group);
    if (gid === undefined) {
      throw this.#error(`there is no group "${group}": check --socket-group`);
    }
    return gid;
  }
}
