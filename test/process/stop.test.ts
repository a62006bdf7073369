import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { startForwarder } from "./support/forwarder.ts";
import { Pipeline, startStub } from "./support/pipeline.ts";
import { CLEAN, IMPATIENT, LOST } from "./support/process.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** Spans that fit into a socket's buffer (212,992 bytes by default, including the kernel's overhead). */
const IN_SOCKET = 200;

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`on ${signal} what guests wrote before is delivered, even those that were not accepted yet`, async () => {
    await using pipeline = await Pipeline.start();
    const { sandbox, stub, forwarder } = pipeline;
    using connected = await Guest.connect(sandbox.address);
    await connected.write(plainFrames(1, 1));
    await taken(stub, 1);
    // Nothing is read or accepted from here on, so everything waits in the kernel when the signal arrives.
    forwarder.kill("SIGSTOP");
    await connected.write(plainFrames(2, IN_SOCKET));
    const waiting: Guest[] = [];
    for (let i = 1; i <= 50; i++) {
      const guest = await Guest.connect(sandbox.address);
      waiting.push(guest);
      await guest.write(plainFrames(1 + i * 1000, IN_SOCKET));
      if (i % 2 === 0) await guest.end();
    }
    forwarder.kill(signal);
    forwarder.kill("SIGCONT");
    assert.deepEqual(await forwarder.exited, CLEAN);
    const expected = plainIds(1, 1 + IN_SOCKET);
    for (let i = 1; i <= 50; i++) expected.push(...plainIds(1 + i * 1000, IN_SOCKET));
    assert.deepEqual(takenIds(stub), expected);
    for (const guest of waiting) await guest.gone();
    assert.equal((await forwarder.record("stopping"))["signal"], signal);
    assert.equal((await forwarder.record("stopped"))["lost"], 0);
    assert.equal(existsSync(sandbox.address), false);
    // A stop is not a reason for a warning.
    const stop = forwarder.records.slice(forwarder.records.findIndex(({ msg }) => msg === "stopping"));
    assert.deepEqual(stop.filter(({ level }) => level !== "INFO"), []);
  });
}

for (const first of ["SIGHUP", "SIGTERM"] as const) {
  test(`after ${first} a SIGHUP does not cut the stop short`, async () => {
    await using pipeline = await Pipeline.start();
    const { sandbox, stub, forwarder } = pipeline;
    stub.answer = () => ({ kind: "status", status: 503 });
    await guestLife(sandbox.address, plainFrames(1, 1));
    await until(() => stub.requests.length > 1, "the span is tried");
    forwarder.kill(first);
    await forwarder.record("stopping");
    forwarder.kill("SIGHUP");
    // Its handler would have ended the process within this time.
    await sleep(200);
    assert.equal(forwarder.exit, undefined);
    stub.answer = () => ({ kind: "ok" });
    assert.deepEqual(await forwarder.exited, CLEAN);
    assert.deepEqual(takenIds(stub), plainIds(1, 1));
  });
}

