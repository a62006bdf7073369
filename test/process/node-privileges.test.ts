import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseThreadStatus } from "../../src/host/thread-status.ts";
import { type Forwarder, startForwarder } from "./support/forwarder.ts";
import { Node } from "./support/node.ts";
import { startStub } from "./support/pipeline.ts";
import { assertOneLine, CLEAN, runToEnd } from "./support/process.ts";
import { NEEDS_ROOT, NOBODY } from "../support/root.ts";
import { until } from "../support/until.ts";
import { guestLife } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** A group that nobody is in. */
const GROUP = 4711;

/** linux/capability.h: CHOWN, DAC_OVERRIDE, SETGID and SETUID. */
const HELPER_CAPABILITIES = 0b1100_0011n;

/** Asserts what every thread of a process may do at this moment. Returns the number of threads. */
function checkThreads(pid: number, user: number, permitted: bigint): number {
  let count = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    let text;
    try {
      text = readFileSync(`/proc/${pid}/task/${task}/status`, "utf8");
    } catch (error) {
      // It has ended in the meantime.
      if (["ENOENT", "ESRCH"].includes((error as { code?: string }).code ?? "")) continue;
      throw error;
    }
    const thread = parseThreadStatus(Number(task), text);
    assert.equal(thread.permitted, permitted, `thread ${task} of ${pid} is permitted`);
    assert.equal(thread.effective, permitted, `in effect in thread ${task} of ${pid}`);
    assert.equal(thread.ambient, 0n);
    assert.deepEqual(thread.uids, Array(4).fill(user));
    assert.deepEqual(thread.gids, Array(4).fill(user));
    assert.deepEqual(thread.groups, []);
    assert.equal(thread.noNewPrivileges, true);
    assert.equal(thread.seccomp, 2);
    count++;
  }
  return count;
}

/** The helper process of a forwarder, as it says itself. */
function helperOf(forwarder: Forwarder): number {
  const [record] = forwarder.recordsOf(/^a helper process retains/);
  assert.ok(record !== undefined && Number(record["memory_bytes"]) > 0);
  return Number(record["helper"]);
}

test(
  "with {ID} no thread has any capability, however long and busily it runs, and the helper has four",
  async () => {
    await using stub = await startStub();
    using node = new Node();
    // A host name and compression give the runtime's own threads something to do.
    const url = stub.url.replace("127.0.0.1", "localhost");
    await using forwarder = await startForwarder(
      ["--socket-path", node.template, "--otlp-endpoint", url, "--wait-for-collector"],
      { env: { OTEL_EXPORTER_OTLP_COMPRESSION: "gzip" } },
    );
    const helper = helperOf(forwarder);
    // The main thread, and at least one of the runtime's own.
    assert.ok(checkThreads(forwarder.pid, NOBODY, 0n) > 1);
    assert.ok(checkThreads(helper, 0, HELPER_CAPABILITIES) > 1);
    const spans = 400;
    for (let number = 1; number <= 200; number++) {
      node.add(`box-${number}`);
      while (!node.listens(`box-${number}`)) await sleep(1);
      await guestLife(node.addressOf(`box-${number}`), plainFrames(number * spans, spans, 1000));
      node.remove(`box-${number}`);
      checkThreads(forwarder.pid, NOBODY, 0n);
    }
    await taken(stub, 200 * spans);
    checkThreads(forwarder.pid, NOBODY, 0n);
    checkThreads(helper, 0, HELPER_CAPABILITIES);
    assert.equal(stub.taken.size, 200 * spans);
    // Nothing of the environment, in which there may be secrets.
    const variables = readFileSync(`/proc/${helper}/environ`, "utf8").split("\0").filter(Boolean);
    assert.deepEqual(variables.map((each) => each.split("=")[0]), ["KATA_TRACE_FORWARDER_INTERNAL_HELPER"]);
    assert.deepEqual(await forwarder.stop(), CLEAN);
    await until(() => !existsSync(`/proc/${helper}`), "the helper's end");
  },
  NEEDS_ROOT,
);

test("--socket-group: sockets of that group in root's directories, in which the forwarder is not", async () => {
  using node = new Node();
  await using forwarder = await startForwarder(
    ["--socket-path", node.template, "--dump-only", "--socket-group", String(GROUP)],
  );
  node.add("box");
  await until(() => node.listens("box"), "a socket");
  const { uid, gid, mode } = lstatSync(node.addressOf("box"));
  assert.deepEqual([uid, gid, mode & 0o777], [0, GROUP, 0o660]);
  checkThreads(forwarder.pid, NOBODY, 0n);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const none = await runToEnd([
    ...["--socket-path", node.template, "--dump-only", "--socket-group", "no-such-group"],
  ]);
  assert.equal(none.code, 1);
  assertOneLine(none.stderr.split("\n").findLast((line) => line !== "") + "\n", /no group "no-such-group"/);
}, NEEDS_ROOT);

