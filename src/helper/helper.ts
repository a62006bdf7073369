import { once } from "node:events";
import { writeSync } from "node:fs";
import process from "node:process";
import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { errnoName } from "../../ffi/errors.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, unixSockaddr } from "../../ffi/sockets.ts";
import { describeError } from "../base/log.ts";
import { forbidNewPrivileges } from "../host/privileges.ts";
import { unixListenerName } from "../receivers/vsock/descriptor-names.ts";
import { DirectoryWatches } from "../receivers/vsock/directory-watches.ts";
import { PeerFinder } from "../receivers/peers/peer-finder.ts";
import type { LocalConnection } from "../receivers/peers/socket-table.ts";
import type { NewSandbox, SandboxServer } from "../receivers/vsock/sandbox-server.ts";
import { SandboxTemplate } from "../receivers/vsock/sandbox-template.ts";
import { ListenError } from "../receivers/vsock/listener.ts";
import { listAllowed, openAllowed } from "./file-opener.ts";
import { receivePackets, sendPacket } from "./packets.ts";
import {
  HELPER_SOCKET,
  type HelperMessage,
  type HelperRequest,
  type HelperSettings,
  MAX_NAMES,
  readRequest,
} from "./protocol.ts";
import { namedUser, RootlessTemplates } from "./rootless-templates.ts";

/** System calls that this process makes and the forwarder does not: see `asUser`. */
const AS_USER_CALLS = ["setfsuid", "setfsgid"];
const STDOUT = 1;
/** What is written to a pipe so that the other end reads its socket, for which no runtime has an event. */
const BELL = new Uint8Array(1);
/** How many connections may wait to be accepted; see `stream-server.bun.ts`. */
const BACKLOG = 4096;

/** Runs the helper until the forwarder is gone. Resolves with its exit code. */
export async function helperMain(settings: HelperSettings): Promise<number> {
  const libc = await loadLibc();
  const send = (message: HelperMessage, descriptor?: number): void => {
    sendPacket(libc, HELPER_SOCKET, message, descriptor);
    writeSync(STDOUT, BELL);
  };
  // The forwarder decides when this ends. A terminal's Ctrl-C and a service manager's SIGTERM go to both.
  for (const signal of ["SIGINT", "SIGHUP", "SIGTERM"] as const) process.on(signal, () => {});
  let helper: Helper;
  try {
    libc.setgroups([]);
    forbidNewPrivileges(libc, AS_USER_CALLS);
    helper = new Helper(settings, libc, send);
  } catch (error) {
    send({ type: "failed", error: describeError(error) });
    return 1;
  }
  process.stdin.on("data", () => {
    for (const { text, descriptor } of receivePackets(libc, HELPER_SOCKET)) {
      if (descriptor !== undefined) libc.close(descriptor);
      const request = readRequest(text);
      if (request !== undefined) helper.answer(request);
    }
  });
  // The forwarder has ended. If it was killed, sockets stay as they are, for the next one.
  await once(process.stdin, "end");
  return 0;
}

/**
 * What is left of root's privileges, in a process that never sees a guest's byte: it makes and removes sandboxes'
 * sockets, whose descriptors it hands to the forwarder, opens files that only root may read, and says whose shim has
 * connected.
 */
class Helper {
  readonly #settings: HelperSettings;
  readonly #libc: Libc;
  readonly #send: (message: HelperMessage, descriptor?: number) => void;
  readonly #templates: readonly (SandboxTemplate | RootlessTemplates)[];
  /** The IDs of sandboxes that are served, and how many sockets each has. */
  readonly #served = new Map<string, number>();
  /** The sockets of an earlier process that the forwarder has. */
  readonly #left = new Set<string>();
  /** Those that stay for the next process. */
  readonly #leaving = new Set<string>();
  readonly #peers: PeerFinder;

