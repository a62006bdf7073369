import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { ownCommand } from "../../base/own-command.ts";
import type { ViewerSettings } from "../../pipeline/settings.ts";
import { TOKEN_BYTES } from "../server/session.ts";
import type { ViewerReport } from "./protocol.ts";
import { type ProcessSettings, VIEWER_VARIABLE } from "./viewer-settings.ts";

/** Between the end of a viewer and the start of the next one, milliseconds; doubled up to the most while it fails. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 60_000;
/** A viewer that has run so long was not at fault from its start on, milliseconds. */
const STABLE_MS = 60_000;

/**
 * Runs the viewer's process, and starts it again whenever it is killed: the forwarder, which reads guests' bytes, may
 * start no programs. The supervisor reads nothing of what the forwarder sends. It only holds the pipe open from which
 * each viewer reads, so that what is in it waits for the next one.
 *
 * The page's address and its session stay the same, and so does a temporary store. Resolves with the exit code once the
 * forwarder has closed the pipe, or if the first viewer cannot start.
 */
export async function supervisorMain(settings: ProcessSettings): Promise<number> {
  // The forwarder decides when this ends: a terminal's Ctrl-C and a service manager's SIGTERM go to all processes.
  for (const signal of ["SIGINT", "SIGHUP", "SIGTERM"] as const) process.on(signal, () => {});
  const directory = settings.viewer.store === undefined
    ? mkdtempSync(join(tmpdir(), "kata-trace-forwarder-"))
    : undefined;
  try {
    const store = settings.viewer.store ?? join(directory as string, "traces");
    const token = settings.token ?? randomBytes(TOKEN_BYTES).toString("base64url");
    return await supervise({ ...settings, role: "viewer", token, viewer: { ...settings.viewer, store } });
  } finally {
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  }
}

async function supervise(settings: ProcessSettings): Promise<number> {
  let { viewer } = settings;
  let pause = FIRST_PAUSE_MS;
  let hasServed = false;
  const forwarder = process.ppid;
  for (;;) {
    const began = performance.now();
    const how = await runViewer({ ...settings, viewer }, (address) => {
      hasServed = true;
      viewer = { ...viewer, address };
    });
    if (how === 0) return 0;
    if (!hasServed) return 1;
    report({ event: "log", level: "error", message: "the viewer has ended: it is started again", error: String(how) });
    if (performance.now() - began > STABLE_MS) pause = FIRST_PAUSE_MS;
    await sleep(pause);
    // A viewer that cannot start does not find out that the forwarder has been killed.
    if (process.ppid !== forwarder) return 1;
    pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
  }
}

/**
 * Runs a viewer to its end; resolves with its exit code, or the signal that killed it. Its reports are handed on in
 * whole lines, because a viewer may be killed in the middle of one.
 *
 * @param served is called with the address of its page.
 */
function runViewer(
  settings: ProcessSettings,
  served: (address: NonNullable<ViewerSettings["address"]>) => void,
): Promise<number | string> {
  const [program = "", ...words] = ownCommand();
  const child: ChildProcess = spawn(program, words, {
    stdio: ["inherit", "pipe", "inherit"],
    env: { ...process.env, [VIEWER_VARIABLE]: JSON.stringify(settings) },
  });
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      const said = JSON.parse(line) as ViewerReport;
      if (said.event === "serving") served(addressOf(said.url));
      report(said);
    }
  });
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    // "close" comes after its last words have been read.
    child.once("close", (code, signal) => resolve(signal ?? code ?? 0));
  });
}

function addressOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port) };
}

/** Writes one line to the forwarder. */
function report(line: ViewerReport): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
