import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import {
  MAX_DESCRIPTORS,
  peerCredentials,
  receiveDescriptors,
  sendDescriptors,
} from "../../../ffi/descriptor-passing.ts";
import { errnoName } from "../../../ffi/errors.ts";
import type { Libc } from "../../../ffi/libc.ts";
import {
  AF_UNIX,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  unixSockaddr,
} from "../../../ffi/sockets.ts";
import type { InheritedDescriptor } from "./inherit-descriptors.ts";

/**
 * How a process takes over from one that runs, over a UNIX socket whose messages have boundaries (SOCK_SEQPACKET):
 *
 * 1. the new process connects and sends {@link REQUEST};
 * 2. the running one stops reading and accepting, and sends {@link Announcement}s, each with descriptors; the last one
 *    says how long it may go on delivering;
 * 3. it delivers what it has, closes whatever the new one opens too (spool, metrics), and sends {@link RELEASED};
 * 4. the new process starts, and sends {@link READY}: then the other one ends. If the connection ends before that, the
 *    new process has failed, and the other one keeps the descriptors for the next that asks.
 */
export const REQUEST = "kata-trace-forwarder take-over 1";
export const RELEASED = "released";
export const READY = "ready";

/** The names of the descriptors in this message, in order. */
interface Announcement {
  readonly names: readonly string[];
  /** In the last message: how long it takes at most until the release, milliseconds. */
  readonly releaseTimeoutMs?: number;
}

/** The longest message, bytes: the names of as many descriptors as fit into one. */
const LONGEST_MESSAGE = 128 * 1024;
/** How often a socket without events is checked, milliseconds. */
const POLL_MS = 2;
/** How long the other side may take for what should be immediate, milliseconds. */
const PATIENCE_MS = 10_000;
/** Only its owner may connect. */
const SOCKET_MODE = 0o600;
const UMASK_NOBODY = 0o777;
const BACKLOG = 8;

const text = { encode: new TextEncoder(), decode: new TextDecoder() };

/** Taking over is not possible. The message says why and what to do. */
export class TakeOverError extends Error {
  override readonly name = "TakeOverError";
}

/** Whether the process at the other end may take over from this one: it must run as root, or as the same user. */
export function isTrustedPeer(libc: Libc, socket: number): boolean {
  return isTrusted(peerCredentials(libc, socket).uid);
}

function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

/**
 * Listens at a path for processes that want to take over. A stale socket there is replaced.
 * Returns the socket. Throws a {@link TakeOverError}.
 */
export function openTakeOverSocket(libc: Libc, path: string): number {
  const socket = libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const umask = process.umask(UMASK_NOBODY);
  try {
    bindOrReplace(libc, socket, path);
    chmodSync(path, SOCKET_MODE);
    libc.listen(socket, BACKLOG);
    return socket;
  } catch (error) {
    libc.close(socket);
    throw new TakeOverError(`cannot listen at ${path} (--take-over): use another path, or remove what is there`, {
      cause: error,
    });
  } finally {
    process.umask(umask);
  }
}

/** To be called if {@link RunningProcess.connect} has found no process. */
function bindOrReplace(libc: Libc, socket: number, path: string): void {
  try {
    libc.bind(socket, unixSockaddr(path));
  } catch (error) {
    if (errnoName(error) !== "EADDRINUSE" || !lstatSync(path).isSocket()) throw error;
    unlinkSync(path);
    libc.bind(socket, unixSockaddr(path));
  }
}

/**
 * Sends descriptors to the process that takes over. Rejects with sendmsg(2)'s error, or if that process does not read.
 */
export async function sendAll(
  libc: Libc,
  socket: number,
  descriptors: readonly InheritedDescriptor[],
  releaseTimeoutMs: number,
): Promise<void> {
  for (let at = 0; at === 0 || at < descriptors.length; at += MAX_DESCRIPTORS) {
    const part = descriptors.slice(at, at + MAX_DESCRIPTORS);
    const isLast = at + MAX_DESCRIPTORS >= descriptors.length;
    const announcement: Announcement = {
      names: part.map(({ name }) => name),
      ...(isLast && { releaseTimeoutMs }),
    };
    await send(libc, socket, JSON.stringify(announcement), part.map(({ descriptor }) => descriptor));
  }
}

