import assert from "node:assert/strict";
import { chmodSync, existsSync, lstatSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { NEEDS_ROOT } from "../support/root.ts";
import { until } from "../support/until.ts";
import { asOrdinaryUser } from "./support/as-nobody.ts";
import { Forwarder, startForwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN, FAILED } from "./support/process.ts";
import { Guest, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** A node whose forwarders take over from each other, with everything that two cannot have at the same time. */
class Succession extends Sandbox {
  readonly takeOver = this.path("take-over");

  args(endpoint: string): string[] {
    return [
      ...["--socket-path", this.socketPath, "--take-over", this.takeOver, "--otlp-endpoint", endpoint],
      ...["--spool-dir", this.path("spool")],
    ];
  }
}

test("a new process takes over guests, sockets and the spool; the other one delivers and ends", async () => {
  using node = new Succession();
  await using stub = await startStub();
  const args = node.args(stub.url);
  let forwarder = await startForwarder(args);
  assert.equal(lstatSync(node.takeOver).mode & 0o777, 0o600);
  using guest = await Guest.connect(node.address);
  const frames = plainFrames(1, 400);
  const piece = Math.floor(frames.length / 5) + 3;
  for (let at = 0; at < frames.length; at += piece) {
    await guest.write(frames.subarray(at, at + piece));
    await sleep(20);
    await using old = forwarder;
    forwarder = await startForwarder(args);
    assert.deepEqual(await old.exited, CLEAN);
    assert.equal(old.recordsOf("another process has taken over").length, 1);
    assert.deepEqual(old.recordsOf("invalid payload skipped"), []);
    assert.equal(guest.closed, false);
  }
  await using last = forwarder;
  using late = await Guest.connect(node.address);
  await late.write(plainFrames(401, 10));
  await taken(stub, 410);
  assert.deepEqual(new Set(takenIds(stub)), new Set(plainIds(1, 410)));
  assert.deepEqual(await last.stop(), CLEAN);
  assert.equal(existsSync(node.address), false);
});

test("a new process that fails after it took over leaves the guests to the next one", async () => {
  using node = new Succession();
  await using stub = await startStub();
  const args = node.args(stub.url);
  await using first = await startForwarder(args);
  using guest = await Guest.connect(node.address);
  await guest.write(plainFrames(1, 5));
  await taken(stub, 5);
  // A port that is in use.
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as { port: number };
  await using failing = new Forwarder([...args, "--metrics", `127.0.0.1:${port}`]);
  assert.deepEqual(await failing.exited, FAILED);
  other.close();
  await guest.write(plainFrames(6, 5));
  await first.record(/^the new process has ended before it was ready/);
  await using second = await startForwarder(args);
  await taken(stub, 10);
  assert.deepEqual(await first.exited, CLEAN);
  assert.equal(guest.closed, false);
  assert.deepEqual(await second.stop(), CLEAN);
});

test("a new process that fails earlier leaves the running one as it is", async () => {
  using node = new Succession();
  await using stub = await startStub();
  await using first = await startForwarder(node.args(stub.url).slice(0, 6));
  using guest = await Guest.connect(node.address);
  // There is neither a collector nor a spool to wait for one.
  await using failing = new Forwarder(node.args("http://127.0.0.1:1").slice(0, 6));
  assert.deepEqual(await failing.exited, FAILED);
  await guest.write(plainFrames(1, 5));
  await taken(stub, 5);
  assert.deepEqual(first.recordsOf(/taken? over|handing over/), []);
  assert.deepEqual(await first.stop(), CLEAN);
});

test("if told to stop early, the old process ends, or waits for the new one if it would be restarted", async () => {
  using node = new Succession();
  await using stub = await startStub();
  const args = node.args(stub.url);
  await using pod = await startForwarder(args, { env: { KUBERNETES_SERVICE_HOST: "10.0.0.1" } });
  using guest = await Guest.connect(node.address);
  await using next = await startForwarder(args);
  await pod.record("another process has taken over");
  await sleep(100);
  assert.equal(pod.exit, undefined);
  assert.deepEqual(await pod.stop(), CLEAN);
  await guest.write(plainFrames(1, 5));
  await taken(stub, 5);
  assert.deepEqual(await next.stop(), CLEAN);
});

test("what a killed process leaves at the path is replaced, but not a file that is not a socket", async () => {
  using node = new Succession();
  await using stub = await startStub();
  const args = node.args(stub.url);
  {
    await using killed = await startForwarder(args);
    killed.kill("SIGKILL");
    await killed.exited;
  }
  {
    await using next = await startForwarder(args);
    assert.deepEqual(await next.stop(), CLEAN);
  }
  using other = new Succession();
  writeFileSync(other.takeOver, "precious");
  await using failing = new Forwarder(other.args(stub.url));
  assert.deepEqual(await failing.exited, FAILED);
  assert.match(failing.stderr, /--take-over/);
  assert.equal(lstatSync(other.takeOver).size, 8);
});

test("there is no takeover from or by another user's process", async () => {
  using node = new Succession();
  await using stub = await startStub();
  const args = node.args(stub.url).slice(0, 6);
  {
    // Root made the socket, which nobody else may connect to.
    await using first = await startForwarder([...args, "--user", "daemon"]);
    await using stranger = new Forwarder(args, asOrdinaryUser(node));
    assert.deepEqual(await stranger.exited, FAILED);
    assert.match(stranger.stderr, /cannot connect to .*\(--take-over\): connect: EACCES/);
    chmodSync(node.takeOver, 0o666);
    await using bold = new Forwarder(args, asOrdinaryUser(node));
    assert.deepEqual(await bold.exited, FAILED);
    await until(() => first.recordsOf(/another user wanted to take over/).length === 1);
    assert.deepEqual(await first.stop(), CLEAN);
  }
  // Another user's socket is at the path where root wants to take over.
  using trap = new Succession();
  await using nobody = await startForwarder(
    ["--socket-path", trap.socketPath, "--take-over", trap.takeOver, "--dump-only"],
    asOrdinaryUser(trap),
  );
  await using root = new Forwarder([
    "--socket-path",
    `${trap.socketPath}2`,
    "--take-over",
    trap.takeOver,
    "--dump-only",
  ]);
  assert.deepEqual(await root.exited, FAILED);
  assert.match(root.stderr, /runs as another user \(uid 65534\), which is not trusted/);
  assert.deepEqual(await nobody.stop(), CLEAN);
}, NEEDS_ROOT);
