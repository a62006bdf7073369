import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import type { Sandbox } from "./sandbox.ts";

/** A pipe whose reader reads only when it is told to. */
export class SlowReader implements Disposable {
  /** The end for the process that writes. */
  readonly writeEnd: number;
  #readEnd: number | undefined;
  text = "";

  constructor(sandbox: Sandbox) {
    const path = sandbox.path("pipe");
    execFileSync("mkfifo", [path]);
    this.#readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.writeEnd = openSync(path, constants.O_WRONLY);
  }

  /** Reads what is available, at most 64 KiB. */
  read(): void {
    const buffer = new Uint8Array(64 * 1024);
    try {
      const length = readSync(this.#readEnd as number, buffer);
      this.text += new TextDecoder().decode(buffer.subarray(0, length));
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    }
  }

  /** Goes away. */
  close(): void {
    if (this.#readEnd !== undefined) closeSync(this.#readEnd);
    this.#readEnd = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
    closeSync(this.writeEnd);
  }
}
