import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { asOrdinaryUser } from "./support/as-nobody.ts";
import { Forwarder, startForwarder } from "./support/forwarder.ts";
import { Pipeline, startStub } from "./support/pipeline.ts";
import { CLEAN, FAILED } from "./support/process.ts";
import { NEEDS_ROOT, NOBODY } from "../support/root.ts";
import { until } from "../support/until.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** What every thread must have (proc_pid_status(5)). */
function unprivileged(uid: number, gid: number): Readonly<Record<string, string>> {
  return {
    Uid: `${uid} ${uid} ${uid} ${uid}`,
    Gid: `${gid} ${gid} ${gid} ${gid}`,
    Groups: "",
    CapPrm: "0000000000000000",
    CapEff: "0000000000000000",
    CapAmb: "0000000000000000",
    NoNewPrivs: "1",
    // A filter, see seccomp(2).
    Seccomp: "2",
  };
}

function assertThreads(pid: number, expected: Readonly<Record<string, string>>): void {
  const tasks = readdirSync(`/proc/${pid}/task`);
  // The runtime has several threads, and each one that is missed would be a hole.
  assert.ok(tasks.length > 1, `${tasks.length} threads`);
  for (const task of tasks) {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, "utf8");
    const found = Object.fromEntries(
      Object.keys(expected).map((key) => {
        const value = new RegExp(`^${key}:[ \\t]*(.*)$`, "m").exec(status)?.[1];
        return [key, value?.trim().replaceAll(/\s+/g, " ")];
      }),
    );
    assert.deepEqual(found, expected, `thread ${task}`);
  }
  assert.equal(readlinkSync(`/proc/${pid}/cwd`), "/");
}

/** It writes no core dump, and only root may read its memory. */
function assertNotDumped(pid: number): void {
  assert.match(readFileSync(`/proc/${pid}/limits`, "utf8"), /^Max core file size +0 +0 +bytes/m);
  assert.equal(lstatSync(`/proc/${pid}/mem`).uid, 0);
}

test(
  "once it listens root is nobody, on every thread, and on threads that are started later",
  async () => {
    await using pipeline = await Pipeline.start(["--metrics", "0"], {
      env: { OTEL_EXPORTER_OTLP_COMPRESSION: "gzip" },
    });
    const { sandbox, stub, forwarder } = pipeline;
    const nobody = unprivileged(NOBODY, NOBODY);
    assertThreads(forwarder.pid, nobody);
    // A pool of threads handles compression, names and files.
    await guestLife(sandbox.address, plainFrames(1, 1000));
    await taken(stub, 1000);
    await forwarder.reading();
    assertThreads(forwarder.pid, nobody);
    assertNotDumped(forwarder.pid);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  },
  NEEDS_ROOT,
);

