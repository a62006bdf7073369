import { Buffer } from "node:buffer";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { brotliDecompressSync } from "node:zlib";
import { parseCommandLine } from "../options/cli.ts";
import { startForwarder } from "../forwarder.ts";
import { LineWriter } from "../base/line-writer.ts";
import { createLogger, type Logger, type LogLevel, printable } from "../base/log.ts";
import type { SpanRecord } from "../otlp/json-record.ts";
import { recordToPart } from "../otlp/record-encoder.ts";
import type { Settings } from "../pipeline/settings.ts";
import { openPrivileges } from "../host/privileges.ts";
import { VERSION } from "../base/version.ts";
import { differences, type ExpectedSpan } from "./compare.ts";
import { TraceStore } from "../store/trace-store.ts";
import { DemoReceiver } from "./receiver.ts";
import { replay } from "./replay.ts";
import { SESSION_FRAMES, SESSION_SPANS } from "./session.ts";
import { serveStore } from "../view/commands/view-files.ts";
import { drawSandboxes } from "../view/terminal/draw-sandboxes.ts";
import { isColourful } from "../view/terminal/terminal-style.ts";
import { duration } from "../view/terminal/terminal-text.ts";

/** The demo's options on the command line. */
export interface DemoOptions {
  /** Columns; absent: the terminal's. */
  readonly width?: number;
  /** Whether what arrived is served as a page, too. */
  readonly view?: boolean;
  /** The least severe records of the forwarder's log that are shown on standard error. */
  readonly logLevel: LogLevel;
}

/** Starts a forwarder like the `run` command does. */
export type StartForwarder = (
  settings: Settings,
  options: { readonly log: Logger },
) => Promise<{ stop(): Promise<number> }>;

/** How long the spans may take through the forwarder, milliseconds, which is a hundred times what they need. */
const ARRIVAL_TIMEOUT_MS = 10_000;
/** Differences that are shown. Further ones are only counted. */
const MOST_DIFFERENCES = 20;
/** The name of the VMM's socket. */
const SOCKET_NAME = "demo.hvsock";

/**
 * Proves the whole path. It replays what a real agent wrote in a sandbox's life into a real hybrid socket, through an
 * ordinary forwarder, to an OTLP/HTTP receiver in this process. Then it draws the sandbox that arrived, and compares
 * every field of every span with what an independent reader found in the same bytes. Resolves with the exit code: 0 if
 * everything is as it was sent, else 1. Rejects if the forwarder cannot start.
 */
export async function runDemo(
  options: DemoOptions,
  write: (text: string) => void,
  start: StartForwarder = startForwarder,
  arrivalTimeoutMs = ARRIVAL_TIMEOUT_MS,
): Promise<number> {
  const session = new Uint8Array(embedded(SESSION_FRAMES));
  const recorded = JSON.parse(embedded(SESSION_SPANS).toString()) as ExpectedSpan[];
  const began = performance.now();
  const { receiver, sandbox, problems } = await forward(options, start, async (path, receiver) => {
    await replay(path, session);
    await receiver.waitFor(recorded.length, arrivalTimeoutMs);
  });
  const elapsed = BigInt(Math.round((performance.now() - began) * 1e6));

  const expected = recorded.map((span) => withHostAttributes(span, sandbox));
  problems.push(...receiver.problems, ...differences(expected, receiver.spans));
  using arrived = storeOf(receiver.spans);
  const lines = [
    `kata-trace-forwarder ${VERSION}: the recorded spans of a real agent, from a guest's socket to OTLP/HTTP`,
    "",
    drawSandboxes(arrived.store, "", options.width),
    ...problems.slice(0, MOST_DIFFERENCES).map((problem) => `error: ${printable(problem, 1000)}`),
  ];
  if (problems.length > MOST_DIFFERENCES) {
    lines.push(`error: and ${problems.length - MOST_DIFFERENCES} more`);
  }
  const verdict = problems.length === 0
    ? `${recorded.length} spans, every field as it was sent`
    : `FAILED: ${receiver.spans.length} of ${recorded.length} spans, see above`;
  lines.push(
    `${verdict}; ${session.length} bytes in, ${receiver.bytes} bytes out in ${receiver.requests} ` +
      `${receiver.requests === 1 ? "request" : "requests"}, ${duration(elapsed, "u")}`,
  );
  if (options.view !== true && problems.length === 0) {
    lines.push("kata-trace-forwarder demo --view shows it in a browser.");
  }
  write(`${lines.join("\n")}\n`);
  if (options.view === true) await serveStore(arrived.store, undefined, write);
  return problems.length === 0 ? 0 : 1;
}