test("root without CAP_DAC_OVERRIDE serves what is in root's own directories", async () => {
  await using stub = await startStub();
  using node = new Node();
  await using forwarder = await startForwarder(["--socket-path", node.template, "--otlp-endpoint", stub.url], {
    through: ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"],
  });
  checkThreads(helperOf(forwarder), 0, HELPER_CAPABILITIES & ~0b10n);
  node.add("box");
  await until(() => node.listens("box"), "a socket");
  await guestLife(node.addressOf("box"), plainFrames(1, 1));
  await taken(stub, 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
}, NEEDS_ROOT);

test("a helper that is killed costs new sandboxes only, and a killed forwarder takes its helper along", async () => {
  await using stub = await startStub();
  using node = new Node();
  await using forwarder = await startForwarder(
    ["--socket-path", node.template, "--otlp-endpoint", stub.url, "--metrics", "127.0.0.1:0"],
  );
  node.add("box");
  await until(() => node.listens("box"), "a socket");
  // By then the forwarder has it too.
  await guestLife(node.addressOf("box"), plainFrames(5, 1));
  await taken(stub, 1);
  process.kill(helperOf(forwarder), "SIGKILL");
  await forwarder.record(/^the helper process has ended/, ({ level }) => level === "ERRO");
  const ready = await fetch(await forwarder.metricsUrl("/readyz"));
  assert.deepEqual([ready.status, await ready.text()], [503, "the helper process has ended\n"]);
  await guestLife(node.addressOf("box"), plainFrames(1, 2));
  await taken(stub, 3);
  assert.deepEqual(await forwarder.stop(), CLEAN);

  await using killed = await startForwarder(["--socket-path", node.template, "--otlp-endpoint", stub.url]);
  node.add("late");
  await until(() => node.listens("late"), "a socket");
  const helper = helperOf(killed);
  await killed.stop("SIGKILL");
  await until(() => !existsSync(`/proc/${helper}`), "the helper's end");
  // What a killed process leaves is replaced by the next one.
  await using next = await startForwarder(["--socket-path", node.template, "--otlp-endpoint", stub.url]);
  await guestLife(node.addressOf("late"), plainFrames(3, 2));
  await taken(stub, 5);
  assert.deepEqual(await next.stop(), CLEAN);
}, NEEDS_ROOT);

test(
  "links, and directories of other users' or open to all, in the place of a sandbox's: nothing is made or removed " +
    "there",
  async () => {
    await using stub = await startStub();
    using node = new Node();
    const victim = node.path("victim");
    mkdirSync(`${victim}/root`, { recursive: true });
    await using forwarder = await startForwarder(
      ["--socket-path", node.template, "--otlp-endpoint", stub.url],
    );
    symlinkSync(victim, node.pathOf("link"));
    node.add("inner");
    await until(() => node.listens("inner"), "a socket");
    // Something else takes the place of the listening socket.
    renameSync(`${node.pathOf("inner")}/root`, `${node.pathOf("inner")}/away`);
    symlinkSync(`${victim}/root`, `${node.pathOf("inner")}/root`);
    // A VMM's own user, which can put anything into its directory.
    node.add("rootless");
    await until(() => node.listens("rootless"), "a socket");
    chownSync(node.pathOf("rootless"), 1000, 1000);
    node.add("open");
    await until(() => node.listens("open"), "a socket");
    chmodSync(`${node.pathOf("open")}/root`, 0o777);
    node.add("good");
    await until(() => node.listens("good"), "a socket beside all that");

    const problems = () => forwarder.recordsOf(/^cannot listen for sandbox /).map(({ msg }) => msg);
    await until(() => problems().length >= 4, "all four are refused");
    await guestLife(node.addressOf("good"), plainFrames(1, 1));
    await taken(stub, 1);
    assert.deepEqual(takenIds(stub), plainIds(1, 1));
    // It is looked at again every second.
    await sleep(2500);
    assert.deepEqual(
      problems().toSorted(),
      ["inner", "link", "open", "rootless"].map((id) => `cannot listen for sandbox ${id}`),
    );
    assert.deepEqual(readdirSync(`${victim}/root`), []);
    // The forwarder must not remove files that have the sockets' name there.
    writeFileSync(`${victim}/root/kata.hvsock_10240`, "precious");
    assert.deepEqual(await forwarder.stop(), CLEAN);
    assert.deepEqual(readdirSync(`${victim}/root`), ["kata.hvsock_10240"]);
    assert.equal(node.listens("good"), false);
  },
  NEEDS_ROOT,
);
