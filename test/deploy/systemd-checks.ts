/**
 * Runs inside a systemd that `systemd.sh` has booted: starts the service as it is installed and looks at it from
 * outside. Ends with 0 if everything is as it should be.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../support/until.ts";

const SERVICE = "kata-trace-forwarder.service";
const ENVIRONMENT = "/etc/default/kata-trace-forwarder";
/** The directory of a rootless VMM's sandbox. */
const ROOTLESS = "/run/user/31127/run/vc/vm/rootless";
const SOCKET = "/run/vc/vm/sandbox/clh.sock";
const SPOOL = "/var/lib/kata-trace-forwarder/spool";
/** Not an agent's: the real ones of this machine shall not come here. */
const VSOCK_PORT = 10_777;

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
function property(name: string): string {
  return run("systemctl", "show", "--property", name, "--value", SERVICE).trim();
}
function journal(): string {
  return run("journalctl", "--unit", SERVICE, "--output", "cat", "--no-pager");
}
async function metrics(): Promise<string> {
  return await (await fetch("http://127.0.0.1:9464/metrics")).text();
}
async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  try {
    await until(condition, what);
  } catch (error) {
    console.log(await metrics());
    throw error;
  }
}
/** @param label of the series that count; default: all of them. */
async function metric(name: string, label = ""): Promise<number> {
  const text = await metrics();
  const samples = [...text.matchAll(new RegExp(`^kata_trace_forwarder_${name}(?:\\{.*${label}.*\\})? (\\S+)$`, "gm"))];
  return samples.reduce((sum, [, value]) => sum + Number(value), samples.length === 0 ? NaN : 0);
}

/** Writes what a recorded agent wrote to the socket, as a VMM does for its guest. */
function replay(): Promise<void> {
  const frames = readFileSync("/project/test/fixtures/session-isolated.bincode");
  return new Promise((resolve, reject) => {
    const guest = net.connect(`${SOCKET}_10240`, () => guest.end(frames));
    guest.on("close", () => resolve());
    guest.on("error", reject);
  });
}

/** Takes everything from when it is started on. */
const collector = {
  requests: 0,
  start: () => {
    const server = http.createServer((request, response) => {
      request.resume();
      request.on("end", () => {
        collector.requests++;
        response.writeHead(200, { "Content-Type": "application/x-protobuf" }).end();
      });
    });
    return new Promise<void>((resolve) => server.listen(4318, "127.0.0.1", resolve));
  },
};

