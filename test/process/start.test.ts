import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, listen } from "../support/ports.ts";
import { until } from "../support/until.ts";
import { Forwarder, startForwarder } from "./support/forwarder.ts";
import { Pipeline, startStub } from "./support/pipeline.ts";
import { assertOneLine, CLEAN, FAILED, PACKAGE_VERSION, Running } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { SlowReader } from "./support/slow-reader.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

test("the first record is announce, with the keys that scripts read", async () => {
  await using pipeline = await Pipeline.start();
  const { forwarder, sandbox } = pipeline;
  const [announce = assert.fail("no record"), ...rest] = forwarder.records;
  assert.deepEqual(Object.keys(announce).slice(0, 8), [
    "msg",
    "level",
    "ts",
    "version",
    "subsystem",
    "pid",
    "name",
    "source",
  ]);
  const { ts, "commit-version": commit, ...fixed } = announce;
  assert.deepEqual(fixed, {
    msg: "announce",
    level: "INFO",
    version: PACKAGE_VERSION,
    subsystem: "root",
    pid: String(forwarder.pid),
    name: "kata-trace-forwarder",
    source: "kata-trace-forwarder",
  });
  assert.match(String(ts), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(String(ts)) - Date.now()) < 24 * 60 * 60 * 1000);
  assert.match(String(commit), /^([0-9a-f]{12}(-dirty)?|unknown)$/);
  assert.equal(rest.find(({ msg }) => msg === "listening")?.["address"], sandbox.address);
  assert.equal(forwarder.stderr, "");
});

test("--log-level and --log-format change the log", async () => {
  await using stub = await startStub();
  using sandbox = new Sandbox();
  const args = ["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url];
  await using quiet = new Running([...args, "-l", "error"]);
  await until(() => existsSync(sandbox.address), "it listens");
  await guestLife(sandbox.address, plainFrames(1, 1));
  await taken(stub, 1);
  quiet.kill();
  assert.deepEqual(await quiet.exited, CLEAN);
  assert.equal(quiet.stdout, "");

  await using text = new Running([...args, "--log-format", "text"]);
  await until(() => text.stdout.includes(" listening "), "it listens");
  await guestLife(sandbox.address, plainFrames(2, 1));
  await taken(stub, 2);
  text.kill();
  assert.deepEqual(await text.exited, CLEAN);
  const lines = text.stdout.split("\n");
  // There are no colours, because this is not a terminal.
  assert.match(lines[0] ?? "", /^\d{4}-\S+Z INFO announce commit-version=\S+$/);
  assert.match(
    lines.find((line) => line.includes(" listening ")) ?? "",
    /^\d{4}-\S+Z INFO listening address=\S+_10240$/,
  );
  // Of the figures, people see those that are not zero.
  const figures = lines.find((line) => line.includes(" figures ")) ?? "";
  assert.match(figures, / spans_received=1 /);
  assert.doesNotMatch(figures, /=0( |$)/);
});

test("a log that nobody reads, or can no longer read, does not stop the forwarder", async () => {
  for (const isGone of [false, true]) {
    await using stub = await startStub();
    using sandbox = new Sandbox();
    using reader = new SlowReader(sandbox);
    await using forwarder = new Running(
      ["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
      { stdout: reader.writeEnd },
    );
    await until(() => existsSync(sandbox.address), "it listens");
    await until(() => handles(forwarder.pid, "SIGTERM"), "signals are handled");
    if (isGone) reader.close();
    // All figures many times, which is more than fits into a pipe (64 KiB).
    for (let i = 0; i < 150; i++) {
      forwarder.kill("SIGUSR1");
      await sleep(2);
    }
    await guestLife(sandbox.address, plainFrames(1, 100));
    await taken(stub, 100);
    assert.deepEqual(takenIds(stub), plainIds(1, 100));
    forwarder.kill();
    assert.deepEqual(await forwarder.exited, CLEAN);
    assert.equal(existsSync(sandbox.address), false);
    if (!isGone) {
      reader.read();
      assert.match(reader.text, /"msg":"announce"[^\n]*\n.*"msg":"figures"/s);
    }
  }
});

test("without a collector the start fails with one line and exit code 1, and leaves nothing behind", async () => {
  using sandbox = new Sandbox();
  const port = await freePort();
  for (const protocol of ["grpc", "http/protobuf"]) {
    const args = [
      ...["--socket-path", sandbox.socketPath],
      ...["--otlp-endpoint", `http://127.0.0.1:${port}`],
      ...["--otlp-protocol", protocol],
    ];
    await using forwarder = new Forwarder(args);
    assert.deepEqual(await forwarder.exited, FAILED);
    assertOneLine(forwarder.stderr, new RegExp(`no collector at http://127.0.0.1:${port}`));
    assert.equal(forwarder.recordsOf("cannot start")[0]?.level, "ERRO");
    assert.deepEqual(readdirSync(sandbox.directory), []);
  }
});

test("with --wait-for-collector spans are delivered once the collector is there", async () => {
  using sandbox = new Sandbox();
  const port = await freePort();
  await using forwarder = await startForwarder(
    [
      ...["--socket-path", sandbox.socketPath, "--wait-for-collector"],
      ...["--otlp-endpoint", `http://127.0.0.1:${port}`],
    ],
    // Until then the transport retries by itself.
    { env: { OTEL_EXPORTER_OTLP_TIMEOUT: "500" } },
  );
  await guestLife(sandbox.address, plainFrames(1, 10));
  await forwarder.record("collector unreachable: spans are held until it is back");
  await using stub = await startStub(port);
  await taken(stub, 10);
  assert.deepEqual(takenIds(stub), plainIds(1, 10));
  await forwarder.record("collector is back");
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a signal ends a start that waits for the collector, and nothing is left behind", async () => {
  using sandbox = new Sandbox();
  const silent = createServer((socket) => socket.resume());
  const port = await listen(silent);
  try {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      await using forwarder = new Forwarder([
        ...["--socket-path", sandbox.socketPath],
        ...["--otlp-endpoint", `http://127.0.0.1:${port}/v1/traces`],
      ]);
      await forwarder.record("announce");
      // The handlers are installed right after that.
      await until(() => handles(forwarder.pid, signal), "the signal is handled");
      assert.deepEqual(await forwarder.stop(signal), CLEAN);
      await forwarder.record("stopped before the start was done");
      assert.deepEqual(readdirSync(sandbox.directory), []);
    }
  } finally {
    silent.close();
  }
});

/** Whether a process has a handler for a signal (proc_pid_status(5)). */
function handles(pid: number, signal: "SIGTERM" | "SIGINT"): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  const number = signal === "SIGINT" ? 2n : 15n;
  return ((BigInt(`0x${caught}`) >> (number - 1n)) & 1n) === 1n;
}

