import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { LoadEncoding } from "./frames.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The compiled executable that is measured. */
export const EXECUTABLE = here("../../dist/kata-trace-forwarder");
/** The forwarder's default port, which its socket's name ends with. */
const VSOCK_PORT = 10240;

/** The arguments of a load's process. */
export interface Load {
  /** The forwarder's sockets, which the guests connect to in turns. */
  readonly sockets: readonly string[];
  /** Recorded frames, see `readFrames`. */
  readonly fixture: string;
  readonly encoding: LoadEncoding;
  readonly spanBytes: number;
  readonly guests: number;
  /** Of all guests together. */
  readonly spans: number;
  /** Spans a second from all guests together; 0: as fast as the forwarder reads them. */
  readonly rate: number;
  /** Where requests are sent to over OTLP/HTTP, instead of frames to the socket. */
  readonly otlpPort?: number;
}

/** The figures of a load. */
export interface LoadFigures {
  /** From the first byte to the last. */
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** What the stub has counted since it was reset. */
export interface StubFigures {
  readonly spans: number;
  /** Of `Span` messages. */
  readonly bytes: number;
  readonly requests: number;
  /** Since its start. */
  readonly cpuSeconds: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

/** A running forwarder. */
export interface Forwarder {
  readonly pid: number;
  /** Where guests connect to, a socket for each sandbox. */
  readonly sockets: readonly string[];
  /** Milliseconds from the start of the process until it listened. */
  readonly startMs: number;
  /** Asks it to stop, and resolves with its exit code. */
  stop(): Promise<number | null>;
  /** Ends it at once. */
  kill(): Promise<void>;
}

/** A program that starts another one, for example an emulator. */
export interface Launcher {
  /** The program and its own arguments, after which the other one's command follows. */
  readonly command: readonly [program: string, ...args: string[]];
  /** The user and group that it becomes; absent: the user and group do not change. */
  readonly user?: number;
}

/** How a program is started. */
export interface LaunchOptions {
  readonly launcher?: Launcher | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** Whether what it prints is thrown away. */
  readonly isSilent?: boolean;
}

/** Starts a program, directly or by a launcher. Its output is the benchmark's. */
export function launch(
  program: string,
  args: readonly string[],
  { launcher, env = process.env, isSilent = false }: LaunchOptions = {},
): ChildProcess {
  const [first, ...rest] = [...launcher?.command ?? [], program, ...args] as [string, ...string[]];
  const output = isSilent ? "ignore" : "inherit";
  return spawn(first, rest, {
    stdio: ["ignore", output, output],
    env,
    ...(launcher?.user !== undefined && { uid: launcher.user, gid: launcher.user }),
  });
}

/** How a forwarder is started. */
export interface ForwarderOptions {
  /** Where the collector is. */
  readonly port: number;
  /** Absent: it is started directly. */
  readonly launcher?: Launcher;
  /** Another copy of the executable that is measured. */
  readonly executable?: string;
  readonly protocol?: "grpc" | "http/protobuf";
  /** Absent: spans are held in memory. */
  readonly spool?: string;
  /** Without WebAssembly everything is decoded in TypeScript. */
  readonly withoutWebAssembly?: boolean;
  readonly compression?: "gzip";
  /** Where metrics are served; absent: nowhere. */
  readonly metricsPort?: number;
  /** How many sandboxes it listens for, each an account of its own; default 1. */
  readonly sandboxes?: number;
}

/** Starts the forwarder and waits until it listens. */
export async function startForwarder(
  socketPath: string,
  options: ForwarderOptions,
): Promise<Forwarder> {
  const { port, protocol = "http/protobuf", spool, compression, withoutWebAssembly = false, metricsPort } = options;
  const { launcher, executable = EXECUTABLE, sandboxes = 1 } = options;
  const began = performance.now();
  const paths = [socketPath];
  for (let i = 1; i < sandboxes; i++) {
    mkdirSync(`${socketPath}.${i}`);
    // The forwarder is another user once it listens.
    chmodSync(`${socketPath}.${i}`, 0o777);
    paths.push(join(`${socketPath}.${i}`, "sock"));
  }
  const args = ["--log-level", "error", ...paths.flatMap((path) => ["--socket-path", path])];
  args.push("--otlp-endpoint", `http://127.0.0.1:${port}`, "--otlp-protocol", protocol);
  if (spool !== undefined) args.push("--spool-dir", spool);
  if (metricsPort !== undefined) args.push("--metrics", `127.0.0.1:${metricsPort}`);
  const sockets = paths.map((path) => `${path}_${VSOCK_PORT}`);
  const env = {
    ...process.env,
    ...(compression !== undefined && { OTEL_EXPORTER_OTLP_COMPRESSION: compression }),
    // One of JavaScriptCore's options (Source/JavaScriptCore/runtime/OptionsList.h).
    ...(withoutWebAssembly && { BUN_JSC_useWasm: "0" }),
  };
  const child = launch(executable, args, { launcher, env });
  return await whenItListens(child, sockets, () => sockets.every((socket) => existsSync(socket)), began);
}

/** Resolves once a process can be used. @param began when it was started. */
export async function whenItListens(
  child: ChildProcess,
  sockets: readonly string[],
  isReady: () => boolean | Promise<boolean>,
  began = performance.now(),
): Promise<Forwarder> {
  const exited = once(child, "exit");
  // A socket gets its name only when it listens.
  while (!await isReady()) {
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const startMs = performance.now() - began;
  const end = async (signal: "SIGTERM" | "SIGKILL"): Promise<number | null> => {
    child.kill(signal);
    const [code] = await exited as [number | null];
    return code;
  };
  return {
    pid: child.pid as number,
    sockets,
    startMs,
    stop: () => end("SIGTERM"),
    kill: async () => void await end("SIGKILL"),
  };
}

/** The counting collector, in a process of its own. */
export interface Stub {
  /** Of OTLP/HTTP. */
  readonly port: number;
  readonly grpcPort: number;
  figures(): Promise<StubFigures>;
  /** Starts counting again, with latencies if asked for. */
  reset(latency?: boolean): Promise<void>;
  /** Waits until this many spans have arrived. Throws if none arrives for five seconds. */
  waitFor(spans: number): Promise<StubFigures>;
  stop(): void;
}

/** Starts the counting collector. */
export async function startStub(): Promise<Stub> {
  const child = spawn(process.execPath, [here("collector-stub.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout, "data") as [Buffer];
  const [port = 0, grpcPort = 0] = line.toString().split(" ").map(Number);
  const url = (path: string): string => `http://127.0.0.1:${port}/${path}`;
  const figures = async (): Promise<StubFigures> => (await (await fetch(url("figures"))).json()) as StubFigures;
  return {
    port,
    grpcPort,
    figures,
    reset: async (latency = false) => void await fetch(url(latency ? "reset?latency" : "reset")),
    waitFor: async (spans) => {
      let last = -1;
      for (let still = 0; still < 100;) {
        const now = await figures();
        if (now.spans >= spans) return now;
        still = now.spans === last ? still + 1 : 0;
        last = now.spans;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      throw new Error(`only ${last} of ${spans} spans arrived`);
    },
    stop: () => void child.kill(),
  };
}

/** Starts a process of guests. */
export function startLoad(load: Load): { figures: Promise<LoadFigures>; child: ChildProcess } {
  const child = spawn(process.execPath, [here("load.ts"), JSON.stringify(load)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const figures = async (): Promise<LoadFigures> => {
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => text += chunk.toString());
    const [code] = await once(child, "close") as [number | null];
    if (code !== 0) throw new Error(`the load ended with ${code}`);
    return JSON.parse(text) as LoadFigures;
  };
  return { figures: figures(), child };
}
