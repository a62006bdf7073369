import assert from "node:assert/strict";
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pace } from "../end-to-end/faults/support/load.ts";
import { restartUnderLoad } from "../end-to-end/faults/support/restarts.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { until } from "../support/until.ts";
import type { Forwarder } from "./support/forwarder.ts";
import { Node } from "./support/node.ts";
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
  const guests = Array<Pace>(20).fill({ frames: 5, everyMs: 50 });
  const { sent, arrived } = await restartUnderLoad(["stop", "take-over", "kill", "take-over", "stop", "kill"], guests);
  assert.equal(arrived, sent);
});

test(
  "with {ID} as root sockets outlive stops, kills and take-overs, and none stays for a sandbox that is gone",
  async () => {
    using manager = new ServiceManagerStandIn();
    using node = new Node();
    await using stub = await startStub();
    const args = [
      ...["--socket-path", node.template, "--otlp-endpoint", stub.url, "--spool-dir", node.path("spool")],
      ...["--take-over", node.path("take-over")],
    ];
    const start = async (isBeside = false): Promise<Forwarder> => {
      const forwarder = manager.launch(args, {}, isBeside);
      await forwarder.record("listening");
      return forwarder;
    };
    const inode = (): bigint => lstatSync(node.addressOf("box"), { bigint: true }).ino;
    node.add("box");
    let forwarder = await start();
    try {
      const first = inode();
      using guest = await Guest.connect(node.addressOf("box"));
      let next = 1;
      const send = async (count: number): Promise<void> => {
        await guest.write(plainFrames(next, count));
        next += count;
        await taken(stub, next - 1);
      };
      await send(5);
      for (const how of ["stop", "kill", "take-over", "stop"] as const) {
        await using old = forwarder;
        if (how === "take-over") {
          forwarder = await start(true);
          assert.deepEqual(await old.exited, CLEAN);
        } else {
          await old.stop(how === "kill" ? "SIGKILL" : "SIGTERM");
          // It has just connected when the next process comes.
          using waiting = await Guest.connect(node.addressOf("box"));
          await waiting.write(plainFrames(next, 3));
          next += 3;
          forwarder = await start();
          await taken(stub, next - 1);
        }
        assert.equal(inode(), first, `the same socket after a ${how}`);
        assert.equal(guest.closed, false);
        await send(5);
        // Sandboxes that come later are served as before.
        node.add(`late-${next}`);
        await until(() => node.listens(`late-${next}`), "a socket for a new sandbox");
      }
      assert.deepEqual(new Set(takenIds(stub)), new Set(plainIds(1, next - 1)));
      // Sandboxes go while nobody is there.
      await until(() => manager.names.length === 7, "the guest, five sandboxes' sockets and the log of reads");
      await forwarder.stop();
      for (const id of readdirSync(node.sandboxes)) if (id !== "box") node.remove(id);
      forwarder = await start();
      await until(() => manager.names.length === 3, "only the guest, its sandbox's socket and the log of reads");
      await send(5);
    } finally {
      await forwarder[Symbol.asyncDispose]();
    }
  },
  NEEDS_ROOT,
);
