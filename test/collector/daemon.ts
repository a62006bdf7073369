/**
 * Real servers as child processes of the tests: started on free ports, waited
 * for until they can be used, and ended with the tests whatever happens.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../support/ports.ts";

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 90_000;
const POLL_MS = 20;
const LOG_TAIL_CHARACTERS = 2_000;

/** How to start a server, and how to know that it has started. */
export interface DaemonSettings {
  /** Path of the program. */
  readonly command: string;
  readonly arguments: readonly string[];
  /** Its whole environment: nothing is inherited, so that runs are alike everywhere. */
  readonly environment: Readonly<Record<string, string>>;
  /** File to which its stdout and stderr are appended. */
  readonly log: string;
  /** Whether it can be used now. Asked until it says yes. */
  readonly ready: () => Promise<boolean>;
}

/** A running server. */
export class Daemon {
  readonly #process: ChildProcess;
  readonly #ended: Promise<string>;
  #running = true;

  private constructor(child: ChildProcess, ended: Promise<string>) {
    this.#process = child;
    this.#ended = ended.finally(() => {
      this.#running = false;
    });
  }

  /**
   * Starts a server and waits until it is ready. Rejects, with the end of what
   * it printed, if it exits before that or takes too long.
   */
  static async start(settings: DaemonSettings): Promise<Daemon> {
    const log = openSync(settings.log, "a");
    const logStart = fstatSync(log).size;
    // A file and not a pipe: a test that is slow to read must not block the server.
    const child = spawn(settings.command, settings.arguments, {
      stdio: ["ignore", log, log],
      env: { ...settings.environment },
    });
    closeSync(log);
    const ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(`could not be run: ${error.message}`));
      child.once("exit", (code, signal) => resolve(`exited with ${signal ?? code}`));
    });
    const daemon = new Daemon(child, ended);
    if (child.pid !== undefined) endWithTests(child.pid, ended);

    const failure = await Promise.race([ended, daemon.#becomeReady(settings.ready)]);
    if (failure === undefined) return daemon;
    await daemon.kill();
    const printed = (await readFile(settings.log)).subarray(logStart).toString();
    const tail = printed.slice(-LOG_TAIL_CHARACTERS).trim();
    throw new Error(`${settings.command} ${failure}; its output ended with:\n${tail}`);
  }

  /** Resolves once it is ready, or with what is wrong. */
  async #becomeReady(ready: () => Promise<boolean>): Promise<string | undefined> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (this.#running) {
      if (await ready()) return undefined;
      if (Date.now() > deadline) return `was not ready after ${START_TIMEOUT_MS} ms`;
      await delay(POLL_MS);
    }
    return await this.#ended;
  }

  /**
   * Asks it to end (SIGTERM) and waits until it has; makes it if it takes too long.
   * Resolves with how it ended, now or before: `exited with 0`.
   */
  async stop(): Promise<string> {
    const timer = setTimeout(() => this.#signal("SIGKILL"), STOP_TIMEOUT_MS);
    const ended = await this.#end("SIGTERM");
    clearTimeout(timer);
    return ended;
  }

  /** Ends it without a warning (SIGKILL), as a crash would, and waits until it is gone. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: NodeJS.Signals): Promise<string> {
    this.#signal(signal);
    return await this.#ended;
  }

  /** Not with the child's own `kill`: Deno then reports the signal as its end, whatever its exit code. */
  #signal(signal: NodeJS.Signals): void {
    if (!this.#running || this.#process.pid === undefined) return;
    try {
      process.kill(this.#process.pid, signal);
    } catch (error) {
      // It has just ended by itself.
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }
}

/**
 * Kills the process if the tests die without stopping it. They cannot do that
 * themselves when they are killed, so a shell waits at the end of a pipe: a line
 * means that the process has ended by itself, end of file that the tests are gone.
 */
function endWithTests(pid: number, ended: Promise<string>): void {
  const script = 'trap "" HUP INT TERM; read -r _ || kill -KILL "$1"';
  const watchdog = spawn("/bin/sh", ["-c", script, "watchdog", String(pid)], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  watchdog.stdin.on("error", () => {});
  void ended.then(() => watchdog.stdin.end("ended\n"));
}

/**
 * Runs `start` with free ports, and again with others if one was taken between
 * the look and the use.
 */
export async function onFreePorts<T>(
  count: number,
  start: (ports: readonly number[]) => Promise<T>,
): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await start(await freePorts(count));
    } catch (error) {
      if (attempt === 3 || !String(error).includes("address already in use")) throw error;
    }
  }
}

/** Whether something accepts TCP connections on this port of 127.0.0.1. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Asks `probe` until it returns a value, or `undefined` if the time is over first. */
export async function eventually<T>(
  timeoutMs: number,
  probe: () => Promise<T | undefined>,
): Promise<T | undefined> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined || Date.now() > deadline) return value;
    await delay(POLL_MS);
  }
}
