import process from "node:process";
import { loadLibc } from "../../../ffi/libc.ts";
import { NotifyReceiver } from "../../host/support/notify-receiver.ts";
import { Forwarder } from "./forwarder.ts";
import type { RunOptions } from "./process.ts";

const libc = await loadLibc();

/** How many descriptors it stores, as set in the unit. */
const PLACES = 1536;
/** How often messages are read, milliseconds. */
const READ_MS = 1;

/** A stand-in for systemd, which stores descriptors past a service's end and passes them on to the next process. */
export class ServiceManagerStandIn implements Disposable {
  readonly #name = `@kata-manager-${process.pid}-${Math.random()}`;
  readonly #receiver = new NotifyReceiver(this.#name);
  readonly #kept = new Map<string, number>();
  readonly #timer = setInterval(() => this.read(), READ_MS);
  /** The assignments of all messages so far. */
  readonly assignments: string[] = [];

  /** The names of the stored descriptors. */
  get names(): string[] {
    this.read();
    return [...this.#kept.keys()];
  }

  /** Reads the service's messages. */
  read(): void {
    for (const { bytes, descriptors } of this.#receiver.messages()) {
      const lines = new TextDecoder().decode(bytes).split("\n");
      this.assignments.push(...lines);
      const name = lines.find((line) => line.startsWith("FDNAME="))?.slice("FDNAME=".length) ?? "";
      if (lines.includes("FDSTOREREMOVE=1")) this.#remove(name);
      for (const descriptor of descriptors) {
        this.#remove(name);
        this.#kept.set(name, descriptor);
      }
    }
  }

  /**
   * Starts the service with all stored descriptors.
   *
   * @param isBeside another process of the service is running, and the new one takes over from it: it gets no
   * descriptors.
   */
  launch(args: readonly string[], options: RunOptions = {}, isBeside = false): Forwarder {
    this.read();
    const kept = isBeside ? new Map<string, number>() : this.#kept;
    const names = [...kept.keys()];
    return new Forwarder(args, {
      ...options,
      descriptors: [...kept.values()],
      env: {
        ...options.env,
        NOTIFY_SOCKET: this.#name,
        FDSTORE: String(PLACES),
        ...(names.length > 0 && { LISTEN_FDS: String(names.length), LISTEN_FDNAMES: names.join(":") }),
      },
      // The process ID is only known once it is the process.
      through: [...options.through ?? [], "/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"],
    });
  }

  #remove(name: string): void {
    const descriptor = this.#kept.get(name);
    if (descriptor !== undefined) libc.close(descriptor);
    this.#kept.delete(name);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.read();
    for (const name of [...this.#kept.keys()]) this.#remove(name);
    this.#receiver.close();
  }
}