test("an ordinary user's forwarder keeps nothing that it does not need either", async () => {
  using sandbox = new Sandbox();
  await using stub = await startStub();
  const args = ["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url, "--log-level", "debug"];
  await using forwarder = await startForwarder(args, asOrdinaryUser(sandbox));
  const { threads, readable } = await forwarder.record("files are confined");
  assert.ok(!String(readable).split(" ").includes("/"), String(readable));
  assert.match(
    String(threads),
    /^(every thread|this thread and those that it starts|none: the kernel has no Landlock)$/,
  );
  assertNotDumped(forwarder.pid);
  await guestLife(sandbox.address, plainFrames(1, 10));
  await taken(stub, 10);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("root is nobody over AF_VSOCK and while dumping too", async () => {
  const vsockIsThere = /^AF_VSOCK /m.test(readFileSync("/proc/net/protocols", "utf8"));
  // A port of its own, so that nothing else on this machine uses it at the same time.
  const port = 20_000 + process.pid % 40_000;
  await using forwarder = new Forwarder(["--dump-only", "--vsock-port", `${port}`]);
  if (!vsockIsThere) {
    assert.deepEqual(await forwarder.exited, FAILED);
    assert.match(forwarder.stderr, /modprobe vhost_vsock/);
    return;
  }
  const { address } = await forwarder.record("listening");
  assert.equal(address, `vsock:any:${port}`);
  assertThreads(forwarder.pid, unprivileged(NOBODY, NOBODY));
  {
    await using second = new Forwarder(["--dump-only", "--vsock-port", `${port}`]);
    assert.deepEqual(await second.exited, FAILED);
    assert.match(second.stderr, /another process listens there/);
  }
  {
    await using nowhere = new Forwarder(["--dump-only", "--vsock-cid", "77"]);
    assert.deepEqual(await nowhere.exited, FAILED);
    assert.match(nowhere.stderr, /no CID 77: use --vsock-cid any/);
  }
  assert.deepEqual(await forwarder.stop(), CLEAN);
}, NEEDS_ROOT);

test("the forwarder's own user is the default, and nobody only with a warning that says what to do", async () => {
  using sandbox = new Sandbox();
  const args = ["--socket-path", sandbox.socketPath, "--dump-only"];
  const env = { KATA_TRACE_FORWARDER_USER: "" };
  const warning = /^running as nobody: .*useradd.*--user$/;
  {
    await using shared = await startForwarder(args, { env });
    assertThreads(shared.pid, unprivileged(NOBODY, NOBODY));
    assert.deepEqual(shared.recordsOf(warning).map(({ level }) => level), ["WARN"]);
    assert.deepEqual(await shared.stop(), CLEAN);
  }
  {
    await using asked = await startForwarder([...args, "--user", "nobody"], { env });
    assert.deepEqual(asked.recordsOf(warning), []);
    assert.deepEqual(await asked.stop(), CLEAN);
  }
  // As on a machine on which the package is installed.
  const passwd = sandbox.path("passwd");
  writeFileSync(passwd, `${readFileSync("/etc/passwd", "utf8")}kata-trace-forwarder:x:4711:4712::/:/bin/false\n`);
  const script = 'mount --bind "$0" /etc/passwd && exec "$@"';
  await using own = await startForwarder(args, { env, through: ["unshare", "-m", "sh", "-c", script, passwd] });
  assertThreads(own.pid, unprivileged(4711, 4712));
  assert.deepEqual(own.recordsOf(warning), []);
  assert.deepEqual(await own.stop(), CLEAN);
}, NEEDS_ROOT);

test("--user takes a name and a number", async () => {
  const passwd = readFileSync("/etc/passwd", "utf8");
  const [, uid, gid] = /^daemon:[^:]*:(\d+):(\d+):/m.exec(passwd)?.map(Number) ?? [];
  assert.ok(uid !== undefined && uid > 0 && gid !== undefined);
  for (const user of ["daemon", String(uid)]) {
    using sandbox = new Sandbox();
    await using forwarder = await startForwarder([
      ...["--socket-path", sandbox.socketPath, "--dump-only", "--user", user],
    ]);
    assertThreads(forwarder.pid, unprivileged(uid, gid));
    assert.deepEqual(await forwarder.stop(), CLEAN);
  }
}, NEEDS_ROOT);

test(
  "a missing user, and root itself, are errors before anything is opened",
  async () => {
    using sandbox = new Sandbox();
    for (
      const [user, reason] of [["no-such-user", /no user "no-such-user".*--user/], [
        "root",
        /"root" is root/,
      ], ["0", /is root/]] as const
    ) {
      await using forwarder = new Forwarder([
        ...["--socket-path", sandbox.socketPath, "--wait-for-collector", "--user", user],
        ...["--spool-dir", sandbox.path("spool"), "--dead-letter", sandbox.path("dead")],
      ]);
      assert.deepEqual(await forwarder.exited, FAILED);
      assert.match(forwarder.stderr, reason);
      assert.deepEqual(readdirSync(sandbox.directory), []);
    }
  },
  NEEDS_ROOT,
);

test("spool and dead letters are opened as root, and the spool belongs to the user", async () => {
  using sandbox = new Sandbox();
  await using stub = await startStub();
  stub.answer = ({ spans }) =>
    spans.some(({ spanId }) => spanId === plainIds(2, 1)[0]) ? { kind: "status", status: 400 } : { kind: "ok" };
  // The user nobody may neither read this directory nor write to what is in it.
  const secret = sandbox.path("root-only");
  mkdirSync(secret, { mode: 0o700 });
  const deadLetters = `${secret}/dead-letters`;
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--spool-dir", sandbox.path("spool"), "--dead-letter", deadLetters],
  ]);
  await guestLife(sandbox.address, plainFrames(1, 3));
  await taken(stub, 2);
  await until(() => readFileSync(deadLetters, "utf8").endsWith("\n"), "a dead letter");
  assert.deepEqual(takenIds(stub), [...plainIds(1, 1), ...plainIds(3, 1)]);
  assert.equal(lstatSync(deadLetters).mode & 0o777, 0o600);
  const spool = lstatSync(sandbox.path("spool"));
  assert.deepEqual([spool.uid, spool.gid, spool.mode & 0o777], [NOBODY, NOBODY, 0o700]);
  for (const file of readdirSync(sandbox.path("spool"))) {
    assert.equal(lstatSync(sandbox.path(`spool/${file}`)).uid, NOBODY);
  }
  assertThreads(forwarder.pid, unprivileged(NOBODY, NOBODY));
  assert.deepEqual(await forwarder.stop(), CLEAN);
}, NEEDS_ROOT);

test("what only root can reach is out of reach after the start", async () => {
  using sandbox = new Sandbox();
  const secret = sandbox.path("root-only");
  mkdirSync(secret, { mode: 0o700 });
  // Root makes the directory, but the database in it is opened by the user.
  await using forwarder = new Forwarder([
    ...["--socket-path", sandbox.socketPath, "--wait-for-collector"],
    ...["--spool-dir", `${secret}/spool`],
  ]);
  assert.deepEqual(await forwarder.exited, FAILED);
  assert.match(
    forwarder.stderr,
    /^kata-trace-forwarder: spool directory \S*\/spool is out of reach for the user .*\(chmod o\+x\), .*: EACCES.*\n$/,
  );
  assert.deepEqual(readdirSync(`${secret}/spool`), []);
  assert.equal(existsSync(sandbox.address), false);
  chmodSync(secret, 0o755);
}, NEEDS_ROOT);
