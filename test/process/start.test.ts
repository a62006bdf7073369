import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { listen } from "../otlp/support/http-receiver.ts";
import { CollectorStub } from "../support/collector-stub.ts";
import { Forwarder, startForwarder } from "./support/forwarder.ts";
import { Pipeline, startStub } from "./support/pipeline.ts";
import { Running, runToEnd, until } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

const CLEAN = { code: 0, signal: null };
const FAILED = { code: 1, signal: null };

const PACKAGE = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
) as { readonly version: string };

/** A port where nobody listens: one that was free just now. */
async function freePort(): Promise<number> {
  const stub = await CollectorStub.start();
  await stub.stop();
  return stub.port;
}

/** One line on standard error that begins with the program's name. */
function assertOneLine(stderr: string, reason: RegExp): void {
  assert.match(stderr, /^kata-trace-forwarder: [^\n]+\n$/);
  assert.match(stderr, reason);
}

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
    version: PACKAGE.version,
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

test("--log-level and --log-format", async () => {
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
  text.kill();
  assert.deepEqual(await text.exited, CLEAN);
  const lines = text.stdout.split("\n");
  // No colours: this is no terminal.
  assert.match(lines[0] ?? "", /^\d{4}-\S+Z INFO announce commit-version=\S+$/);
  assert.match(lines[1] ?? "", /^\d{4}-\S+Z INFO listening address=\S+_10240$/);
});

