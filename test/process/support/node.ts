import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { until } from "../../support/until.ts";
import { Guest, Sandbox } from "./sandbox.ts";

/** The sandboxes of a node as with Kata's Go runtime and Firecracker, with a jail below each sandbox's directory. */
export class Node extends Sandbox {
  constructor() {
    super();
    chmodSync(this.directory, 0o755);
    mkdirSync(this.sandboxes);
    // Kata's mode for its directories: virtcontainers/persist/fs, `dirMode`.
    chmodSync(this.sandboxes, 0o750);
  }

  get sandboxes(): string {
    return this.path("firecracker");
  }

  get template(): string {
    return `${this.sandboxes}/{ID}/root/kata.hvsock`;
  }

  pathOf(id: string): string {
    return `${this.sandboxes}/${id}`;
  }

  /** Makes a sandbox's directories, as its runtime does. */
  add(id: string): void {
    mkdirSync(`${this.pathOf(id)}/root`, { recursive: true, mode: 0o750 });
  }

  /** Removes a sandbox's directories with all that is in them, as its runtime does. */
  remove(id: string): void {
    rmSync(this.pathOf(id), { recursive: true });
  }

  addressOf(id: string): string {
    return `${this.pathOf(id)}/root/kata.hvsock_10240`;
  }

  listens(id: string): boolean {
    return existsSync(this.addressOf(id));
  }

  /**
   * A sandbox's whole life: its directory appears, and as soon as the forwarder's socket is in it a guest connects,
   * writes and ends. Resolves when the forwarder has read everything. Rejects if the guest is refused.
   */
  async life(id: string, bytes: Uint8Array): Promise<void> {
    this.add(id);
    await until(() => this.listens(id), `a socket for ${id}`);
    using guest = await Guest.connect(this.addressOf(id));
    await guest.write(bytes);
    await guest.end();
    await guest.gone();
    this.remove(id);
  }
}

/** How many file descriptors a process has open. */
export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** A process's resident memory, MiB. */
export function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}
