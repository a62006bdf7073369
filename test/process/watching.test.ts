import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { concatenate, frame } from "../decode/support/fixtures.ts";
import type { Answer } from "../support/collector-stub.ts";
import type { Figures } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { spanId } from "../support/numbers.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** The TCP ports that a process listens at (proc_pid_net(5)). */
function listeningPorts(pid: number): number[] {
  const LISTEN = "0A";
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]),
  );
  return ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8").trim().split("\n").slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode]) => state === LISTEN && inodes.has(inode))
      .map(([, local = ""]) => parseInt(local.split(":")[1] ?? "", 16))
  );
}

test("no TCP port is open, unless --metrics asks for one, and then only on loopback", async () => {
  await using plain = await Pipeline.start();
  assert.deepEqual(listeningPorts(plain.forwarder.pid), []);
  await using watched = await Pipeline.start(["--metrics", "0"]);
  const { address } = await watched.forwarder.record("serving metrics");
  const [, host, port] = /^(.*):(\d+)$/.exec(String(address)) ?? [];
  assert.equal(host, "127.0.0.1");
  assert.deepEqual(listeningPorts(watched.forwarder.pid), [Number(port)]);
});

test("SIGUSR1 logs the figures, and nothing else happens", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  await guestLife(sandbox.address, plainFrames(1, 5));
  await taken(stub, 5);
  forwarder.kill("SIGUSR1");
  const figures = await forwarder.record("figures");
  assert.equal(figures["spans_received"], 5);
  assert.equal(figures["spans_forwarded"], 5);
  assert.equal(figures["payloads.bincode"], 5);
  assert.equal(figures["guests_accepted"], 1);
  await guestLife(sandbox.address, plainFrames(6, 1));
  await taken(stub, 6);
  assert.deepEqual(listeningPorts(forwarder.pid), []);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("signals that come while it asks the kernel about guests end nothing", async () => {
  const PLACES = 4;
  /** Over the rate, but not by more than a guest may owe. */
  const SPANS = 10;
  await using pipeline = await Pipeline.start(["--max-guests", String(PLACES), "--max-spans-per-second", "4"]);
  const { sandbox, stub, forwarder } = pipeline;
  await using guests = new AsyncDisposableStack();
  // Each is paused for its rate. It is asked whether such a guest has left when another one wants its place.
  const paused: Guest[] = [];
  for (let i = 0; i < PLACES; i++) {
    const guest = await Guest.connect(sandbox.address);
    guests.defer(() => guest[Symbol.dispose]());
    paused.push(guest);
    await guest.write(plainFrames(1 + i * SPANS, SPANS));
  }
  await forwarder.record("guest is over its rate: it is throttled, and its spans wait in the guest");
  // SIGUSR1 is handled, which interrupts what is under way; the others' default is to be ignored.
  const flood = `for i in $(seq 60000); do kill -USR1 ${forwarder.pid}; kill -WINCH ${forwarder.pid}; ` +
    `kill -CHLD ${forwarder.pid}; done`;
  const sender = spawn("/bin/sh", ["-c", flood], { stdio: "inherit" });
  const sent = once(sender, "exit");
  let isSending = true;
  void sent.then(() => isSending = false);
  while (isSending) {
    // It is refused, perhaps before it knows that it is connected.
    using newcomer = await Guest.connect(sandbox.address).catch(() => undefined);
    await newcomer?.gone();
  }
  assert.deepEqual(await sent, [0, null]);
  assert.equal(forwarder.exit, undefined);
  assert.deepEqual(paused.map(({ closed }) => closed), paused.map(() => false));
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(new Set(takenIds(stub)), new Set(plainIds(1, PLACES * SPANS)));
});

test("metrics count spans by encoding, bytes and time", async () => {
  await using pipeline = await Pipeline.start(["--metrics", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  const began = Date.now() / 1000;
  const frames = plainFrames(1, 20);
  using guest = await Guest.connect(sandbox.address);
  await guest.write(frames);
  await taken(stub, 20);
  await until(async () => (await forwarder.figures()).forwarded === 20, "they are counted");
  const requests = stub.requests.filter(({ spans }) => spans.length > 0);
  const reading = await forwarder.reading();
  assert.equal(reading.metric("received_bytes_total"), frames.length);
  assert.equal(
    reading.metric("exported_bytes_total"),
    requests.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  assert.equal(reading.metric("payloads_total", "bincode"), 20);
  assert.equal(reading.metric("guests"), 1);
  const duration = reading.families.get("kata_trace_forwarder_export_duration_seconds");
  assert.equal(
    duration?.series.get('kata_trace_forwarder_export_duration_seconds_count{destination="collector"}'),
    requests.length,
  );
  const last = await forwarder.metric("last_success_timestamp_seconds");
  assert.ok(last >= began - 1 && last <= Date.now() / 1000 + 1, `${last}`);
  // No guest's text becomes a label.
  const text = await (await fetch(await forwarder.metricsUrl("/metrics"))).text();
  assert.ok(!text.includes(sandbox.id));
});

/** How many spans are not accounted for, which must always be 0. */
function unaccounted({ received, forwarded, dropped, invalid, held }: Figures): number {
  return received - forwarded - dropped - invalid - held;
}

/** One answer of each kind, and many that let the load continue. */
const OK: Answer = { kind: "ok" };
const ANSWERS: readonly Answer[] = [
  OK,
  { kind: "status", status: 503 },
  OK,
  { kind: "partial", rejectedSpans: 3, message: "three too many" },
  { kind: "reset", takes: true },
  OK,
  { kind: "status", status: 400 },
  { kind: "garbage" },
  OK,
  { kind: "half" },
  OK,
  { kind: "status", status: 429, retryAfter: "0" },
];

for (const [whenFull, isSpooled] of [["pause", true], ["drop-oldest", false]] as const) {
  test(`at each moment received = forwarded + dropped + invalid + held: ${whenFull}`, async () => {
    using spool = new Sandbox();
    await using pipeline = await Pipeline.start([
      ...["--metrics", "0", "--queue-bytes", "512KiB", "--when-full", whenFull],
      ...["--shutdown-timeout", "3s"],
      ...isSpooled ? ["--spool-dir", spool.path("spool"), "--spool-bytes", "8MiB"] : [],
    ], { env: { OTEL_EXPORTER_OTLP_TIMEOUT: "200" } });
    const { sandbox, stub, forwarder } = pipeline;
    const bad = spanId(7);
    let answered = 0;
    stub.answer = ({ spans }) =>
      spans.some((span) => span.spanId === bad)
        ? { kind: "status", status: 400 }
        : ANSWERS[answered++ % ANSWERS.length] as Answer;
    let isLoading = true;
    const load = Array.from({ length: 3 }, (_, i) => sendUntil(() => !isLoading, sandbox, i));
    const seen = new Set<number>();
    while (seen.size < 20 || answered < ANSWERS.length) {
      const figures = await forwarder.figures();
      assert.equal(unaccounted(figures), 0, JSON.stringify(figures));
      seen.add(figures.received);
      await sleep(5);
    }
    isLoading = false;
    stub.answer = () => OK;
    await Promise.all(load);
    await forwarder.stop();
    const last = forwarder.recordsOf("figures").at(-1) ?? assert.fail("no figures");
    let sum = Number(last["spans_forwarded"]) + Number(last["spans_held"]);
    for (const [key, value] of Object.entries(last)) {
      if (/^spans_(dropped|invalid)\./.test(key)) sum += Number(value);
    }
    assert.equal(sum, last["spans_received"], "at the end");
  });
}

/** Guests one after the other, each with spans, garbage, and half a frame at the end. */
async function sendUntil(isOver: () => boolean, sandbox: Sandbox, load: number): Promise<void> {
  const garbage = frame(new Uint8Array(200).fill(0xee));
  for (let next = 1 + load * 1_000_000; !isOver();) {
    using guest = await Guest.connect(sandbox.address);
    for (let i = 0; i < 20 && !isOver(); i++, next += 50) {
      await guest.write(concatenate([plainFrames(next, 50, 500), garbage]));
      await sleep(1);
    }
    await guest.write(garbage.subarray(0, 100));
    await guest.end();
  }
}
