/**
 * Run by `scaling.sh` in a mount namespace where `/etc/hosts` is this test's own. Sends spans through a forwarder and
 * the two tiers of `deploy/collector`, kills a collector of the second tier half way, and counts spans one by one.
 */

import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { Daemon, eventually } from "../collector/daemon.ts";
import { parseSpans } from "../collector/spans.ts";
import { fixture, frame, splitFrames } from "../decode/support/fixtures.ts";

const { KTF_WORK: work = "", KTF_OTELCOL: otelcol = "", KTF_EXECUTABLE: executable = "" } = process.env;
const CONFIGURATIONS = new URL("../../deploy/collector/", import.meta.url).pathname;
const NAME = "backends.test";
/** Each collector has an address of its own, as pods have. */
const BALANCER = "127.0.0.1", BACKENDS = ["127.0.0.2", "127.0.0.3"] as const;
const PORT = 4317;
const METRICS = "127.0.0.1:9464";
/** Spans in all, and in one of a guest's writes. */
const SPANS = 20_000, SPANS_A_WRITE = 100;

function resolveTo(addresses: readonly string[]): void {
  writeFileSync(
    "/etc/hosts",
    ["127.0.0.1 localhost", ...addresses.map((each) => `${each} ${NAME}`), ""].join("\n"),
  );
}

function accepts(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, address);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

function startBackend(address: string): Promise<Daemon> {
  return Daemon.start({
    command: otelcol,
    arguments: [
      `--config=${CONFIGURATIONS}backend.yaml`,
      // Spans are written to a file before they are answered for, instead of being sent on.
      `--config=yaml:exporters::file: {path: ${fileOf(address)}, rotation: {max_megabytes: 1000000}}`,
      "--config=yaml:service::pipelines::traces::exporters: [file]",
    ],
    environment: { LISTEN_ADDRESS: address, LISTEN_PORT: `${PORT}`, BACKEND_ENDPOINT: "unused:1" },
    log: join(work, `${address}.log`),
    ready: () => accepts(address, PORT),
  });
}

function startBalancer(): Promise<Daemon> {
  return Daemon.start({
    command: otelcol,
    arguments: [`--config=${CONFIGURATIONS}load-balancing.yaml`],
    environment: { LISTEN_ADDRESS: BALANCER, BACKENDS_HOSTNAME: NAME, BACKENDS_PORT: `${PORT}` },
    log: join(work, "balancer.log"),
    ready: () => accepts(BALANCER, PORT),
  });
}

function startForwarder(): Promise<Daemon> {
  return Daemon.start({
    command: executable,
    arguments: [
      ...["--socket-path", join(work, "clh.sock"), "--metrics", METRICS],
      ...["--otlp-endpoint", `http://${BALANCER}:${PORT}`, "--shutdown-timeout", "30s"],
    ],
    environment: {},
    log: join(work, "forwarder.log"),
    ready: async () => {
      try {
        return (await fetch(`http://${METRICS}/readyz`)).ok;
      } catch {
        return false; // Not there yet.
      }
    },
  });
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://${METRICS}/metrics`)).text();
  const samples = [...text.matchAll(new RegExp(`^kata_trace_forwarder_${name}(?:\\{.*\\})? (\\S+)$`, "gm"))];
  return samples.reduce((sum, [, value]) => sum + Number(value), samples.length === 0 ? NaN : 0);
}

function fileOf(address: string): string {
  return join(work, `${address}.jsonl`);
}

/**
 * Trace and span IDs that a collector has taken. A line that was being written when it was killed was not answered for.
 */
function received(address: string): string[] {
  const text = readFileSync(fileOf(address), "utf8");
  const requests = text.slice(0, text.lastIndexOf("\n")).split("\n");
  return requests.flatMap(parseSpans).map(({ traceId, spanId }) => `${traceId}-${spanId}`);
}

/** Frames of recorded spans with IDs of their own: each its own trace, so that they spread over collectors. */
function freshFrames(count: number, sent: Set<string>): Uint8Array[] {
  const payloads = splitFrames(fixture("session-isolated").bincodeStream);
  return Array.from({ length: count }, (_, index) => {
    const payload = Uint8Array.from(payloads[index % payloads.length] as Uint8Array);
    const ids = randomFillSync(payload.subarray(0, 24));
    // The lowest byte is first on the wire, the highest in OTLP.
    const hex = (bytes: Uint8Array): string => bytes.toReversed().toHex();
    sent.add(`${hex(ids.subarray(0, 16))}-${hex(ids.subarray(16))}`);
    return frame(payload);
  });
}

resolveTo(BACKENDS);
const backends = [await startBackend(BACKENDS[0]), await startBackend(BACKENDS[1])] as const;
const balancer = await startBalancer();
const forwarder = await startForwarder();

const sent = new Set<string>();
const guest = net.connect(`${join(work, "clh.sock")}_10240`);
await new Promise((resolve) => guest.once("connect", resolve));
for (let written = 0; written < SPANS; written += SPANS_A_WRITE) {
  for (const bytes of freshFrames(SPANS_A_WRITE, sent)) guest.write(bytes);
  await delay(20);
  if (written === SPANS / 2) {
    await backends[0].kill();
    console.log(`ok: one of two is killed after ${written} spans`);
    // Its name goes as a pod's does, some seconds after the pod.
    void delay(3000).then(() => resolveTo([BACKENDS[1]]));
  }
}
guest.end();
const forwarded = await eventually(
  60_000,
  async () => (await metric("spans_forwarded_total")) === SPANS || undefined,
);
assert.ok(forwarded, `${await metric("spans_forwarded_total")} of ${SPANS} spans are forwarded`);
assert.equal(await metric("spans_received_total"), SPANS);
assert.ok(await metric("export_retries_total") > 0, "nothing was ever tried again");
console.log(`ok: every span is forwarded, with ${await metric("export_retries_total")} retries`);
assert.equal(await forwarder.stop(), "exited with 0");
await balancer.stop();
await backends[1].stop();

const [first, second] = [received(BACKENDS[0]), received(BACKENDS[1])];
const all = new Set([...first, ...second]);
assert.deepEqual([...sent].filter((id) => !all.has(id)), [], "lost");
assert.deepEqual([...all].filter((id) => !sent.has(id)), [], "invented");
assert.ok(first.length > SPANS / 8 && second.length > SPANS / 8, "not balanced");
console.log(
  `ok: ${SPANS} spans sent, ${first.length} at the one killed, ${second.length} at the other, ` +
    `${first.length + second.length - all.size} of them twice, none lost`,
);
process.exit(0);
