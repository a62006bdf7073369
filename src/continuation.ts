import process from "node:process";
import { type Libc, loadLibc } from "../ffi/libc.ts";
import type { Logger } from "./base/log.ts";
import type { DescriptorStore } from "./host/handover/descriptor-store.ts";
import {
  isTrustedPeer,
  openTakeOverSocket,
  READY,
  RELEASED,
  REQUEST,
  RunningProcess,
  send,
  sendAll,
} from "./host/handover/take-over.ts";
import { openReadLog, type ReadLogFile, takeReadLog } from "./host/handover/read-log-file.ts";
import { leaveUnreadBytes, takeUnreadBytes, type UnreadBytes } from "./host/handover/unread-bytes.ts";
import { adoptGuests } from "./receivers/vsock/adopted-guests.ts";
import type { ReadKeeper } from "./receivers/vsock/descriptor-keeper.ts";
import type { ListenerOptions } from "./receivers/vsock/guest-server.ts";
import type { GuestConnection, GuestReceiver, Listener } from "./receivers/vsock/listener.ts";
import type { Receiver } from "./receivers/vsock/receiver.ts";
import { type Adoption, loadStreamServers, type StreamServer } from "./receivers/vsock/stream-server.ts";

/** The name of the socket at which processes ask to take over. */
const TAKE_OVER_SOCKET = "take-over";

/** What a process does when another one takes over from it. */
export interface Leaving {
  /** Stops making sockets, as `Listener.settle` does. */
  settle(): Promise<void>;
  /** Stops reading and accepting, at once. What is kept is then what the other process goes on with. */
  leave(): void;
  /**
   * Delivers what has been read, and closes what the other process opens too. Resolves with how many spans were lost.
   */
  deliver(): Promise<number>;
  /** The longest that `deliver` takes, milliseconds. */
  readonly timeoutMs: number;
}

/**
 * Is told when another process takes over.
 *
 * @param delivered resolves with how many spans were lost, when everything that was read is delivered.
 * @param succeeded resolves when the other process has started, so that this one is no longer needed.
 */
export type OnTakenOver = (delivered: Promise<number>, succeeded: Promise<void>) => void;

/**
 * How guests outlive a process: this process goes on with what an earlier one has left, and leaves what it has to the
 * next one, through the service manager or to a process that takes over.
 */
export class Continuation {
  readonly #descriptors: DescriptorStore;
  readonly #libc: Libc;
  readonly #adoption: Adoption;
  readonly #log: Logger;
  /** The process that this one takes over from. */
  #running: RunningProcess | undefined;
  #server: StreamServer | undefined;
  #readLog: ReadLogFile | undefined;

  private constructor(descriptors: DescriptorStore, libc: Libc, adoption: Adoption, log: Logger) {
    this.#descriptors = descriptors;
    this.#libc = libc;
    this.#adoption = adoption;
    this.#log = log;
  }

  /** Undefined if this runtime cannot go on with what another process has opened. */
  static async open(descriptors: DescriptorStore, log: Logger): Promise<Continuation | undefined> {
    const { adoption } = await loadStreamServers();
    return adoption && new Continuation(descriptors, await loadLibc(), adoption, log);
  }

  /** Keeps the descriptors of guests and listening sockets. */
  get keeper(): DescriptorStore {
    return this.#descriptors;
  }

  /** Whether there are guests of an earlier process, which would be lost if this one's start failed. */
  get hasGuests(): boolean {
    return this.#descriptors.unclaimed.length > 0;
  }

  /**
   * Takes over from the process that listens at a path, if there is one. To be called as late as possible, because a
   * start that fails afterwards leaves the guests unread, but before anything is opened that both processes need for
   * themselves. Rejects with a `TakeOverError`.
   *
   * @param user the user that this process will become, as the other one has.
   */
  async takeOver(path: string, user: number | undefined): Promise<void> {
    this.#running = RunningProcess.connect(this.#libc, path, user);
    if (this.#running === undefined) return;
    this.#log.info("taking over from the process that runs", { path });
    this.#descriptors.inherit(await this.#running.takeOver(), false);
  }

  /** Listens at a path for processes that want to take over, which are answered from {@link serve} on. */
  listen(path: string): void {
    const socket = this.#descriptors.claim(TAKE_OVER_SOCKET) ?? openTakeOverSocket(this.#libc, path);
    // Not for the service manager: while nobody answers there, nobody must be able to connect.
    this.#descriptors.keepForTakeOver(TAKE_OVER_SOCKET, () => this.#server?.descriptor ?? socket);
  }

  /**
   * Keeps what is read of connections from now on until it is processed, so that a killed process leaves it to the next
   * one. Undefined if nothing survives a kill.
   *
   * @param settle makes sure that what was made of processed bytes survives a kill. Must not throw.
   */
  keepReads(settle: () => void): ReadKeeper | undefined {
    if (!this.persists) return undefined;
    try {
      this.#readLog = openReadLog(this.#descriptors, this.#libc, settle);
    } catch (error) {
      this.#log.warn(
        "bytes that are read cannot be kept in memory that survives the process: a kill loses some of them",
        {
          error: error as Error,
        },
      );
    }
    return this.#readLog?.log;
  }

