// Measures what the trace store and its page, and --record, cost the span path, with the compiled executable: CPU and
// latency of the forwarder's own process with the viewer looked at by 100 browsers, stopped, killed, and with its
// smallest store, and with spans of an agent's size that are recorded.
// Use: scripts/bench-view [TEXT]: of the cases, those that have TEXT in their names
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import process from "node:process";
import { processSeconds } from "./machine.ts";
import { EXECUTABLE, startLoad, startStub, type Stub } from "./processes.ts";
import { printReport, type Row } from "./report.ts";

/** The forwarder's default port, which its socket's name ends with. */
const VSOCK_PORT = 10240;
const FIXTURE = "load";
const GUESTS = 10;
/** Spans a second while latency is measured, and for how long, seconds. */
const RATE = 1000;
const WARM_UP_SECONDS = 2;
const SECONDS = 8;
const BROWSERS = 100;
/** How often a browser asks for the list of sandboxes, milliseconds. */
const BROWSE_MS = 500;
/** What a store may take at least: it is full after some seconds, and makes room all the time. */
const SMALLEST_STORE = "16MiB";

interface Running {
  readonly pid: number;
  readonly socket: string;
  readonly url: string;
  stop(): Promise<number | null>;
}

async function start(directory: string, stub: Stub, name: string, args: readonly string[]): Promise<Running> {
  const socketPath = join(directory, `${name}.sock`);
  const endpoint = ["--otlp-endpoint", `http://127.0.0.1:${stub.port}`];
  const child = spawn(EXECUTABLE, ["--socket-path", socketPath, ...endpoint, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => output += text);
  const exited = once(child, "exit");
  const socket = `${socketPath}_${VSOCK_PORT}`;
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`the forwarder ended with ${child.exitCode}: ${output}`);
    await sleep(10);
  }
  return {
    pid: child.pid as number,
    socket,
    url: /http:\/\/[^"]+#token=[\w-]+/.exec(output)?.[0] ?? "",
    stop: async () => {
      child.kill("SIGTERM");
      return (await exited as [number | null])[0];
    },
  };
}

/** Reads the list of sandboxes again and again, as open pages do; returns what ends that. */
async function browse(url: string): Promise<() => void> {
  const { origin, hash } = new URL(url);
  const body = JSON.stringify({ token: hash.slice("#token=".length) });
  const session = await fetch(`${origin}/api/v1/session`, { method: "POST", body });
  const headers = { cookie: session.headers.get("set-cookie")?.split(";")[0] ?? "" };
  const timer = setInterval(() => {
    fetch(`${origin}/api/v1/sandboxes`, { headers }).then((answer) => answer.text()).catch(() => {});
  }, BROWSE_MS);
  return () => clearInterval(timer);
}

/** The viewer's process, below its supervisor. */
function viewerOf(forwarder: number): number {
  const childrenOf = (parent: number): number[] =>
    readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1] === String(parent);
      } catch {
        // It has ended.
        return false;
      }
    });
  return childrenOf(childrenOf(forwarder)[0] ?? 0)[0] ?? 0;
}

interface Case {
  readonly name: string;
  readonly args: readonly string[];
  /** What guests send; absent: small spans. */
  readonly fixture?: string;
  /** Spans a second; absent: {@link RATE}. */
  readonly rate?: number;
  readonly browsers?: number;
  /** What is done to the viewer before the load. */
  readonly signal?: "SIGSTOP" | "SIGKILL";
}

const directory = mkdtempSync(join(os.tmpdir(), "ktf-bench-view-"));
// The forwarder may have become another user.
chmodSync(directory, 0o777);

const VIEW = ["--view", "127.0.0.1:0", "--kubernetes-metadata", "off", "--log-level", "info"];
/** What a real agent wrote in the life of a sandbox, much faster than 40 sandboxes do. */
const AGENTS = { fixture: "session", rate: 4000 };
const CASES: readonly Case[] = [
  { name: "without a viewer", args: [] },
  { name: "with --view", args: VIEW },
  { name: `– ${BROWSERS} browsers that look at it`, args: VIEW, browsers: BROWSERS },
  { name: "– slow: its process stopped", args: VIEW, signal: "SIGSTOP" },
  { name: "– killed, and started again meanwhile", args: VIEW, signal: "SIGKILL" },
  { name: "– the smallest store (16 MiB)", args: [...VIEW, "--store-bytes", SMALLEST_STORE] },
  { name: "real agents' spans, not recorded", args: [], ...AGENTS },
  { name: "real agents' spans, --record", args: ["--record", join(directory, "spans.jsonl")], ...AGENTS },
];

const stub = await startStub();
const rows: Row[] = [];
try {
  for (
    const [index, { name, args, fixture = FIXTURE, rate = RATE, browsers = 0, signal }] of CASES.filter(({ name }) =>
      name.includes(process.argv[2] ?? "")
    ).entries()
  ) {
    const forwarder = await start(directory, stub, String(index), args);
    const send = async (seconds: number) => {
      const spans = rate * seconds;
      await stub.reset(true);
      const load = { sockets: [forwarder.socket], fixture, encoding: "bincode", spanBytes: 0 } as const;
      await startLoad({ ...load, guests: GUESTS, spans, rate }).figures;
      return await stub.waitFor(spans);
    };
    await send(WARM_UP_SECONDS);
    const ends = await Promise.all(Array.from({ length: browsers }, () => browse(forwarder.url)));
    const viewer = signal && viewerOf(forwarder.pid);
    if (viewer) process.kill(viewer, signal);
    const before = processSeconds(forwarder.pid);
    const { spans, latencyMs } = await send(SECONDS);
    const cpu = processSeconds(forwarder.pid) - before;
    if (spans !== rate * SECONDS) throw new Error(`${name}: ${spans} spans arrived, not ${rate * SECONDS}`);
    for (const end of ends) end();
    if (viewer && signal === "SIGSTOP") process.kill(viewer, "SIGCONT");
    rows.push({ figure: `guest's write → collector, p99, ${name}`, value: latencyMs.p99, unit: "ms" });
    rows.push({ figure: "– median", value: latencyMs.p50, unit: "ms" });
    rows.push({ figure: "– CPU of the forwarder's process", value: cpu / SECONDS * 100, unit: "% of a core" });
    if (await forwarder.stop() !== 0) throw new Error(`${name}: the forwarder lost spans`);
  }
  printReport(rows, [
    `${RATE} spans/s (of real agents ${AGENTS.rate}) from ${GUESTS} guests over OTLP/HTTP for ${SECONDS} s; every ` +
    "span arrived in each case.",
  ]);
} finally {
  stub.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