/** Runs a forwarder between a socket and a receiver for as long as `send` takes. Nothing is left behind. */
async function forward(
  { logLevel }: DemoOptions,
  start: StartForwarder,
  send: (path: string, receiver: DemoReceiver) => Promise<void>,
) {
  const receiver = new DemoReceiver();
  const directory = mkdtempSync(join(isRoot() ? "/tmp" : tmpdir(), "kata-trace-forwarder-demo-"));
  const problems: string[] = [];
  try {
    const socketPath = join(directory, SOCKET_NAME);
    const settings = demoSettings(socketPath, await receiver.listen());
    await handOver(directory, settings.user);
    const forwarder = await start(settings, { log: demoLog(logLevel) });
    try {
      await send(`${socketPath}_${settings.listen[0].port}`, receiver);
    } finally {
      const lost = await forwarder.stop();
      if (lost > 0) problems.push(`the forwarder gave up ${lost} spans`);
    }
  } finally {
    await receiver.close();
    rmSync(directory, { recursive: true, force: true });
  }
  return { receiver, sandbox: basename(directory), problems };
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** Root becomes another user while the forwarder starts, which then plays the guest and cleans up. */
async function handOver(directory: string, user: string | undefined): Promise<void> {
  const { owner } = await openPrivileges(user);
  if (owner !== undefined) chownSync(directory, owner.uid, owner.gid);
}

/** Made from a command line without the environment, so that the demo is the same everywhere. */
function demoSettings(socketPath: string, url: string): Settings {
  const command = parseCommandLine([
    ...["--socket-path", socketPath, "--otlp-endpoint", url],
    // Only its owner can use the directory.
    ...["--socket-mode", "0666"],
    // As `demoLog` writes.
    ...["--log-format", "text"],
  ], {});
  if (command.kind !== "run") throw new Error("the demo's own options must run the forwarder");
  return command.settings;
}

function demoLog(level: LogLevel): Logger {
  // Waits 100 ms for a reader that does not read.
  const { write } = new LineWriter(process.stderr.fd, { maxWaitMs: 100 });
  return createLogger({ level, format: "text", colour: isColourful(process.stderr), write });
}

function embedded(base64: string): Buffer {
  return brotliDecompressSync(Buffer.from(base64, "base64"));
}

/** The host's attributes for a guest's resource. */
function withHostAttributes(span: ExpectedSpan, sandbox: string): ExpectedSpan {
  const host = { "service.name": "kata-agent", "kata.sandbox.id": sandbox, "kata.component": "agent" };
  const added = Object.entries(host).map(([key, value]) => ({
    key,
    value: { stringValue: value },
  }));
  const own = span.resource.attributes.filter(({ key }) => !(key in host));
  return { ...span, resource: { attributes: [...own, ...added] } };
}

/** What arrived, as the viewer has it: one sandbox with all its traces. */
function storeOf(spans: readonly SpanRecord[]): { readonly store: TraceStore } & Disposable {
  const store = TraceStore.open(":memory:", { maxBytes: Number.MAX_SAFE_INTEGER, keepMs: Infinity });
  store.add(spans.map((span) => ({ kind: "file", part: recordToPart(span) })), Date.now());
  return { store, [Symbol.dispose]: () => store.close() };
}