  constructor(settings: HelperSettings, libc: Libc, send: (message: HelperMessage, descriptor?: number) => void) {
    this.#settings = settings;
    this.#libc = libc;
    this.#send = send;
    const onProblem = (message: string, error: Error): void =>
      send({ type: "problem", message, error: describeError(error) });
    const watches = new DirectoryWatches(libc, onProblem);
    const host = {
      libc,
      watches,
      onProblem,
      onNotice: (message: string, fields: Readonly<Record<string, string>>) =>
        send({ type: "notice", message, fields }),
    };
    this.#templates = settings.templates.map((template) => {
      const user = template.perUser === true ? undefined : namedUser(template.directory);
      if (template.perUser === true || user !== undefined) {
        const rootless = { ...host, serve: (sandbox: NewSandbox) => this.#serveOnce(sandbox) };
        return new RootlessTemplates({ ...template, ...user && { directory: user.directory } }, rootless, user?.uid);
      }
      return new SandboxTemplate(template, {
        ...host,
        user: settings.user,
        serve: (sandbox) => this.#serve(sandbox),
        act: (operation) => operation(),
      });
    });
    this.#peers = new PeerFinder(() => {});
    const problems = this.#templates.map((template) => {
      const problem = template.open();
      return problem === undefined ? null : describeError(problem);
    });
    send({ type: "started", problems });
  }

  answer(request: HelperRequest): void {
    switch (request.type) {
      case "left":
        for (const key of request.keys) this.#left.add(key);
        return;
      case "begin":
        for (const template of this.#templates) template.begin();
        return this.#send({ type: "begun" });
      case "pause":
        for (const template of this.#templates) template.pause();
        return this.#send({ type: "paused" });
      case "leave":
        for (const key of request.keys) this.#leaving.add(key);
        return;
      case "close":
        for (const template of this.#templates) template.handOver();
        return this.#send({ type: "closed" });
      case "open":
        return this.#open(request.id, request.path);
      case "list":
        return this.#list(request.id, request.path, request.prefix);
      case "peer":
        return void this.#findPeer(request.id, request.connection);
    }
  }

  #open(id: number, path: string): void {
    let descriptor: number;
    try {
      descriptor = openAllowed(this.#libc, this.#settings.readable, path);
    } catch (error) {
      return this.#send({ type: "file", id, ...failure(error) });
    }
    try {
      this.#send({ type: "file", id }, descriptor);
    } finally {
      this.#libc.close(descriptor);
    }
  }

  #list(id: number, path: string, prefix: string): void {
    let names: string[];
    try {
      names = listAllowed(this.#libc, this.#settings.readable, path, prefix, MAX_NAMES);
    } catch (error) {
      return this.#send({ type: "names", id, names: [], ...failure(error) });
    }
    this.#send({ type: "names", id, names });
  }

  async #findPeer(id: number, connection: LocalConnection): Promise<void> {
    const sandbox = this.#settings.findsPeers ? await this.#peers.find(connection) : undefined;
    this.#send({ type: "peer", id, ...(sandbox !== undefined && { sandbox }) });
  }

  /** A rootless VMM's user may choose its sandbox's ID, but none that another sandbox has. */
  #serveOnce(sandbox: NewSandbox): SandboxServer {
    if (this.#served.has(sandbox.id)) throw new ListenError("another sandbox has this ID");
    return this.#serve(sandbox);
  }

  /** A sandbox's socket is made here, and served by the forwarder. */
  #serve({ id, address, access: { mode, gid }, owner }: NewSandbox): SandboxServer {
    let key: string | undefined;
    return {
      listen: (open) => {
        const { server, file } = open<BoundSocket>({
          bind: (path) => BoundSocket.bind(this.#libc, path),
          resume: (status) => this.#left.delete(unixListenerName(status)) ? new BoundSocket(this.#libc) : undefined,
        });
        key = unixListenerName(file.status);
        this.#served.set(id, (this.#served.get(id) ?? 0) + 1);
        const message: HelperMessage = {
          type: "listening",
          key,
          isLeft: server.descriptor === undefined,
          sandbox: id,
          address,
          mode,
          ...(gid !== undefined && { gid }),
          owner,
        };
        try {
          this.#send(message, server.descriptor);
        } finally {
          void server.close();
        }
        return file;
      },
      retire: () => {
        if (key === undefined) return;
        const others = (this.#served.get(id) ?? 1) - 1;
        if (others > 0) this.#served.set(id, others);
        else this.#served.delete(id);
        this.#send({ type: "retired", key });
      },
      handOver: () => key !== undefined && this.#leaving.has(key),
    };
  }
}

/** An error as messages have it. */
function failure(error: unknown): { readonly error: string; readonly errno?: string } {
  const errno = errnoName(error);
  return { error: describeError(error), ...(errno !== undefined && { errno }) };
}

/** A listening socket, until the forwarder has it. */
class BoundSocket {
  readonly #libc: Libc;
  /** Undefined if the forwarder has it already. */
  readonly descriptor: number | undefined;

  constructor(libc: Libc, descriptor?: number) {
    this.#libc = libc;
    this.descriptor = descriptor;
  }

  /** Throws what bind(2) and listen(2) do. */
  static bind(libc: Libc, path: string): BoundSocket {
    const socket = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    try {
      libc.bind(socket, unixSockaddr(path));
      libc.listen(socket, BACKLOG);
    } catch (error) {
      libc.close(socket);
      throw error;
    }
    return new BoundSocket(libc, socket);
  }

  close(): Promise<void> {
    if (this.descriptor !== undefined) this.#libc.close(this.descriptor);
    return Promise.resolve();
  }
}
