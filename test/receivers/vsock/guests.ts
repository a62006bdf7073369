import { readdirSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { DescriptorBudget } from "../../../src/receivers/vsock/descriptor-budget.ts";
import type { ListenerOptions } from "../../../src/receivers/vsock/guest-server.ts";
import type { GuestConnection, GuestReceiver } from "../../../src/receivers/vsock/listener.ts";

/** What became of one guest. */
export interface SeenGuest {
  readonly connection: GuestConnection;
  readonly chunks: Uint8Array[];
  /** How often `end` was called, and with what. */
  readonly ends: (Error | undefined)[];
}

/** Keeps what guests send, and lets a test wait until it has come. */
export class Guests {
  readonly seen: SeenGuest[] = [];
  readonly #waiting = new Set<() => void>();
  /** Called for each guest as it comes, within `accept`. */
  onAccept: (guest: SeenGuest) => void = () => {};
  onData: (guest: SeenGuest) => void = () => {};

  readonly accept = (connection: GuestConnection): GuestReceiver => {
    const guest: SeenGuest = { connection, chunks: [], ends: [] };
    this.seen.push(guest);
    this.onAccept(guest);
    this.#wake();
    return {
      data: (chunk) => {
        // Not `slice`: a Buffer's is a view.
        guest.chunks.push(Uint8Array.from(chunk));
        this.onData(guest);
        this.#wake();
      },
      end: (error) => {
        guest.ends.push(error);
        this.#wake();
      },
    };
  };

  #wake(): void {
    for (const check of this.#waiting) check();
  }

  /** Resolves once `condition` holds, which is looked at each time something happens. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!condition()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  get ended(): number {
    return this.seen.filter((guest) => guest.ends.length > 0).length;
  }
}

/** Everything that a guest has sent. */
export function bytesOf(guest: SeenGuest | undefined): string {
  return Buffer.concat(guest?.chunks ?? []).toString("latin1");
}

/** Options whose problems are kept. */
export function options(
  openFiles = 1024,
): ListenerOptions & { readonly problems: (string | Error)[] } {
  const problems: (string | Error)[] = [];
  const onProblem = (message: string, error?: Error) => {
    problems.push(message);
    if (error !== undefined) problems.push(error);
  };
  return { budget: new DescriptorBudget(openFiles, onProblem), onProblem, problems };
}

/** Connects as a VMM does. */
export function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.on("error", reject);
  });
}

/** Writes, and resolves once the kernel has taken it. */
export function send(socket: Socket, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(data, (error) => error ? reject(error) : resolve());
  });
}

/** Lets the event loop turn `turns` times: for what must not happen. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** How many files this process has open. */
export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** How many of them are inotify's. */
export function inotifies(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:inotify";
    } catch {
      // The listing's own descriptor, which is closed by now.
      return false;
    }
  }).length;
}
