/** What the system tests run, and where they put their files. */

import { accessSync, constants } from "node:fs";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** How long a test may take before it counts as hung, milliseconds: far more than it needs on a busy machine. */
export const PATIENCE = { timeout: 120_000 } as const;

const PROGRAMS = {
  KTF_EXECUTABLE: "the forwarder that scripts/build writes",
  KTF_AGENT: "the agent's side that test/agent/build builds",
  KTF_OTELCOL: "the collector that test/collector/build builds",
  KTF_JAEGER: "the Jaeger that test/collector/build builds",
} as const;

/** Path of a program, from its environment variable. Throws one line that says what is missing. */
export function program(variable: keyof typeof PROGRAMS): string {
  const path = process.env[variable];
  const wanted = `${variable} must be the path of ${PROGRAMS[variable]}: run scripts/test-system`;
  if (path === undefined || path === "") throw new Error(`${wanted}; it is not set`);
  try {
    accessSync(path, constants.X_OK);
  } catch (cause) {
    throw new Error(`${wanted}; ${path} cannot be run`, { cause });
  }
  return path;
}

/** A temporary folder of one file of tests, and what the tests started. */
export class Workshop {
  readonly #root: Promise<string>;
  readonly #cleanups: (() => Promise<unknown>)[] = [];
  #folders = 0;

  constructor() {
    this.#root = makeRoot();
    // Whoever asks for a folder is told of the failure.
    this.#root.catch(() => {});
  }

  /** A new, empty folder in it. */
  async folder(): Promise<string> {
    const path = join(await this.#root, String(this.#folders++));
    await mkdir(path);
    return path;
  }

  /** Has this ended when the tests are over, without patience: a test that wants a clean end asks for it. */
  add<T extends { stop(): Promise<unknown>; kill?(): Promise<unknown> }>(started: T): T {
    this.#cleanups.push(() => started.kill?.() ?? started.stop());
    return started;
  }

  /** Ends all that was started, and removes the folder. */
  async close(): Promise<void> {
    await Promise.all(this.#cleanups.map((cleanup) => cleanup()));
    await rm(await this.#root, { recursive: true });
  }
}

async function makeRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "ktf-system-"));
  // A forwarder that was started as root reaches its spool as another user.
  await chmod(root, 0o755);
  return root;
}
