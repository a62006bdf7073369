import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { IS_ROOT } from "../../support/root.ts";
import { until } from "../../support/until.ts";

/** The executable under test, made by `scripts/build` or named by `KTF_EXECUTABLE`. */
export const EXECUTABLE: string = process.env["KTF_EXECUTABLE"] ??
  fileURLToPath(new URL("../../../dist/kata-trace-forwarder", import.meta.url));

/** The release, as package.json has it. */
export const PACKAGE_VERSION: string = (JSON.parse(
  readFileSync(new URL("../../../package.json", import.meta.url), "utf8"),
) as { readonly version: string }).version;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A clean stop, a failed start, and a stop at which something accepted could not be delivered. */
export const CLEAN: Exit = { code: 0, signal: null };
export const FAILED: Exit = { code: 1, signal: null };
export const LOST: Exit = { code: 2, signal: null };

/** Asserts that a failed start says why in one line on standard error that begins with the program's name. */
export function assertOneLine(stderr: string, reason: RegExp): void {
  assert.match(stderr, /^kata-trace-forwarder: [^\n]+\n$/);
  assert.match(stderr, reason);
}

/** How a process is run. */
export interface RunOptions {
  /** Besides `PATH` and root's `--user`. Nothing else of the tests' own environment is passed on. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A program and its arguments to run the executable through, such as `setpriv`. */
  readonly through?: readonly string[];
  readonly executable?: string;
  /** Where standard output goes; default: the test reads it. */
  readonly stdout?: "pipe" | number;
  /** Further descriptors of the process, from 3 on. */
  readonly descriptors?: readonly number[];
}

/** Makes the transport give up a request soon, so that an outage is noticed. */
export const IMPATIENT: RunOptions = { env: { OTEL_EXPORTER_OTLP_TIMEOUT: "300" } };

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A process of the executable, which is killed when it goes out of scope if it has not ended. */
export class Running implements AsyncDisposable {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly exited: Promise<Exit>;
  exit: Exit | undefined;

  constructor(args: readonly string[], options: RunOptions = {}) {
    const [command = "", ...rest] = [
      ...options.through ?? [],
      options.executable ?? EXECUTABLE,
      ...args,
    ];
    const { PATH = "/usr/bin:/bin" } = process.env;
    // The same user on each machine, whether or not the package has made one.
    const user = IS_ROOT && { KATA_TRACE_FORWARDER_USER: "nobody" };
    this.child = spawn(command, rest, {
      env: { PATH, ...user, ...options.env },
      stdio: ["ignore", options.stdout ?? "pipe", "pipe", ...options.descriptors ?? []],
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    running.add(this.child);
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => this.stdout += text);
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => this.stderr += text);
    this.exited = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      // `close` comes after the streams have been read to their ends.
      this.child.once("close", (code, signal) => {
        running.delete(this.child);
        resolve(this.exit = { code, signal });
      });
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.exit === undefined) this.child.kill("SIGKILL");
    await this.exited;
  }
}

/** Runs the executable to its end. */
export async function runToEnd(
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  await using run = new Running(args, options);
  await until(() => run.exit !== undefined, `the end of ${args.join(" ")}`);
  const { code } = await run.exited;
  return { code, stdout: run.stdout, stderr: run.stderr };
}
