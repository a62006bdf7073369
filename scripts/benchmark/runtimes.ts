// What runtimes' spans cost, and how long runtimes wait.
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { decodeJaegerThrift } from "../../src/decode/jaeger-thrift/decoder.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { concatenate, frame } from "../../test/decode/support/fixtures.ts";
import { jaegerBodies } from "../../test/decode/support/jaeger-fixtures.ts";
import { HttpClient } from "../../test/receivers/support/http-post.ts";
import { exporterProgram } from "../../test/runtime-exporter/programs.ts";
import { freePort } from "../../test/support/ports.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { until } from "../../test/support/until.ts";
import { median } from "./machine.ts";
import type { Context, Measured } from "./parts.ts";
import { EXECUTABLE } from "./processes.ts";
import type { Row } from "./report.ts";

/** Rounds of decoding, and how long each is, milliseconds. */
const ROUNDS = 9;
const ROUND_MS = 300;
/** Requests that are timed in a round, one after the other, and guests that flood meanwhile. */
const REQUESTS = 5_000;
const FLOODING_GUESTS = 4;
/** The promise for the slowest of a hundred, milliseconds. */
const MOST_WAITING_MS = 1;
const KEEP = { keepHttp2Noise: true };

/** The benchmark's part about runtimes. */
export async function measureRuntimes({ rounds }: Context): Promise<Measured> {
  const latency = await measureLatency(rounds);
  return {
    rows: [
      decodeRow("Jaeger Thrift of the Go shim", "go-session"),
      decodeRow("Jaeger Thrift of runtime-rs", "rust-session"),
      ...([["median", "p50"], ["p99", "p99"], ["longest", "most"]] as const).map(([name, quantile]) =>
        latencyRow(
          name,
          latency.map((round) => round.forwarder[quantile]),
          latency.map((round) => round.floor[quantile]),
        )
      ),
    ],
    notes: process.env["KTF_RUNTIME_EXPORTERS"] === undefined
      ? ["Jaeger's Go decoder was left out, because KTF_RUNTIME_EXPORTERS is not set."]
      : [],
    raw: { latency },
  };
}

/** One row of waiting times: the median of the rounds, beside the same of a server that only answers. */
function latencyRow(name: string, forwarder: readonly number[], floor: readonly number[]): Row {
  const value = median(forwarder);
  return {
    figure: `a runtime's wait for an answer, ${name}, while ${FLOODING_GUESTS} guests flood and the collector is away`,
    value,
    unit: "ms",
    spread: [Math.min(...forwarder), Math.max(...forwarder)],
    ...name === "p99" && { goal: { kind: "max", value: MOST_WAITING_MS } },
    comparisons: [{
      with: `${median(floor).toFixed(2)} ms, what a server that answers 202 to everything takes meanwhile`,
      ratio: value / median(floor),
    }],
  };
}

function decodeRow(figure: string, set: "go-session" | "rust-session"): Row {
  const bodies = jaegerBodies(set);
  const { nanoseconds, passes } = decodeTime(bodies);
  const theirs = goDecodeTime(bodies, Math.ceil(passes / 4));
  return {
    figure: `${figure} → OTLP, one core`,
    value: 1000 / nanoseconds,
    unit: "million spans/s",
    ...(theirs !== undefined && {
      comparisons: [{
        with: "the speed of Jaeger's decoder and the Collector's translator in Go",
        ratio: theirs / nanoseconds,
      }],
    }),
  };
}

/** Processor time of a span, nanoseconds: the median of several rounds; and how often all bodies were decoded. */
function decodeTime(bodies: readonly Uint8Array[]): { readonly nanoseconds: number; readonly passes: number } {
  const spans = new EncodedSpans();
  const rounds: number[] = [];
  let passes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let count = 0;
    const began = performance.now();
    const before = process.cpuUsage().user;
    do {
      for (const body of bodies) {
        spans.clear();
        decodeJaegerThrift(body, 0, body.length, spans, KEEP);
        count += spans.count;
      }
      passes++;
    } while (performance.now() - began < ROUND_MS);
    rounds.push((process.cpuUsage().user - before) * 1000 / count);
  }
  return { nanoseconds: median(rounds), passes };
}

/** The same of the Collector's own decoder: the same bodies to the same protobuf. Undefined if it is not built. */
function goDecodeTime(bodies: readonly Uint8Array[], times: number): number | undefined {
  if (process.env["KTF_RUNTIME_EXPORTERS"] === undefined) return undefined;
  const { stdout, stderr, status } = spawnSync(exporterProgram("translate"), ["bench", String(times)], {
    input: concatenate(bodies.map(frame)),
    env: { ...process.env, GOMAXPROCS: "1" },
  });
  if (status !== 0) throw new Error(String(stderr));
  return Number(stdout.toString());
}

interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

/** A round: the forwarder, and the least that this machine allows at the time. */
interface LatencyRound {
  readonly forwarder: Latency;
  readonly floor: Latency;
}

/** How long a runtime waits for the answers to its spans, milliseconds. */
async function measureLatency(count: number): Promise<LatencyRound[]> {
  using directory = temporaryDirectory();
  const socketPath = join(directory.path, "clh.sock");
  const [collector, jaeger, floor] = [await freePort(), await freePort(), await freePort()];
  const forwarder = spawn(EXECUTABLE, [
    ...["--socket-path", socketPath, "--otlp-endpoint", `http://127.0.0.1:${collector}`, "--wait-for-collector"],
    ...["--jaeger-listen", String(jaeger), "--when-full", "drop-oldest", "--shutdown-timeout", "100ms"],
  ], { stdio: ["ignore", "pipe", "inherit"] });
  let log = "";
  forwarder.stdout.setEncoding("utf8").on("data", (text: string) => log += text);
  await until(() => log.includes('"msg":"listening"'), "the forwarder listens");
  // In processes of their own, because what they cost must not be measured.
  const server = spawn(process.execPath, [script("./accept-all.ts"), String(floor)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => server.stdout.once("data", resolve));
  const flood = spawn(process.execPath, [script("./flood.ts"), `${socketPath}_10240`, String(FLOODING_GUESTS)], {
    stdio: "ignore",
  });
  try {
    await until(() => log.split('"msg":"guest connected"').length > FLOODING_GUESTS, "the guests write");
    const rounds: LatencyRound[] = [];
    for (let i = 0; i < count; i++) {
      rounds.push({ floor: await latencyAt(floor), forwarder: await latencyAt(jaeger) });
    }
    return rounds;
  } finally {
    for (const child of [flood, forwarder, server]) child.kill("SIGKILL");
  }
}

async function latencyAt(port: number): Promise<Latency> {
  const client = new HttpClient(port);
  const bodies = jaegerBodies("go-session");
  const times: number[] = [];
  for (let i = 0; i < REQUESTS; i++) {
    const began = performance.now();
    const body = bodies[i % bodies.length] as Uint8Array;
    const { status } = await client.post("/api/traces", body, { "content-type": "application/x-thrift" });
    if (status !== 202) throw new Error(`a runtime was answered ${status}`);
    times.push(performance.now() - began);
  }
  client.close();
  times.sort((left, right) => left - right);
  const at = (share: number): number => times[Math.floor(share * (times.length - 1))] as number;
  return { p50: at(0.5), p99: at(0.99), most: at(1) };
}

function script(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}