const steps: readonly [string, () => Promise<void>][] = [
  ["with AF_VSOCK it starts, is ready and says where", async () => {
    writeFileSync(
      ENVIRONMENT,
      `KATA_TRACE_FORWARDER_VSOCK_PORT=${VSOCK_PORT}\nKATA_TRACE_FORWARDER_METRICS=9464\n`,
    );
    // The unit's 30 s are long for a test.
    mkdirSync(`/run/systemd/system/${SERVICE}.d`, { recursive: true });
    writeFileSync(`/run/systemd/system/${SERVICE}.d/test.conf`, "[Service]\nWatchdogSec=2s\n");
    run("systemctl", "daemon-reload");
    run("systemctl", "start", SERVICE);
    assert.equal(property("ActiveState"), "active");
    assert.match(
      property("StatusText"),
      new RegExp(`^listening at .*vsock:any:${VSOCK_PORT}`),
    );
    assert.equal(await (await fetch("http://127.0.0.1:9464/readyz")).text(), "ready\n");
  }],
  ["it runs as its own user, without any capability, and no way back", async () => {
    const pid = property("MainPID");
    const uid = run("id", "--user", "kata-trace-forwarder").trim();
    assert.notEqual(uid, "0");
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
      assert.match(status, new RegExp(`^Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, "m"));
      assert.match(status, /^CapPrm:\t0{16}$/m);
      assert.match(status, /^CapEff:\t0{16}$/m);
      assert.match(status, /^CapAmb:\t0{16}$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      assert.match(status, /^Seccomp:\t2$/m);
    }
    const spool = statSync(SPOOL);
    assert.equal(`${spool.uid} ${(spool.mode & 0o777).toString(8)}`, `${uid} 700`);
    await Promise.resolve();
  }],
  ["it stops cleanly", async () => {
    run("systemctl", "stop", SERVICE);
    assert.equal(property("Result"), "success");
    assert.equal(property("ExecMainStatus"), "0");
    await Promise.resolve();
  }],
  [
    "with hybrid vsock it listens in root's directory, and keeps spans for a collector that is away",
    async () => {
      // As Kata makes them, the second one for a rootless VMM.
      mkdirSync("/run/vc/vm/sandbox", { recursive: true, mode: 0o750 });
      mkdirSync(ROOTLESS, { recursive: true });
      run("chown", "-R", "31127:31127", "/run/user/31127");
      writeFileSync(
        ENVIRONMENT,
        [
          "KATA_TRACE_FORWARDER_METRICS=9464",
          "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
          "",
        ].join("\n"),
      );
      run("systemctl", "start", SERVICE);
      await eventually("it listens in the sandbox's directory", () => existsSync(`${SOCKET}_10240`));
      await eventually("it listens for the rootless VMM", () => existsSync(`${ROOTLESS}/clh.sock_10240`));
      assert.equal(statSync(`${ROOTLESS}/clh.sock_10240`).uid, 31127);
      await replay();
      await eventually("every span is in the spool", async () => await metric("spans_held") === SPANS);
      assert.equal(await metric("spans_received_total"), SPANS);
      // Held is what the next commit will write, too.
      await sleep(500);
    },
  ],
  ["killed by the watchdog when it hangs, it comes back with its spool", async () => {
    const pid = property("MainPID");
    process.kill(Number(pid), "SIGSTOP");
    await eventually("the watchdog has bitten", () => property("NRestarts") === "1");
    await eventually("it is back", () => property("ActiveState") === "active");
    assert.notEqual(property("MainPID"), pid);
    assert.match(run("journalctl", "--unit", SERVICE, "--no-pager"), /Watchdog timeout/);
    await eventually("the spool is read", async () => await metric("spans_recovered_total") === SPANS);
  }],
  ["the spool is delivered once the collector is there", async () => {
    await collector.start();
    await eventually("it is empty", async () => await metric("spans_forwarded_total") === SPANS);
    assert.ok(collector.requests > 0);
  }],
  ["a guest's connection outlives a restart and SIGKILL", async () => {
    const frames = readFileSync("/project/test/fixtures/session-isolated.bincode");
    const guest = net.connect(`${SOCKET}_10240`);
    let isClosed = false;
    guest.on("close", () => isClosed = true);
    guest.resume();
    await new Promise((resolve) => guest.once("connect", resolve));
    const received = async (spans: number) =>
      await eventually(`${spans} spans are read`, async () => await metric("spans_received_total", "vsock") === spans);
    guest.write(frames);
    await received(SPANS);
    // In the middle of a frame.
    guest.write(frames.subarray(0, 5));
    run("systemctl", "restart", SERVICE);
    guest.write(frames.subarray(5));
    await received(SPANS);
    const pid = property("MainPID");
    run("systemctl", "kill", "--signal", "KILL", "--kill-whom", "main", SERVICE);
    guest.write(frames);
    const isBack = () => property("ActiveState") === "active" && !["0", pid].includes(property("MainPID"));
    await eventually("it is back", isBack);
    await received(SPANS);
    assert.equal(isClosed, false);
    assert.notEqual(property("NFileDescriptorStore"), "0");
    guest.destroy();
  }],
  ["its log is one JSON object a line", async () => {
    const records = journal().trim().split("\n").filter((line) => line.startsWith("{"));
    const messages = records.map((line) => (JSON.parse(line) as { msg: string }).msg);
    for (const message of ["announce", "listening", "stopping", "stopped"]) {
      assert.ok(messages.includes(message), `${message} in ${messages}`);
    }
    await Promise.resolve();
  }],
];

/** Spans in the fixture. */
const SPANS = readFileSync("/project/test/fixtures/session-isolated.expected.jsonl", "utf8")
  .trim().split("\n").length;

for (const [name, step] of steps) {
  try {
    await step();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.log(`FAILED: ${name}`);
    console.log(error);
    console.log(journal());
    process.exit(1);
  }
}
process.exit(0);
