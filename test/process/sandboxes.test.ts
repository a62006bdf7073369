import assert from "node:assert/strict";
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import process from "node:process";
import { type Forwarder, startForwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { until } from "../support/until.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { assertReceived, plainFrames, plainIds, plainRecord, spansOf, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** A runtime's directory of sandboxes, which only its owner may write to. */
class Sandboxes extends Sandbox {
  constructor() {
    super();
    chmodSync(this.directory, 0o755);
  }

  get template(): string {
    return this.path("{ID}/clh.sock");
  }

  /** Makes a sandbox's directory. */
  add(id: string): void {
    mkdirSync(this.path(id));
    // Whatever the umask says.
    chmodSync(this.path(id), 0o755);
  }

  addressOf(id: string): string {
    return this.path(`${id}/clh.sock_10240`);
  }
}

async function start(sandboxes: Sandboxes, url: string): Promise<Forwarder> {
  return await startForwarder(["--socket-path", sandboxes.template, "--otlp-endpoint", url]);
}

test("{ID} serves sandboxes that exist and those that appear, each under its own name", async () => {
  await using stub = await startStub();
  using sandboxes = new Sandboxes();
  sandboxes.add("before");
  await using forwarder = await start(sandboxes, stub.url);
  await until(() => existsSync(sandboxes.addressOf("before")), "a socket for the first");
  sandboxes.add("after");
  await until(() => existsSync(sandboxes.addressOf("after")), "a socket for the second");
  for (const [i, id] of ["before", "after"].entries()) {
    stub.requests.length = 0;
    await guestLife(sandboxes.addressOf(id), plainFrames(1 + i, 1));
    await taken(stub, 1 + i);
    assertReceived(spansOf(stub), [plainRecord(1 + i)], {
      "service.name": "kata-agent",
      "kata.sandbox.id": id,
      "kata.component": "agent",
    });
    await forwarder.record("guest gone", ({ guest, spans }) => guest === id && spans === 1);
  }
  rmSync(sandboxes.path("before"), { recursive: true });
  await forwarder.record("no longer listening for a sandbox", ({ sandbox }) => sandbox === "before");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(readdirSync(sandboxes.path("after")), []);
});

test("a sandbox whose socket's path would be too long is named once, and costs only itself", async () => {
  await using stub = await startStub();
  using sandboxes = new Sandboxes();
  const tooLong = "x".repeat(107);
  sandboxes.add(tooLong);
  await using forwarder = await start(sandboxes, stub.url);
  const { level, error } = await forwarder.record(`cannot listen for sandbox ${tooLong}`);
  assert.equal(level, "WARN");
  const bytes = sandboxes.addressOf(tooLong).length;
  assert.ok(bytes > 107);
  assert.match(
    String(error),
    new RegExp(`/${tooLong}/clh.sock_10240 is ${bytes} bytes long, and a UNIX socket's path has at most 107`),
  );
  // As long as it may be.
  const longest = tooLong.slice(0, 107 - sandboxes.addressOf("x").length + 1);
  assert.equal(sandboxes.addressOf(longest).length, 107);
  sandboxes.add(longest);
  await until(() => existsSync(sandboxes.addressOf(longest)), "a socket for another sandbox");
  await guestLife(sandboxes.addressOf(longest), plainFrames(1, 2));
  await taken(stub, 2);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(readdirSync(sandboxes.path(tooLong)), []);
  assert.equal(forwarder.recordsOf(/cannot listen for/).length, 1);
});

test("with {ID} a stop delivers what guests wrote, even those that were not accepted yet", async () => {
  await using stub = await startStub();
  using sandboxes = new Sandboxes();
  const ids = ["a", "b", "c"];
  for (const id of ids) sandboxes.add(id);
  await using forwarder = await start(sandboxes, stub.url);
  await until(() => ids.every((id) => existsSync(sandboxes.addressOf(id))), "all sockets");
  forwarder.kill("SIGSTOP");
  const guests: Guest[] = [];
  for (const [i, id] of ids.entries()) {
    const guest = await Guest.connect(sandboxes.addressOf(id));
    guests.push(guest);
    await guest.write(plainFrames(1 + i * 100, 100));
  }
  forwarder.kill("SIGTERM");
  forwarder.kill("SIGCONT");
  assert.deepEqual(await forwarder.exited, CLEAN);
  assert.deepEqual(takenIds(stub), plainIds(1, 300));
  for (const guest of guests) guest[Symbol.dispose]();
});

test(
  "with {ID} sockets are made in root's directories, and removed at the end",
  async () => {
    await using stub = await startStub();
    using sandboxes = new Sandboxes();
    chmodSync(sandboxes.directory, 0o755);
    await using forwarder = await start(sandboxes, stub.url);
    sandboxes.add("later");
    chmodSync(sandboxes.path("later"), 0o755);
    await until(() => existsSync(sandboxes.addressOf("later")), "a socket");
    assert.ok(lstatSync(sandboxes.addressOf("later")).isSocket());
    await guestLife(sandboxes.addressOf("later"), plainFrames(1, 1));
    await taken(stub, 1);
    assert.deepEqual(await forwarder.stop(), CLEAN);
    assert.deepEqual(readdirSync(sandboxes.path("later")), []);
  },
  NEEDS_ROOT,
);

test("a path, a template and AF_VSOCK, if there is one, work at the same time", async () => {
  await using stub = await startStub();
  using sandboxes = new Sandboxes();
  using single = new Sandbox();
  sandboxes.add("one");
  const port = 20_000 + process.pid % 40_000;
  await using forwarder = await startForwarder([
    ...["--socket-path", sandboxes.template, "--socket-path", single.socketPath],
    ...["--vsock-port", String(port), "--otlp-endpoint", stub.url],
    ...hasVsock() ? ["--vsock-cid", "any"] : [],
  ]);
  const { address } = await forwarder.record("listening");
  const expected = [`${sandboxes.template}_${port}`, `${single.socketPath}_${port}`];
  if (hasVsock()) expected.push(`vsock:any:${port}`);
  assert.deepEqual(String(address).split(", ").toSorted(), expected.toSorted());
  await guestLife(sandboxes.path(`one/clh.sock_${port}`), plainFrames(1, 1));
  await guestLife(`${single.socketPath}_${port}`, plainFrames(2, 1));
  await taken(stub, 2);
  assert.deepEqual(takenIds(stub), plainIds(1, 2));
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("--all-hypervisors listens everywhere that Kata's guests connect to", async () => {
  await using stub = await startStub();
  const port = 20_001 + process.pid % 40_000;
  await using forwarder = await startForwarder([
    ...["--all-hypervisors", "--vsock-port", String(port), "--otlp-endpoint", stub.url],
  ]);
  const { address } = await forwarder.record("listening");
  for (const path of ["/run/vc/vm/{ID}/clh.sock", "/run/kata/{ID}/root/kata.hvsock"]) {
    assert.ok(String(address).includes(`${path}_${port}`), `${path} in ${address}`);
  }
  assert.equal(String(address).includes(`vsock:any:${port}`), hasVsock());
  assert.deepEqual(await forwarder.stop(), CLEAN);
}, NEEDS_ROOT);

/** Whether this kernel has AF_VSOCK. */
function hasVsock(): boolean {
  return /^AF_VSOCK /m.test(readFileSync("/proc/net/protocols", "utf8"));
}
