// Prints how long a runtime waits for its answers while guests flood the forwarder and the collector is away:
// `scripts/build && bun test/receivers/jaeger/latency.bench.ts [requests] [guests]`.
import { spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { jaegerBodies } from "../../decode/support/jaeger-fixtures.ts";
import { startChild } from "../../support/child.ts";
import { freePort } from "../../support/ports.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";
import { HttpClient } from "../support/http-post.ts";

const requests = Number(process.argv[2] ?? 5_000);
const guests = Number(process.argv[3] ?? 4);
const EXECUTABLE = new URL("../../../dist/kata-trace-forwarder", import.meta.url).pathname;

using directory = temporaryDirectory();
const socketPath = join(directory.path, "clh.sock");
const [collector, jaeger] = [await freePort(), await freePort()];
const forwarder = spawn(EXECUTABLE, [
  ...["--socket-path", socketPath, "--otlp-endpoint", `http://127.0.0.1:${collector}`, "--wait-for-collector"],
  ...["--jaeger-listen", String(jaeger), "--when-full", "drop-oldest", "--shutdown-timeout", "100ms"],
], { stdio: ["ignore", "pipe", "inherit"] });
let log = "";
forwarder.stdout.setEncoding("utf8").on("data", (text: string) => log += text);
await until(() => log.includes('"msg":"listening"'), "the forwarder listens");

// In a process of its own: what it costs must not be measured.
const flood = guests === 0
  ? undefined
  : startChild(new URL("./flood.child.ts", import.meta.url), `${socketPath}_10240`, String(guests));
if (flood !== undefined) await until(() => log.split('"msg":"guest connected"').length > guests, "the guests write");

const client = new HttpClient(jaeger);
const bodies = jaegerBodies("go-session");
const times: number[] = [];
const started = performance.now();
for (let i = 0; i < requests; i++) {
  const began = performance.now();
  const { status } = await client.post("/api/traces", bodies[i % bodies.length] as Uint8Array, {
    "content-type": "application/x-thrift",
  });
  if (status !== 202) throw new Error(`answered ${status}`);
  times.push(performance.now() - began);
}
times.sort((left, right) => left - right);
const at = (share: number): string => `${(times[Math.floor(share * (times.length - 1))] as number).toFixed(3)} ms`;
console.log(
  `${requests} requests beside ${guests} guests: p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, most ${at(1)}`,
);
client.close();
flood?.kill();
forwarder.kill("SIGUSR1");
await until(() => log.includes('"msg":"figures"'), "the figures");
const seconds = (performance.now() - started) / 1000;
const received = Number(/"spans_received":(\d+)/.exec(log)?.[1]);
console.log(`the forwarder took in ${(received / seconds / 1000).toFixed(0)} thousand spans/s meanwhile`);
forwarder.kill();
