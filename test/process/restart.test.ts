import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { restartUnderLoad } from "../end-to-end/faults/support/restarts.ts";
import { until } from "../support/until.ts";
import type { Forwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { Guest, Sandbox } from "./support/sandbox.ts";
import { ServiceManagerStandIn } from "./support/service-manager.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

test("a guest's connection survives the process, without losing a byte of an unfinished frame", async () => {
  using manager = new ServiceManagerStandIn();
  using sandbox = new Sandbox();
  await using stub = await startStub();
  const args = ["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url];
  const start = async (): Promise<Forwarder> => {
    const forwarder = manager.launch(args);
    await forwarder.record("listening");
    return forwarder;
  };
  let forwarder = await start();
  try {
    using guest = await Guest.connect(sandbox.address);
    const frames = plainFrames(1, 400);
    // Cuts frames anywhere, and stops the process in the middle of each piece.
    const piece = Math.floor(frames.length / 8) + 3;
    for (let at = 0; at < frames.length; at += piece) {
      await guest.write(frames.subarray(at, at + piece));
      await sleep(20);
      assert.deepEqual(await forwarder.stop(), CLEAN);
      assert.equal(existsSync(sandbox.address), true);
      assert.equal(guest.closed, false);
      forwarder = await start();
    }
    // Another guest connects while nobody accepts.
    assert.deepEqual(await forwarder.stop(), CLEAN);
    using second = await Guest.connect(sandbox.address);
    await second.write(plainFrames(401, 10));
    await guest.end();
    forwarder = await start();
    await taken(stub, 410);
    assert.deepEqual(new Set(takenIds(stub)), new Set(plainIds(1, 410)));
    assert.deepEqual(forwarder.recordsOf("invalid payload skipped"), []);
    await until(() => forwarder.recordsOf("guest gone").length === 1, "the first has left");
    await until(() => manager.names.length === 2, "the second guest and the listening socket are kept");
  } finally {
    await forwarder[Symbol.asyncDispose]();
  }
});

test("guests keep sending while it is stopped, killed and taken over from: none is disconnected", async () => {
  const { sent, arrived } = await restartUnderLoad(["stop", "take-over", "kill", "take-over", "stop", "kill"], 20);
  assert.ok(arrived > 0 && arrived <= sent, `${arrived} of ${sent}`);
});
