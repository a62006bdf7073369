import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";

/** The port that agents connect to. */
const PORT = 10240;

/**
 * A directory in which the VMM of one sandbox, which is the test itself, connects to the forwarder. Everyone may write
 * to it, so that a forwarder that is no longer root can remove its socket. It is removed afterwards.
 */
export class Sandbox implements Disposable {
  readonly directory: string;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "ktf-process-"));
    chmodSync(this.directory, 0o777);
  }

  /** `--socket-path`. */
  get socketPath(): string {
    return join(this.directory, "clh.sock");
  }

  /** Where the forwarder listens. */
  get address(): string {
    return `${this.socketPath}_${PORT}`;
  }

  /** What `kata.sandbox.id` must be. */
  get id(): string {
    return basename(this.directory);
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A guest's connection, as its VMM makes it. It is closed when it goes out of scope. */
export class Guest implements Disposable {
  readonly socket: Socket;
  /** What broke the connection. That the forwarder closes it is not an error. */
  error: Error | undefined;
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", (error) => this.error = error);
    socket.on("close", () => this.closed = true);
    // An agent never reads, but without this the end would not be noticed here.
    socket.resume();
  }

  static async connect(address: string): Promise<Guest> {
    return await new Promise((resolve, reject) => {
      const socket = connect(address);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Guest(socket));
      });
    });
  }

  /** Resolves when the system has the bytes. The forwarder may not have read them yet. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(bytes, (error) => error ? reject(error) : resolve());
    });
  }

  /** Writes in pieces of one size, one at a time. */
  async writePieces(bytes: Uint8Array, size: number): Promise<void> {
    for (let at = 0; at < bytes.length; at += size) {
      await this.write(bytes.subarray(at, at + size));
      // The forwarder usually reads this piece by itself.
      if (at % (size * 64) === 0) await sleep(0);
    }
  }

  /** Ends the stream, as an agent does. */
  async end(): Promise<void> {
    await new Promise<void>((resolve) => this.socket.end(() => resolve()));
  }

  /** Waits until the forwarder has closed the connection. */
  async gone(): Promise<void> {
    await until(() => this.closed, "the forwarder closes the connection");
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** A guest's whole life: it connects, writes and ends. */
export async function guestLife(address: string, bytes: Uint8Array): Promise<void> {
  using guest = await Guest.connect(address);
  await guest.write(bytes);
  await guest.end();
  await guest.gone();
}
