// Measures what each byte of hostile streams costs the executable, as a multiple of what plain JSON spans cost.
// Use: scripts/bench hostile [--seconds N] [--only TEXT,…] [--limit N]
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { hostileStreams, plainJson } from "../../test/hostile/payloads.ts";
import { processSeconds } from "./machine.ts";
import { startForwarder, startStub } from "./processes.ts";

/**
 * What is compiled for a stream is compiled by then, and a guest has used up the invalid payloads that it may send at
 * once, milliseconds.
 */
const WARM_UP_MS = 1_050;
/** The forwarder's text of metrics is reused for a second, so it is asked for no more often, milliseconds. */
const METRICS_MS = 1_050;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "1" },
    only: { type: "string", default: "" },
    limit: { type: "string", default: "4" },
  },
});
const measureMs = Math.max(METRICS_MS, Number(values.seconds) * 1000);
const limit = Number(values.limit);

/** The process that writes. */
class Load {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(socket: string) {
    const script = fileURLToPath(new URL("hostile-load.ts", import.meta.url));
    this.#child = spawn(process.execPath, [script, socket], { stdio: ["pipe", "pipe", "inherit"] });
    if (this.#child.stdout === null) throw new Error("no standard output");
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Begins with a stream. */
  async begin(name: string): Promise<void> {
    await this.#ask(name);
  }

  /** How often it has connected since it began with the stream. */
  async connections(): Promise<number> {
    return Number(await this.#ask(""));
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }

  async #ask(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the load has ended");
    return value;
  }
}

interface Cost {
  readonly name: string;
  /** CPU time of the forwarder, all threads. */
  readonly nanosecondsPerByte: number;
  readonly megabytesPerSecond: number;
  /** How often it connected again, because it had been disconnected. */
  readonly connections: number;
}

/** A port that nobody listens at. */
function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  server.stop();
  return server.port;
}

/**
 * How many bytes the forwarder has read of guests. What it has been sent is more, because nothing is read of a
 * connection that it ends.
 */
async function receivedBytes(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const [, bytes] = /^kata_trace_forwarder_received_bytes_total\{[^}]*vsock[^}]*\} (\d+)/m.exec(text) ?? [];
  if (bytes === undefined) throw new Error("the metrics have no received bytes");
  return Number(bytes);
}

/** Runs a forwarder, and measures what streams cost it. */
async function measureStreams(names: readonly string[], withoutWebAssembly: boolean): Promise<Cost[]> {
  const socketPath = join(directory, withoutWebAssembly ? "plain.sock" : "hostile.sock");
  const metricsPort = freePort();
  const forwarder = await startForwarder(socketPath, { ...stub, withoutWebAssembly, metricsPort });
  const [socket = ""] = forwarder.sockets;
  const load = new Load(socket);
  try {
    const costs: Cost[] = [];
    for (const name of names) {
      await load.begin(name);
      await sleep(WARM_UP_MS);
      const connected = await load.connections();
      const before = await receivedBytes(metricsPort);
      const [began, cpu] = [performance.now(), processSeconds(forwarder.pid)];
      await sleep(measureMs);
      const bytes = await receivedBytes(metricsPort) - before;
      costs.push({
        name,
        nanosecondsPerByte: (processSeconds(forwarder.pid) - cpu) * 1e9 / bytes,
        megabytesPerSecond: bytes / 1e3 / (performance.now() - began),
        connections: await load.connections() - connected,
      });
    }
    return costs;
  } finally {
    load.stop();
    await forwarder.kill();
  }
}

const directory = mkdtempSync(join(os.tmpdir(), "ktf-hostile-"));
chmodSync(directory, 0o755);
const stub = await startStub();
try {
  const plain = plainJson().name;
  // The first times are for compiling.
  const plainCosts = await measureStreams([plain, plain, plain, plain], true);
  const baseline = Math.min(...plainCosts.map(({ nanosecondsPerByte }) => nanosecondsPerByte));
  const names = hostileStreams().map(({ name }) => name).filter((name) =>
    values.only.split(",").some((part) => name.includes(part))
  );
  const costs = (await measureStreams([plain, plain, ...names], false)).slice(1);
  process.stdout.write(
    `Plain JSON spans cost ${baseline.toFixed(1)} ns a byte, decoded in TypeScript.\n\n` +
      "| stream | ns a byte | times plain JSON | MB/s | connections |\n|---|---|---|---|---|\n",
  );
  for (const cost of costs.sort((a, b) => b.nanosecondsPerByte - a.nanosecondsPerByte)) {
    const { name, nanosecondsPerByte, megabytesPerSecond, connections } = cost;
    const times = (nanosecondsPerByte / baseline).toFixed(1);
    process.stdout.write(
      `| ${name} | ${nanosecondsPerByte.toFixed(1)} | ${times} | ${megabytesPerSecond.toFixed(0)} | ${connections} |\n`,
    );
  }
  const over = costs.filter(({ nanosecondsPerByte }) => nanosecondsPerByte > limit * baseline);
  process.stdout.write(`\n${over.length} of ${costs.length} cost more than ${limit} times plain JSON\n`);
  process.exitCode = over.length > 0 ? 1 : 0;
} finally {
  stub.stop();
  rmSync(directory, { recursive: true, force: true });
}