  /** Goes on with the guests of an earlier process; see `adoptGuests`. */
  async adoptGuests(
    options: ListenerOptions,
    accept: (connection: GuestConnection) => GuestReceiver,
  ): Promise<void> {
    const guests = await adoptGuests(this.#descriptors, this.#takeUnread(), options, accept);
    if (guests > 0) this.#log.info("going on with guests of an earlier process", { guests });
    if (guests === 0 && this.#running === undefined) return;
    try {
      // The process that has had them may end as soon as they are kept here.
      await this.#descriptors.settled();
      await this.#running?.ready();
    } catch (error) {
      this.#log.warn("the service manager or the earlier process does not answer", { error: error as Error });
    }
    this.#running = undefined;
  }

  /** Answers processes that want to take over. */
  serve(leaving: Leaving, onTakenOver: OnTakenOver): void {
    const entry = this.#descriptors.entries.find(({ name }) => name === TAKE_OVER_SOCKET);
    if (entry === undefined) return;
    let released: Promise<number> | undefined;
    let settled: Promise<void> | undefined;
    const handOver = async (socket: number): Promise<void> => {
      await (settled ??= leaving.settle());
      const isFirst = released === undefined;
      if (isFirst) {
        this.#descriptors.beginTakeOver();
        leaving.leave();
        // Guests that leave, and listeners that close, must not take them away.
        this.#descriptors.detach((descriptor) => this.#libc.duplicate(descriptor));
      }
      const delivered = released ??= leaving.deliver();
      if (isFirst) onTakenOver(delivered, successor.promise);
      await this.#descriptors.settled();
      await sendAll(this.#libc, socket, this.#descriptors.entries, leaving.timeoutMs);
      await delivered;
      await send(this.#libc, socket, RELEASED);
    };
    const successor = Promise.withResolvers<void>();
    this.#server = this.#adoption.listener(entry.descriptor, {
      accept: (stream) => {
        const socket = stream.descriptor;
        if (socket === undefined || !isTrustedPeer(this.#libc, socket)) {
          this.#log.warn("a process of another user wanted to take over: refused");
          stream.destroy();
        }
        let isReady = false;
        return {
          data: (chunk) => {
            const message = new TextDecoder().decode(chunk);
            if (message === READY && released !== undefined) {
              isReady = true;
              successor.resolve();
            } else if (message === REQUEST && socket !== undefined) {
              this.#log.info("handing over to a new process");
              handOver(socket).catch((error: unknown) => {
                this.#log.warn("the new process could not be handed everything", { error: error as Error });
                stream.destroy();
              });
            } else stream.destroy();
          },
          end: () => {
            if (released !== undefined && !isReady) {
              this.#log.warn("the new process has ended before it was ready: guests wait for the next that takes over");
            }
          },
        };
      },
      problem: (message, error) => this.#log.warn(message, { error: error as Error }),
    });
  }

  /** Whether what is left is there for the next process even if nobody takes over. */
  get persists(): boolean {
    return this.#descriptors.persists;
  }

  /** Leaves guests and listening sockets to the next process. Synchronous, so that nothing is read in between. */
  leave(listener: Listener, receiver: Receiver): void {
    listener.handOver();
    const unread = receiver.handOver((name) => this.#descriptors.outlives(name));
    this.#readLog?.log.freeze();
    for (const name of unread.keys()) if (this.#readLog?.log.has(name) === true) unread.delete(name);
    try {
      leaveUnreadBytes(this.#descriptors, this.#libc, unread);
    } catch (error) {
      this.#log.warn("unfinished frames cannot be left to the next process: they are lost", {
        frames: unread.size,
        error: error as Error,
      });
    }
    this.#descriptors.freeze();
  }

  /** The start has failed: what an earlier process has left stays as it is. */
  abandon(listener: Listener): void {
    listener.handOver();
    this.#descriptors.freeze();
    this.#running?.close();
  }

  /** What an earlier process has read and not processed. Without it, those frames are lost and nothing else. */
  #takeUnread(): UnreadBytes {
    try {
      const fromLog = this.#readLog?.unread ?? takeReadLog(this.#descriptors, this.#libc);
      return new Map([...fromLog, ...takeUnreadBytes(this.#descriptors, this.#libc)]);
    } catch (error) {
      this.#log.warn("the unfinished frames of an earlier process cannot be read: they are lost", {
        error: error as Error,
      });
      return new Map();
    }
  }
}

/**
 * Whether this process would be started again if it ended by itself, as a container's first process is, or one in a
 * pod.
 */
export function isRestartedAtItsEnd(environment: Readonly<Record<string, string | undefined>>): boolean {
  return process.pid === 1 || environment["KUBERNETES_SERVICE_HOST"] !== undefined;
}