test("no collector: one line, exit code 1, nothing left behind", async () => {
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

test("--wait-for-collector: what comes before the collector is delivered once it is there", async () => {
  using sandbox = new Sandbox();
  const port = await freePort();
  await using forwarder = await startForwarder(
    [
      ...["--socket-path", sandbox.socketPath, "--wait-for-collector"],
      ...["--otlp-endpoint", `http://127.0.0.1:${port}`],
    ],
    // Until then the transport tries again by itself.
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

test("a signal while the start still waits for the collector ends it, and leaves nothing", async () => {
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
      // The handlers are there right after that.
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

/** Command lines that cannot be obeyed, and what the one line must say. */
const WRONG: readonly (readonly [readonly string[], RegExp, Readonly<Record<string, string>>?])[] =
  [
    [["--vsock-cid", ""], /--vsock-cid/],
    [["--vsock-cid", "three"], /--vsock-cid.*"three"/],
    [["--vsock-cid", "4294967296"], /--vsock-cid/],
    [["--vsock-port", ""], /--vsock-port/],
    [["--vsock-port", "http"], /--vsock-port.*"http"/],
    [["--vsock-port", "0"], /--vsock-port.*"0"/],
    [["--vsock-port", "4294967295"], /--vsock-port/, { KATA_TRACE_FORWARDER_SOCKET_PATH: "" }],
    [["--socket-path", ""], /--socket-path.*empty/],
    [["--trace-name", ""], /--trace-name.*empty/],
    [["--otlp-endpoint", ""], /--otlp-endpoint.*empty/],
    [["--otlp-endpoint", "localhost:4317"], /--otlp-endpoint.*scheme/],
    [["--otlp-endpoint", "ftp://x"], /--otlp-endpoint/],
    [["--otlp-protocol", "http/json"], /--otlp-protocol.*grpc or http\/protobuf/],
    [["--log-level", "loud"], /--log-level.*critical/],
    [["--log-format", "xml"], /--log-format.*json or text/],
    [["--socket-mode", "rw"], /--socket-mode/],
    [["--max-frame-bytes", "0"], /--max-frame-bytes/],
    [["--max-frame-bytes", "9MiB"], /--max-frame-bytes.*--max-guest-bytes/],
    [["--max-guest-bytes", "65MiB"], /--max-guest-bytes.*--max-total-guest-bytes/],
    [["--max-total-guest-bytes", "5MB"], /--max-total-guest-bytes.*5MB/],
    [["--max-guests", "0"], /--max-guests/],
    [["--frame-timeout", "soon"], /--frame-timeout/],
    [["--idle-timeout", "-1"], /--idle-timeout/],
    [["--max-spans-per-second", "many"], /--max-spans-per-second/],
    [["--queue-bytes", "-5"], /--queue-bytes/],
    [["--when-full", "panic"], /--when-full.*drop-oldest/],
    [["--spool-bytes", "lots", "--spool-dir", "spool"], /--spool-bytes/],
    [["--spool-dir", ""], /--spool-dir.*empty/],
    [["--dead-letter", ""], /--dead-letter.*empty/],
    [["--shutdown-timeout", "x"], /--shutdown-timeout/],
    [["--metrics", "localhost"], /--metrics/],
    [["--user", ""], /--user.*empty/],
    [["--socket-group", ""], /--socket-group.*empty/],
    [["--otlp-endpont", "http://x"], /--otlp-endpont.*--otlp-endpoint/],
    [["--socket-path"], /--socket-path/],
    [["--socket-path", "--dump-only"], /--socket-path.*--dump-only/],
    [["start"], /"start".*demo/],
    [["completions", "tcsh"], /tcsh.*bash/],
    [["demo", "--width", "3"], /--width/],
    [[], /OTEL_EXPORTER_OTLP_ENDPOINT/, { OTEL_EXPORTER_OTLP_ENDPOINT: "nowhere" }],
    [[], /OTEL_EXPORTER_OTLP_PROTOCOL/, { OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" }],
    [[], /OTEL_RESOURCE_ATTRIBUTES/, { OTEL_RESOURCE_ATTRIBUTES: "novalue" }],
    [[], /OTEL_BSP_MAX_EXPORT_BATCH_SIZE/, { OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "0" }],
    [[], /KATA_TRACE_FORWARDER_VSOCK_PORT/, { KATA_TRACE_FORWARDER_VSOCK_PORT: "0" }],
  ];

test("each wrong option: one line that names it, exit code 1, before anything is opened", async () => {
  using sandbox = new Sandbox();
  await using stub = await startStub();
  // Valid on their own: would leave something behind if they were looked at first.
  const fine = {
    KATA_TRACE_FORWARDER_DEAD_LETTER: sandbox.path("dead-letters"),
    KATA_TRACE_FORWARDER_SPOOL_DIR: sandbox.path("spool"),
    KATA_TRACE_FORWARDER_SOCKET_PATH: sandbox.socketPath,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: stub.url,
  };
  for (const [args, reason, env] of WRONG) {
    const { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: _, ...others } = fine;
    const all = env === undefined ? { ...fine } : { ...others, ...env };
    const { code, stdout, stderr } = await runToEnd(args, { env: all, cwd: sandbox.directory });
    const shown = `${args.join(" ")} ${JSON.stringify(env ?? {})}`;
    assert.equal(code, 1, shown);
    assert.equal(stdout, "", shown);
    assertOneLine(stderr, reason);
    assert.deepEqual(readdirSync(sandbox.directory), [], shown);
  }
  assert.equal(stub.requests.length, 0);
});

test("what cannot be opened: one line, exit code 1, no socket", async () => {
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

test("--version and --help", async () => {
  for (const flag of ["--version", "-v"]) {
    const { code, stdout, stderr } = await runToEnd([flag]);
    assert.deepEqual([code, stderr], [0, ""]);
    const version = PACKAGE.version.replaceAll(".", "\\.");
    assert.match(
      stdout,
      new RegExp(
        `^kata-trace-forwarder ${version} \\(commit ([0-9a-f]{12}(-dirty)?|unknown)\\)\n$`,
      ),
    );
  }
  for (const args of [["--help"], ["-h"], ["help"]]) {
    const { code, stdout, stderr } = await runToEnd(args);
    assert.deepEqual([code, stderr], [0, ""]);
    for (
      const word of ["--otlp-endpoint", "--socket-path", "demo", "OTEL_EXPORTER_OTLP_ENDPOINT"]
    ) {
      assert.ok(stdout.includes(word), `${word} in the help`);
    }
    for (const line of stdout.split("\n")) assert.ok(line.length <= 100, line);
  }
});

test("completions: bash takes them, and completes an option and its values", async () => {
  const { code, stdout } = await runToEnd(["completions", "bash"]);
  assert.equal(code, 0);
  using sandbox = new Sandbox();
  writeFileSync(sandbox.path("completions"), stdout);
  const completed = (line: string): string[] => {
    const script = `
      source "$1"
      COMP_LINE="$2"; COMP_POINT=\${#COMP_LINE}
      read -r -a COMP_WORDS <<< "$2"
      [ "\${2: -1}" = " " ] && COMP_WORDS+=("")
      COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
      spec=$(complete -p kata-trace-forwarder)
      [[ $spec =~ -F\\ ([^ ]+) ]] && "\${BASH_REMATCH[1]}" kata-trace-forwarder \\
        "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"
      printf '%s\\n' "\${COMPREPLY[@]}"
    `;
    const { stdout, stderr, status } = spawnSync(
      "bash",
      ["-c", script, "bash", sandbox.path("completions"), line],
      { encoding: "utf8" },
    );
    assert.equal(status, 0, stderr);
    return stdout.split("\n").map((word) => word.trim()).filter((word) => word !== "");
  };
  assert.deepEqual(completed("kata-trace-forwarder --otlp-").toSorted(), [
    "--otlp-endpoint",
    "--otlp-protocol",
  ]);
  assert.deepEqual(completed("kata-trace-forwarder --when-full ").toSorted(), [
    "drop-oldest",
    "pause",
  ]);
  for (const shell of ["zsh", "fish"]) {
    const { code, stdout } = await runToEnd(["completions", shell]);
    assert.equal(code, 0);
    assert.match(stdout, /otlp-endpoint/);
  }
});

test("demo: every span arrives; without a terminal it is plain text; no collector, no root, no home", async () => {
  using sandbox = new Sandbox();
  const { code, stdout, stderr } = await runToEnd(["demo", "--width", "80"], {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", TMPDIR: sandbox.directory },
  });
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /\n36 spans, every field as it was sent; [^\n]+\n$/);
  for (const line of stdout.split("\n").slice(1, -2)) assert.ok(line.length <= 80, line);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f\x7f]/);
  assert.deepEqual(readdirSync(sandbox.directory), []);
});

test("no file of the directory it is started in changes what it does", async () => {
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
