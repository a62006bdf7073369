import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseThreadStatus } from "../../src/host/thread-status.ts";
import { NOBODY } from "./support/as-nobody.ts";
import { startForwarder } from "./support/forwarder.ts";
import { Node } from "./support/node.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN, runToEnd } from "./support/process.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { until } from "../support/until.ts";
import { guestLife } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** linux/capability.h */
const CAP_DAC_OVERRIDE = 0b10n;
/** A group that nobody is in. */
const GROUP = 4711;

/** Asserts what every thread of a forwarder may do at this moment. Returns the number of threads. */
function checkThreads(pid: number, groups: readonly number[]): number {
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
    const kept = thread.id === pid ? CAP_DAC_OVERRIDE : 0n;
    assert.equal(thread.permitted, kept, `thread ${task} of ${pid} is permitted`);
    assert.equal(thread.effective & ~kept, 0n, `in effect in thread ${task} of ${pid}`);
    assert.equal(thread.ambient, 0n);
    assert.deepEqual(thread.uids, Array(4).fill(NOBODY));
    assert.deepEqual(thread.gids, Array(4).fill(NOBODY));
    assert.deepEqual(thread.groups, groups);
    assert.equal(thread.noNewPrivileges, true);
    assert.equal(thread.seccomp, 2);
    count++;
  }
  return count;
}

test(
  "exactly one thread retains exactly one of root's privileges, however long and busily it runs",
  async () => {
    await using stub = await startStub();
    using node = new Node();
    // A host name and compression give the runtime's own threads something to do.
    const url = stub.url.replace("127.0.0.1", "localhost");
    await using forwarder = await startForwarder(
      ["--socket-path", node.template, "--otlp-endpoint", url, "--wait-for-collector"],
      { env: { OTEL_EXPORTER_OTLP_COMPRESSION: "gzip" } },
    );
    // The main thread, and at least one of the runtime's own.
    assert.ok(checkThreads(forwarder.pid, []) > 1);
    const spans = 400;
    for (let number = 1; number <= 200; number++) {
      node.add(`box-${number}`);
      while (!node.listens(`box-${number}`)) await sleep(1);
      await guestLife(node.addressOf(`box-${number}`), plainFrames(number * spans, spans, 1000));
      node.remove(`box-${number}`);
      checkThreads(forwarder.pid, []);
    }
    await taken(stub, 200 * spans);
    checkThreads(forwarder.pid, []);
    assert.equal(stub.taken.size, 200 * spans);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  },
  NEEDS_ROOT,
);

test(
  "--socket-group: sockets of that group in root's directories, for which the process is in it",
  async () => {
    using node = new Node();
    await using forwarder = await startForwarder(
      ["--socket-path", node.template, "--dump-only", "--socket-group", String(GROUP)],
    );
    node.add("box");
    await until(() => node.listens("box"), "a socket");
    const { uid, gid, mode } = lstatSync(node.addressOf("box"));
    assert.deepEqual([uid, gid, mode & 0o777], [NOBODY, GROUP, 0o660]);
    checkThreads(forwarder.pid, [GROUP]);
    assert.deepEqual(await forwarder.stop(), CLEAN);
    const root = await runToEnd([
      ...["--socket-path", node.template, "--dump-only", "--socket-group", "root"],
    ]);
    assert.equal(root.code, 1);
    assert.match(
      root.stderr,
      /^kata-trace-forwarder: root's group cannot be retained .* --socket-group/m,
    );
  },
  NEEDS_ROOT,
);

test("root without CAP_DAC_OVERRIDE gets an error that says what is missing", async () => {
  using node = new Node();
  const { code, stderr } = await runToEnd(["--socket-path", node.template, "--dump-only"], {
    through: ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"],
  });
  assert.equal(code, 1);
  assert.match(stderr, /^kata-trace-forwarder: .*cannot be retained here: grant CAP_DAC_OVERRIDE, or/m);
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

    const problems = () => forwarder.recordsOf(/^sandbox .* cannot be listened for$/).map(({ msg }) => msg);
    await until(() => problems().length >= 4, "all four are refused");
    await guestLife(node.addressOf("good"), plainFrames(1, 1));
    await taken(stub, 1);
    assert.deepEqual(takenIds(stub), plainIds(1, 1));
    // It is looked at again every second.
    await sleep(2500);
    assert.deepEqual(
      problems().toSorted(),
      ["inner", "link", "open", "rootless"].map((id) => `sandbox ${id} cannot be listened for`),
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
