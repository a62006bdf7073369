import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { once } from "node:events";
import { performance } from "node:perf_hooks";

/** Linux's USER_HZ, the unit of /proc/PID/stat's times: 100 on every architecture that Bun runs on (proc(5)). */
const TICKS_PER_SECOND = 100;

/** A running forwarder, seen from outside. */
export interface Process {
  readonly child: ChildProcess;
  /** Milliseconds from the start of the process until it listened. */
  readonly startMs: number;
  /** User and system time of all threads so far, seconds. */
  cpuSeconds(): number;
  /** Resident memory now and at its highest, MB (10^6 bytes). */
  residentMb(): { now: number; peak: number };
  stop(): Promise<number | null>;
}

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The compiled executable that is measured. */
export const EXECUTABLE = here("../../dist/kata-trace-forwarder");

/** Starts the forwarder and waits for its socket. */
export async function startForwarder(
  socketPath: string,
  collectorPort: number,
  extra: readonly string[] = [],
): Promise<Process> {
  const began = performance.now();
  const child = spawn(EXECUTABLE, [
    "--socket-path",
    socketPath,
    "--otlp-endpoint",
    `http://127.0.0.1:${collectorPort}`,
    "--log-level",
    "warn",
    ...extra,
  ], { stdio: ["ignore", "inherit", "inherit"] });
  // The socket's file is there from bind() on; listen() follows in the same call.
  while (!existsSync(`${socketPath}_10240`)) {
    if (child.exitCode !== null) throw new Error(`the forwarder ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const startMs = performance.now() - began;
  const file = (name: string): string => readFileSync(`/proc/${child.pid}/${name}`, "utf8");
  return {
    child,
    startMs,
    cpuSeconds: () => {
      const fields = file("stat").slice(file("stat").lastIndexOf(")") + 2).split(" ");
      // utime and stime are fields 14 and 15 of proc(5); the slice begins with field 3.
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    },
    residentMb: () => {
      const status = file("status");
      const kb = (key: string): number =>
        Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]);
      return { now: (kb("VmRSS") * 1024) / 1e6, peak: (kb("VmHWM") * 1024) / 1e6 };
    },
    stop: async () => {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
      return child.exitCode;
    },
  };
}

/** What the stub has counted; latencies in milliseconds. */
export interface StubFigures {
  readonly spans: number;
  readonly requests: number;
  readonly bytes: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** The counting collector in a process of its own. */
export interface Stub {
  readonly port: number;
  figures(): Promise<StubFigures>;
  reset(latency: boolean): Promise<void>;
  stop(): void;
}

export async function startStub(): Promise<Stub> {
  const child = spawn(process.execPath, [here("collector-stub.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout, "data") as [Buffer];
  const port = Number(line.toString());
  return {
    port,
    figures: async () =>
      (await (await fetch(`http://127.0.0.1:${port}/figures`)).json()) as StubFigures,
    reset: async (latency) => {
      await fetch(`http://127.0.0.1:${port}/reset${latency ? "?latency" : ""}`);
    },
    stop: () => void child.kill(),
  };
}

/** Runs the guests until their last byte is written. */
export async function runLoad(
  socketPath: string,
  file: string,
  guests: number,
  spans: number,
  rate: number,
): Promise<void> {
  const child = spawn(
    process.execPath,
    [here("load.ts"), `${socketPath}_10240`, file, String(guests), String(spans), String(rate)],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`the load ended with ${code}`);
}
