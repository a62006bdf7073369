import assert from "node:assert/strict";
import { type ChildProcess } from "node:child_process";
import net from "node:net";
import process from "node:process";
import { describe, test } from "node:test";
import { PeerFinder } from "../../../src/receivers/peers/peer-finder.ts";
import { portOwner } from "../../../src/receivers/peers/port-owner.ts";
import { readShim, sandboxOnCommandLine } from "../../../src/receivers/peers/shim-process.ts";
import { startChild } from "../../support/child.ts";
import { until } from "../../support/until.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

describe("the sandbox on a command line", () => {
  const words = (...line: string[]): string => line.map((word) => `${word}\0`).join("");
  const shim = ["/usr/bin/containerd-shim-kata-v2", "-namespace", "k8s.io", "-address", "/run/containerd/c.sock"];
  test("follows -id, as both shims are started", () => {
    assert.equal(sandboxOnCommandLine(words(...shim, "-id", "9f3c51aa", "-debug")), "9f3c51aa");
    assert.equal(sandboxOnCommandLine(words(...shim, "--id", "a.b_c-d")), "a.b_c-d");
    assert.equal(sandboxOnCommandLine(words(...shim, "-id=x1")), "x1");
  });
  test("is not there without a value that is an ID, or with two", () => {
    for (const line of [[], ["-id"], ["-id", ""], ["-id", "../x"], ["-id", "a b"], ["-id", "a", "-id", "b"]]) {
      assert.equal(sandboxOnCommandLine(words(...shim, ...line)), undefined, line.join(" "));
    }
    assert.equal(sandboxOnCommandLine(words(...shim, "-id", "a".repeat(256))), undefined);
    assert.equal(sandboxOnCommandLine(""), undefined);
  });
});

/** Runs a process that connects, with these words on its command line. */
async function withPeer(
  words: readonly string[],
  use: (connection: { remote: number; port: number }) => Promise<void>,
): Promise<void> {
  const accepted = Promise.withResolvers<net.Socket>();
  const server = net.createServer((socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const child: ChildProcess = startChild(new URL("./peer-finder.child.ts", import.meta.url), String(port), ...words);
  const ended = new Promise((resolve) => child.once("close", resolve));
  try {
    const socket = await accepted.promise;
    await use({ remote: socket.remotePort ?? 0, port });
    socket.destroy();
  } finally {
    child.stdin?.end();
    child.kill();
    await ended;
    server.close();
  }
}

const connection = (remote: number, port: number) => ({
  address: "127.0.0.1",
  port: remote,
  peerAddress: "127.0.0.1",
  peerPort: port,
});

describe("a peer", () => {
  test("that has -id on its command line tells its sandbox, again and again", () =>
    withPeer(["-namespace", "k8s.io", "-id", "sandbox-of-the-test"], async ({ remote, port }) => {
      const finder = new PeerFinder(() => {});
      assert.equal(await finder.find(connection(remote, port)), "sandbox-of-the-test");
      assert.equal(await finder.find(connection(remote, port)), "sandbox-of-the-test");
      const both = await Promise.all([finder.find(connection(remote, port)), finder.find(connection(1, port))]);
      assert.deepEqual(both, ["sandbox-of-the-test", undefined]);
    }));

  test("without -id, or from elsewhere, tells nothing", () =>
    withPeer([], async ({ remote, port }) => {
      const finder = new PeerFinder(() => {});
      assert.equal(await finder.find(connection(remote, port)), undefined);
      assert.equal(await finder.find({ ...connection(remote, port), address: "192.0.2.1" }), undefined);
    }));

  test("is known to run as long as it does, without looking into it", async () => {
    const finder = new PeerFinder(() => {});
    await withPeer(["-id", "running-sandbox"], async () => {
      assert.ok((await finder.runningSandboxes()).has("running-sandbox"));
    });
    const isGone = async (): Promise<boolean> => !(await finder.runningSandboxes()).has("running-sandbox");
    await until(isGone, "it has ended");
  });

  test("tells nothing where there is no such file system", async () => {
    using directory = temporaryDirectory();
    assert.equal((await new PeerFinder(() => {}, directory.path).runningSandboxes()).size, 0);
    assert.equal(await new PeerFinder(() => {}, directory.path).find(connection(1, 2)), undefined);
  });
});

test("a process is read with what tells it from a later one", () =>
  withPeer(["-id", "x"], async ({ port }) => {
    assert.equal(readShim("/proc", process.pid), undefined);
    assert.equal(readShim("/proc", 2 ** 30), undefined);
    // This process listens there.
    assert.equal(portOwner(port)?.pid, process.pid);
    await Promise.resolve();
  }));

test("a port that nobody listens at has no owner", () => {
  assert.equal(portOwner(1), undefined);
});