test("if started with SIGHUP ignored, as by nohup, it continues after a SIGHUP", async () => {
  const through = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"];
  await using pipeline = await Pipeline.start([], { through });
  const { sandbox, stub, forwarder } = pipeline;
  forwarder.kill("SIGHUP");
  await guestLife(sandbox.address, plainFrames(1, 1));
  await taken(stub, 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("guests that continue to send do not prevent a stop, and what was read is delivered", async () => {
  await using pipeline = await Pipeline.start(["--shutdown-timeout", "2s"]);
  const { sandbox, stub, forwarder } = pipeline;
  const ends: Promise<void>[] = [];
  for (let i = 0; i < 5; i++) {
    const guest = await Guest.connect(sandbox.address);
    const frames = plainFrames(1 + i * 1_000_000, 100);
    ends.push((async () => {
      using _ = guest;
      // One of them never pauses, and the others do all the time.
      while (guest.error === undefined && !guest.closed) {
        await guest.write(frames).catch((error: Error) => guest.error ??= error);
        if (i > 0) await sleep(1);
      }
    })());
  }
  await taken(stub, 500);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  await Promise.all(ends);
  const [figures] = forwarder.recordsOf("figures");
  let delivered = 0;
  for (const times of stub.taken.values()) delivered += times;
  assert.equal(figures?.["spans_forwarded"], delivered);
  assert.equal(
    figures?.["spans_received"],
    delivered + Number(figures?.["spans_invalid.truncated"] ?? 0),
  );
});

test("the log says if a frame is incomplete when it stops", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  const frames = plainFrames(1, 2);
  await guest.write(frames.subarray(0, frames.length - 1));
  await taken(stub, 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(takenIds(stub), plainIds(1, 1));
  const [figures] = forwarder.recordsOf("figures");
  assert.deepEqual(
    [
      figures?.["spans_received"],
      figures?.["spans_forwarded"],
      figures?.["spans_invalid.truncated"],
    ],
    [2, 1, 1],
  );
});

test("spans that wait for others are delivered at a stop", async () => {
  await using pipeline = await Pipeline.start([], { env: { OTEL_BSP_SCHEDULE_DELAY: "200" } });
  const { sandbox, stub, forwarder } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  await guest.write(plainFrames(1, 3));
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(takenIds(stub), plainIds(1, 3));
});

test("a stop lifts the limit of the span rate, so what waits in a guest's socket is delivered", async () => {
  await using pipeline = await Pipeline.start(["--max-spans-per-second", "4"]);
  const { sandbox, stub, forwarder } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  // Otherwise it would be read again in more than 11 s.
  await guest.write(plainFrames(1, 50));
  await forwarder.record("guest is over its rate: it is throttled, and its spans wait in the guest");
  await guest.write(plainFrames(51, IN_SOCKET));
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(takenIds(stub), plainIds(1, 50 + IN_SOCKET));
});

test("if the collector hangs, --shutdown-timeout ends with exit code 2, and the log counts lost spans", async () => {
  await using pipeline = await Pipeline.start([
    ...["--shutdown-timeout", "500ms", "--metrics", "0"],
  ]);
  const { sandbox, stub, forwarder } = pipeline;
  stub.answer = () => ({ kind: "hang" });
  await guestLife(sandbox.address, plainFrames(1, 7));
  await until(() => stub.requests.some(({ spans }) => spans.length === 7), "they are sent");
  assert.equal((await fetch(await forwarder.metricsUrl("/readyz"))).status, 200);
  forwarder.kill();
  await forwarder.record("stopping");
  const ready = await fetch(await forwarder.metricsUrl("/readyz"));
  assert.deepEqual([ready.status, await ready.text()], [503, "stopping\n"]);
  assert.deepEqual(await forwarder.exited, LOST);
  const lost = await forwarder.record(
    "spans are lost: the collector has not taken them in time",
  );
  assert.deepEqual([lost.level, lost["spans"]], ["ERRO", 7]);
  assert.equal((await forwarder.record("stopped"))["lost"], 7);
  assert.equal(forwarder.recordsOf("figures").at(-1)?.["spans_dropped.shutdown"], 7);
  assert.equal(existsSync(sandbox.address), false);
});

test("a second signal ends it at once, and the exit code says that spans were lost", async () => {
  for (const spans of [4, 0]) {
    await using pipeline = await Pipeline.start(["--shutdown-timeout", "1h"]);
    const { sandbox, stub, forwarder } = pipeline;
    stub.answer = () => ({ kind: "hang" });
    using guest = await Guest.connect(sandbox.address);
    if (spans > 0) {
      await guest.write(plainFrames(1, spans));
      await until(() => stub.requests.some((request) => request.spans.length > 0), "they are sent");
    } else {
      // So that it never stops reading.
      const frame = plainFrames(1, 1);
      void (async () => {
        for (let i = 0; !guest.closed && guest.error === undefined; i++) {
          await guest.write(frame.subarray(i % 8, i % 8 + 1)).catch((error) => guest.error = error);
          if (i === 7) i = -1;
        }
      })();
      await forwarder.record("guest connected");
    }
    forwarder.kill("SIGINT");
    await forwarder.record("stopping");
    forwarder.kill("SIGTERM");
    assert.deepEqual(await forwarder.exited, spans > 0 ? LOST : CLEAN);
    await forwarder.record("second signal: ending at once");
    assert.equal((await forwarder.record("stopped"))["lost"], spans);
    assert.equal(existsSync(sandbox.address), false);
  }
});

test("--shutdown-timeout 0 waits for nothing", async () => {
  await using pipeline = await Pipeline.start(["--shutdown-timeout", "0"]);
  const { sandbox, stub, forwarder } = pipeline;
  stub.answer = () => ({ kind: "hang" });
  await guestLife(sandbox.address, plainFrames(1, 2));
  await until(() => stub.requests.some(({ spans }) => spans.length === 2), "they are sent");
  assert.deepEqual(await forwarder.stop(), LOST);
  assert.equal((await forwarder.record("stopped"))["lost"], 2);
});

test("without a collector and a spool the exit code is 2", async () => {
  await using pipeline = await Pipeline.start(["--shutdown-timeout", "1s"], IMPATIENT);
  const { sandbox, stub, forwarder } = pipeline;
  await stub.stop();
  await guestLife(sandbox.address, plainFrames(1, 11));
  await forwarder.record("guest gone");
  assert.deepEqual(await forwarder.stop(), LOST);
  assert.equal((await forwarder.record("stopped"))["lost"], 11);
});

test("with a spool the exit code is 0, and the next start delivers, oldest first, while new spans arrive", async () => {
  using sandbox = new Sandbox();
  const stub = await startStub();
  const { port } = stub;
  const args = [
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--spool-dir", sandbox.path("spool"), "--shutdown-timeout", "1s"],
  ];
  // It is already away at the start, which is not an error with a spool.
  await stub.stop();
  for (const first of [1, 101]) {
    await using forwarder = await startForwarder(args, IMPATIENT);
    await guestLife(sandbox.address, plainFrames(first, 100));
    await forwarder.record("guest gone");
    assert.deepEqual(await forwarder.stop(), CLEAN);
    assert.equal((await forwarder.record("stopped"))["lost"], 0);
    const kept = await forwarder.record("spans stay in the spool until the next start");
    assert.equal(kept["spans"], first + 99);
  }
  assert.deepEqual(readdirSync(sandbox.directory), ["spool"]);

  await using back = await startStub(port);
  await using forwarder = await startForwarder([...args, "--metrics", "0"], IMPATIENT);
  await guestLife(sandbox.address, plainFrames(201, 100));
  await taken(back, 300);
  assert.deepEqual(takenIds(back), plainIds(1, 300));
  const inOrder = back.requests.flatMap(({ spans }) => spans.map(({ spanId }) => spanId));
  assert.deepEqual(inOrder.slice(0, 200), plainIds(1, 200));
  await until(async () => await forwarder.metric("spool_batches") === 0, "the spool is empty");
  const { received, forwarded } = await forwarder.figures();
  assert.deepEqual([received, forwarded], [300, 300]);
  assert.equal(await forwarder.metric("spans_recovered_total"), 200);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("after a kill the spool has what the log counted as accepted", async () => {
  using sandbox = new Sandbox();
  const stub = await startStub();
  const args = [
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--spool-dir", sandbox.path("spool"), "--metrics", "0"],
  ];
  stub.answer = () => ({ kind: "status", status: 503 });
  {
    await using forwarder = await startForwarder(args, IMPATIENT);
    await guestLife(sandbox.address, plainFrames(1, 50));
    await until(async () => await forwarder.metric("spool_batches") > 0, "they are on disk");
    assert.deepEqual(await forwarder.stop("SIGKILL"), { code: null, signal: "SIGKILL" });
  }
  // Its socket is left behind, which does not matter.
  assert.ok(existsSync(sandbox.address));
  stub.answer = () => ({ kind: "ok" });
  await using forwarder = await startForwarder(args, IMPATIENT);
  await taken(stub, 50);
  assert.deepEqual(takenIds(stub), plainIds(1, 50));
  assert.deepEqual(await forwarder.stop(), CLEAN);
  await stub.stop();
});

test("two forwarders cannot share one spool", async () => {
  using sandbox = new Sandbox();
  using other = new Sandbox();
  await using stub = await startStub();
  const args = ["--otlp-endpoint", stub.url, "--spool-dir", sandbox.path("spool")];
  await using first = await startForwarder(["--socket-path", sandbox.socketPath, ...args]);
  await assert.rejects(
    startForwarder(["--socket-path", other.socketPath, ...args]),
    /kata-trace-forwarder: .*spool.*\n$/,
  );
  assert.deepEqual(readdirSync(other.directory), []);
  await guestLife(sandbox.address, plainFrames(1, 5));
  await taken(stub, 5);
  assert.deepEqual(await first.stop(), CLEAN);
});
