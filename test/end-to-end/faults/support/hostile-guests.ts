import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Done } from "./hostile.ts";

/** Guests of one kind (see `hostile.ts`), at work in a process of their own. */
export class HostileGuests implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    assert.ok(child.stdout);
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts them; resolves when all of them are at it. */
  static async start(kind: string, address: string, firstId: number, connections = 8): Promise<HostileGuests> {
    const script = fileURLToPath(new URL("hostile.ts", import.meta.url));
    const child = spawn(process.execPath, [script, kind, address, String(firstId), String(connections)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const guests = new HostileGuests(child);
    assert.equal(await guests.#line(), "at it");
    return guests;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Has them end what they are writing, and leave. */
  async stop(): Promise<Done> {
    this.#child.kill("SIGTERM");
    return JSON.parse(await this.#line()) as Done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.running) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    assert.ok(done !== true, "the hostile guests have ended by themselves");
    return value;
  }
}
