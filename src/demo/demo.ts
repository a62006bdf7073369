import { Buffer } from "node:buffer";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import { parseCommandLine } from "../options/cli.ts";
import { startForwarder } from "../forwarder.ts";
import { LineWriter } from "../base/line-writer.ts";
import { createLogger, type Logger, type LogLevel, printable } from "../base/log.ts";
import type { SpanRecord } from "../otlp/json-record.ts";
import type { Settings } from "../pipeline/settings.ts";
import { openPrivileges } from "../host/privileges.ts";
import { VERSION } from "../base/version.ts";
import { differences, type ExpectedSpan } from "./compare.ts";
import { DemoReceiver } from "./receiver.ts";
import { replay } from "./replay.ts";
import { SESSION_FRAMES, SESSION_SPANS } from "./session.ts";
import { duration } from "../view/terminal/terminal-text.ts";
import { waterfall, type WaterfallSpan, type WaterfallStyle } from "../view/terminal/waterfall.ts";

/** What the command line says of the demo. */
export interface DemoOptions {
  /** Columns; absent: the terminal's. */
  readonly width?: number;
  /** What to show of the forwarder's log, on standard error. */
  readonly logLevel: LogLevel;
}

/** Starts a forwarder as the `run` command does. */
export type StartForwarder = (
  settings: Settings,
  rooms: { readonly log: Logger },
) => Promise<{ stop(): Promise<number> }>;

/** Columns where there is no terminal. */
const DEFAULT_WIDTH = 100;
/** How long the spans may take through the forwarder, milliseconds: a hundred times what they need. */
const ARRIVAL_TIMEOUT_MS = 10_000;
/** Differences told; further ones are counted. */
const MOST_DIFFERENCES = 20;
/** The last part of the VMM's socket's path. */
const SOCKET_NAME = "demo.hvsock";

/**
 * Proves the whole path: replays a recorded sandbox session into a real hybrid socket, through a forwarder as it always
 * runs, to an OTLP/HTTP receiver in this process; draws the trace that arrived, and compares every field of every span
 * with what the recorder knew. Resolves with the exit code: 0 if all is as it was sent, else 1. Rejects where the
 * forwarder cannot start.
 */
export async function runDemo(
  options: DemoOptions,
  write: (text: string) => void,
  start: StartForwarder = startForwarder,
  arrivalTimeoutMs = ARRIVAL_TIMEOUT_MS,
): Promise<number> {
  const session = new Uint8Array(embedded(SESSION_FRAMES));
  const recorded = JSON.parse(embedded(SESSION_SPANS).toString()) as ExpectedSpan[];
  const style = terminalStyle(options.width);
  const began = performance.now();
  const { receiver, sandbox, problems } = await forward(options, start, async (path, receiver) => {
    await replay(path, session);
    await receiver.waitFor(recorded.length, arrivalTimeoutMs);
  });
  const elapsed = BigInt(Math.round((performance.now() - began) * 1e6));

  const expected = recorded.map((span) => withHostAttributes(span, sandbox));
  problems.push(...receiver.problems, ...differences(expected, receiver.spans));
  const lines = [
    `kata-trace-forwarder ${VERSION}: a recorded sandbox session, from a guest's socket to OTLP/HTTP`,
    "",
    ...waterfall(receiver.spans.map(forWaterfall), style),
    "",
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
      `${receiver.requests === 1 ? "request" : "requests"}, ${duration(elapsed, style.unicode ? "µ" : "u")}`,
  );
  write(`${lines.join("\n")}\n`);
  return problems.length === 0 ? 0 : 1;
}

/** Puts a forwarder between a socket and a receiver, for as long as `send` takes; nothing is left behind. */
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

/** Root becomes another user while the forwarder starts, who then plays the guest and cleans up. */
async function handOver(directory: string, user: string | undefined): Promise<void> {
  const { owner } = await openPrivileges(user);
  if (owner !== undefined) chownSync(directory, owner.uid, owner.gid);
}

/** As the command line makes them: the environment does not count, so that the demo is the same everywhere. */
function demoSettings(socketPath: string, url: string): Settings {
  const command = parseCommandLine([
    ...["--socket-path", socketPath, "--otlp-endpoint", url],
    // The directory is its owner's alone.
    ...["--socket-mode", "0666"],
  ], {});
  if (command.kind !== "run") throw new Error("the demo's own options do not run the forwarder");
  return command.settings;
}

function demoLog(level: LogLevel): Logger {
  // Waits 100 ms for a reader that does not read.
  const { write } = new LineWriter(process.stderr.fd, { maxWaitMs: 100 });
  return createLogger({ level, format: "text", colour: colourful(process.stderr), write });
}

/** https://no-color.org: set and not empty means no colours. */
function colourful(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env["NO_COLOR"];
}

function terminalStyle(width: number | undefined): WaterfallStyle {
  const { LC_ALL, LC_CTYPE, LANG } = process.env;
  return {
    width: width ?? Math.max(process.stdout.columns ?? DEFAULT_WIDTH, 40),
    colour: colourful(process.stdout),
    // The order of setlocale(3).
    unicode: /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || ""),
  };
}

function embedded(base64: string): Buffer {
  return gunzipSync(Buffer.from(base64, "base64"));
}

/** What the forwarder lays over a guest's resource. */
function withHostAttributes(span: ExpectedSpan, sandbox: string): ExpectedSpan {
  const host = { "service.name": "kata-agent", "kata.sandbox.id": sandbox };
  const added = Object.entries(host).map(([key, value]) => ({
    key,
    value: { stringValue: value },
  }));
  return { ...span, resource: { attributes: [...span.resource.attributes, ...added] } };
}

function forWaterfall(span: SpanRecord): WaterfallSpan {
  /** `STATUS_CODE_ERROR` (opentelemetry/proto/trace/v1/trace.proto). */
  const failed = span.status.code === 2;
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    start: BigInt(span.startTimeUnixNano),
    end: BigInt(span.endTimeUnixNano),
    ...(failed && { error: span.status.message }),
  };
}