test("if something cannot be opened the start fails with one line and exit code 1, without a socket", async () => {
  await using stub = await startStub();
  using sandbox = new Sandbox();
  writeFileSync(sandbox.path("file"), "");
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["--metrics", `127.0.0.1:${stub.port}`], /--metrics 127\.0\.0\.1:\d+: .*in use/],
    [["--spool-dir", sandbox.path("no/such")], /spool/],
    [["--spool-dir", sandbox.path("file")], /spool/],
    [["--dead-letter", sandbox.path("no/such")], /dead-letter/],
    [["--dead-letter", sandbox.directory], /dead-letter/],
    [["--socket-group", "no-such-group"], /no-such-group.*--socket-group/],
    [["--socket-path", sandbox.path("no/such.sock")], /does not exist.*--socket-path/],
  ];
  for (const [args, reason] of cases) {
    await using forwarder = new Forwarder([
      ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
      ...args,
    ]);
    assert.deepEqual(await forwarder.exited, FAILED, args.join(" "));
    assertOneLine(forwarder.stderr, reason);
    assert.deepEqual(readdirSync(sandbox.directory), ["file"], args.join(" "));
  }
});

test("no file in the current directory changes what it does", async () => {
  using sandbox = new Sandbox();
  writeFileSync(sandbox.path(".env"), "KATA_TRACE_FORWARDER_LOG_FORMAT=text\nBUN_INSPECT=1\n");
  writeFileSync(sandbox.path("bunfig.toml"), 'preload = ["./evil.js"]\n');
  writeFileSync(sandbox.path("evil.js"), 'console.log("evil"); process.exit(7);\n');
  writeFileSync(sandbox.path("package.json"), "{ this is no JSON");
  writeFileSync(sandbox.path("tsconfig.json"), "{ this is no JSON");
  await using forwarder = await startForwarder(
    ["--socket-path", sandbox.socketPath, "--dump-only"],
    { cwd: sandbox.directory },
  );
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(forwarder.stdout, "");
});