/** Sends a message with descriptors as soon as there is room for it. */
export async function send(
  libc: Libc,
  socket: number,
  message: string,
  descriptors: readonly number[] = [],
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      sendDescriptors(libc, socket, text.encode.encode(message), descriptors, MSG_DONTWAIT);
      return;
    } catch (error) {
      if (errnoName(error) !== "EAGAIN" || performance.now() > deadline) throw error;
    }
    await sleep(POLL_MS);
  }
}

/** The connection of a process that takes over to the running one. */
export class RunningProcess {
  readonly #libc: Libc;
  readonly #socket: number;

  private constructor(libc: Libc, socket: number) {
    this.#libc = libc;
    this.#socket = socket;
  }

  /**
   * Connects to the process that listens at a path; undefined if there is none. Throws a {@link TakeOverError}.
   *
   * @param user another user that the process at the other end may run as, if it has made its socket as root.
   */
  static connect(libc: Libc, path: string, user: number | undefined): RunningProcess | undefined {
    const owner = lstatSync(path, { throwIfNoEntry: false })?.uid;
    if (owner === undefined) return undefined;
    const socket = libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    try {
      libc.connect(socket, unixSockaddr(path));
    } catch (error) {
      libc.close(socket);
      if (errnoName(error) === "ECONNREFUSED") return undefined;
      throw new TakeOverError(`cannot connect to ${path} (--take-over)`, { cause: error });
    }
    const { uid } = peerCredentials(libc, socket);
    if (isTrusted(owner) && (isTrusted(uid) || uid === user)) return new RunningProcess(libc, socket);
    libc.close(socket);
    throw new TakeOverError(
      `the process that listens at ${path} (--take-over) runs as another user (uid ${uid}), which is not trusted: ` +
        "use a path in a directory that only root, or this user, may write to",
    );
  }

  /**
   * Asks for everything that it has. Resolves when it has delivered what it had read. Rejects with a {@link
   * TakeOverError}.
   */
  async takeOver(): Promise<InheritedDescriptor[]> {
    const inherited: InheritedDescriptor[] = [];
    try {
      await send(this.#libc, this.#socket, REQUEST);
      let releaseTimeoutMs: number | undefined;
      while (releaseTimeoutMs === undefined) {
        const { bytes, descriptors } = await this.#receive(PATIENCE_MS);
        const announcement = JSON.parse(text.decode.decode(bytes)) as Announcement;
        announcement.names.forEach((name, index) => {
          const descriptor = descriptors[index];
          if (descriptor !== undefined) inherited.push({ name, descriptor });
        });
        ({ releaseTimeoutMs } = announcement);
      }
      const { bytes } = await this.#receive(releaseTimeoutMs + PATIENCE_MS);
      if (text.decode.decode(bytes) !== RELEASED) throw new Error("it sent something other than its release");
      return inherited;
    } catch (error) {
      for (const { descriptor } of inherited) this.#libc.close(descriptor);
      this.close();
      throw new TakeOverError("the running process did not hand over (--take-over): its log says why", {
        cause: error,
      });
    }
  }

  /** Lets it end. */
  async ready(): Promise<void> {
    await send(this.#libc, this.#socket, READY);
    this.close();
  }

  close(): void {
    this.#libc.close(this.#socket);
  }

  async #receive(timeoutMs: number) {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      try {
        const message = receiveDescriptors(this.#libc, this.#socket, LONGEST_MESSAGE, MAX_DESCRIPTORS, MSG_DONTWAIT);
        if (message.bytes.length === 0) throw new Error("it has ended the connection");
        return message;
      } catch (error) {
        if (errnoName(error) !== "EAGAIN") throw error;
        if (performance.now() > deadline) throw new Error(`it did not answer within ${timeoutMs} ms`);
      }
      await sleep(POLL_MS);
    }
  }
}
