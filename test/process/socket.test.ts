import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { asOrdinaryUser } from "./support/as-nobody.ts";
import { Forwarder, startForwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN, FAILED } from "./support/process.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { test } from "./support/test.ts";
import { plainFrames, taken } from "./support/spans.ts";

/** A dump, which needs no collector. */
function dump(sandbox: Sandbox, ...args: string[]): string[] {
  return ["--socket-path", sandbox.socketPath, "--dump-only", ...args];
}

/** A start that must fail with one line. */
async function refused(args: readonly string[], reason: RegExp): Promise<void> {
  await using forwarder = new Forwarder(args);
  assert.deepEqual(await forwarder.exited, FAILED);
  const line = forwarder.stderr.split("\n").find((line) => line.startsWith("kata-trace-forwarder:"));
  assert.match(line ?? "", reason);
}

test("a socket that a killed forwarder left is replaced", async () => {
  using sandbox = new Sandbox();
  {
    await using killed = await startForwarder(dump(sandbox));
    await killed.stop("SIGKILL");
  }
  const stale = lstatSync(sandbox.address);
  assert.ok(stale.isSocket());
  await using stub = await startStub();
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
  ]);
  await guestLife(sandbox.address, plainFrames(1, 1));
  await taken(stub, 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(existsSync(sandbox.address), false);
});

test("a socket that another forwarder listens at is an error, and the other one continues", async () => {
  using sandbox = new Sandbox();
  await using first = await startForwarder(dump(sandbox));
  const before = lstatSync(sandbox.address);
  await refused(dump(sandbox), /another forwarder listens there/);
  assert.equal(lstatSync(sandbox.address).ino, before.ino);
  await guestLife(sandbox.address, plainFrames(1, 1));
  await first.record("guest gone", ({ spans }) => spans === 1);
  assert.deepEqual(await first.stop(), CLEAN);
});

test("a file, a directory or a link is never touched", async () => {
  using sandbox = new Sandbox();
  writeFileSync(sandbox.address, "precious");
  await refused(dump(sandbox), /a file is there/);
  assert.equal(readFileSync(sandbox.address, "utf8"), "precious");
  rmSync(sandbox.address);

  mkdirSync(sandbox.address);
  await refused(dump(sandbox), /a directory is there/);
  assert.ok(lstatSync(sandbox.address).isDirectory());
  rmSync(sandbox.address, { recursive: true });

  // Not even a link to a stale socket, because what it leads to is not the forwarder's.
  const target = sandbox.path("elsewhere_10240");
  {
    await using killed = await startForwarder([
      ...["--socket-path", sandbox.path("elsewhere"), "--dump-only"],
    ]);
    await killed.stop("SIGKILL");
  }
  symlinkSync(target, sandbox.address);
  await refused(dump(sandbox), /a symbolic link is there/);
  assert.equal(readlinkSync(sandbox.address), target);
  assert.ok(lstatSync(target).isSocket());
});

test("its mode is 0660 or as given, whatever the umask is", async () => {
  for (const [args, mode] of [[[], 0o660], [["--socket-mode", "0606"], 0o606]] as const) {
    using sandbox = new Sandbox();
    await using forwarder = await startForwarder(dump(sandbox, ...args), {
      through: ["sh", "-c", 'umask 077; exec "$0" "$@"'],
    });
    assert.equal(lstatSync(sandbox.address).mode & 0o7777, mode);
    assert.equal(lstatSync(sandbox.address).uid, process.geteuid?.());
    assert.deepEqual(await forwarder.stop(), CLEAN);
  }
});

test("its group is given by number or by name", async () => {
  const name = "daemon";
  const groups = readFileSync("/etc/group", "utf8");
  const gid = Number(new RegExp(`^${name}:[^:]*:(\\d+):`, "m").exec(groups)?.[1]);
  for (const group of [name, String(gid)]) {
    using sandbox = new Sandbox();
    await using forwarder = await startForwarder(dump(sandbox, "--socket-group", group));
    assert.equal(lstatSync(sandbox.address).gid, gid);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  }
}, NEEDS_ROOT);

test("at exit its socket is removed, but not what has taken its place", async () => {
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder(dump(sandbox));
  rmSync(sandbox.address);
  writeFileSync(sandbox.address, "another's");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(readFileSync(sandbox.address, "utf8"), "another's");
});

test("a relative path starts at the current directory, and the port is part of the name", async () => {
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder(
    ["--socket-path", "clh.sock", "--vsock-port", "1234", "--dump-only"],
    { cwd: sandbox.directory },
  );
  assert.ok(lstatSync(`${sandbox.socketPath}_1234`).isSocket());
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(existsSync(`${sandbox.socketPath}_1234`), false);
});

test("an ordinary user can listen where it may write, and elsewhere gets an error", async () => {
  using sandbox = new Sandbox();
  const options = asOrdinaryUser(sandbox);
  {
    await using forwarder = await startForwarder(dump(sandbox), options);
    await guestLife(sandbox.address, plainFrames(1, 1));
    await forwarder.record("guest gone", ({ spans }) => spans === 1);
    assert.deepEqual(await forwarder.stop(), CLEAN);
    assert.equal(existsSync(sandbox.address), false);
  }
  const locked = sandbox.path("locked");
  mkdirSync(locked);
  chmodSync(locked, 0o555);
  await using forwarder = new Forwarder(
    ["--socket-path", `${locked}/clh.sock`, "--dump-only"],
    options,
  );
  assert.deepEqual(await forwarder.exited, FAILED);
  assert.match(forwarder.stderr, /may not write to \S+locked: run as root/);
});

test("a path that is too long for a socket is refused, and one that just fits is not", async () => {
  using sandbox = new Sandbox();
  // sun_path has 108 bytes, including the terminating zero (unix(7)).
  const longest = 107 - "_10240".length;
  const fits = sandbox.path("x".repeat(longest - sandbox.directory.length - 1));
  await refused(["--socket-path", `${fits}x`, "--dump-only"], /at most 107/);
  await using forwarder = await startForwarder(["--socket-path", fits, "--dump-only"]);
  await guestLife(`${fits}_10240`, plainFrames(1, 1));
  await forwarder.record("guest gone", ({ spans }) => spans === 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test(
  "in root's directory the socket stays behind, and does not prevent the next start",
  async () => {
    using sandbox = new Sandbox();
    chmodSync(sandbox.directory, 0o755);
    for (let start = 0; start < 2; start++) {
      await using forwarder = await startForwarder(dump(sandbox));
      assert.deepEqual(await forwarder.stop(), CLEAN);
      assert.ok(existsSync(sandbox.address));
      assert.deepEqual(forwarder.records.filter(({ level }) => level !== "INFO"), []);
    }
  },
  NEEDS_ROOT,
);
