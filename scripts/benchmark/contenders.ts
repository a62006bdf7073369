import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { accepts } from "../../test/collector/daemon.ts";
import { freePorts } from "../../test/support/ports.ts";
import type { LoadEncoding } from "./frames.ts";
import { type Forwarder, type ForwarderOptions, launch, whenItListens } from "./processes.ts";

// What the forwarder is compared with, each started to send to the same stub.

/** What is measured: the forwarder itself, or what it is compared with. */
export type System = "forwarder" | "rust" | "collector" | "floor" | "empty";

/** A running system. `otlpPort` is where it takes requests; absent if it takes frames from a socket. */
export interface Contender extends Forwarder {
  readonly otlpPort?: number;
}

/** The programs that are there: the Rust forwarder and the Collector are built by their own scripts. */
export const RUST_FORWARDER: string | undefined = process.env["KTF_RUST_FORWARDER"] || undefined;
export const COLLECTOR: string | undefined = process.env["KTF_OTELCOL"] || undefined;

/** Starts the forwarder of test/agent/forwarder. */
export async function startRust(
  path: string,
  encoding: LoadEncoding,
  { port, protocol = "http/protobuf", launcher }: ForwarderOptions,
): Promise<Contender> {
  const endpoint = `http://127.0.0.1:${port}`;
  const args = ["--unix", path, "--encoding", encoding, "--endpoint", endpoint, "--protocol", protocol];
  const child = launch(RUST_FORWARDER as string, args, { launcher });
  return await whenItListens(child, [path], () => existsSync(path));
}

/** Starts floor.ts. */
export async function startFloor(
  path: string,
  fixture: string,
  encoding: LoadEncoding,
  { port, launcher }: ForwarderOptions,
): Promise<Contender> {
  const script = fileURLToPath(new URL("floor.ts", import.meta.url));
  const args = [script, path, String(port), fixture, encoding];
  const child = launch(process.execPath, args, { launcher });
  return await whenItListens(child, [path], () => existsSync(path));
}

/** Starts empty.ts, compiled as the forwarder is. @param executable where that is, or is to be. */
export async function startEmpty(path: string, executable: string): Promise<Contender> {
  if (!existsSync(executable)) {
    const script = fileURLToPath(new URL("empty.ts", import.meta.url));
    const options = ["--compile", "--minify", "--bytecode", "--format=esm", "--outfile", executable];
    execFileSync(process.execPath, ["build", script, ...options], { stdio: "ignore" });
  }
  const began = performance.now();
  const child = launch(executable, [path]);
  return await whenItListens(child, [path], () => existsSync(path), began);
}

/** Starts the OpenTelemetry Collector with a batch processor, as large as the forwarder's requests. */
export async function startCollector(
  path: string,
  { port, protocol = "http/protobuf", launcher }: ForwarderOptions,
): Promise<Contender> {
  const [otlpPort = 0] = await freePorts(1);
  const grpc = { endpoint: `127.0.0.1:${port}`, compression: "none", tls: { insecure: true } };
  const http = { endpoint: `http://127.0.0.1:${port}`, compression: "none" };
  const exporter = protocol === "grpc" ? "otlp" : "otlphttp";
  const configuration = {
    receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${otlpPort}` } } } },
    processors: { batch: { send_batch_size: 2048, send_batch_max_size: 2048, timeout: "50ms" } },
    exporters: { [exporter]: protocol === "grpc" ? grpc : http },
    service: {
      pipelines: { traces: { receivers: ["otlp"], processors: ["batch"], exporters: [exporter] } },
    },
  };
  const file = `${path}.yaml`;
  // JSON is YAML too.
  writeFileSync(file, JSON.stringify(configuration));
  const child = launch(COLLECTOR as string, ["--config", file], { launcher, isSilent: true });
  return { ...await whenItListens(child, [path], () => accepts(otlpPort)), otlpPort };
}
