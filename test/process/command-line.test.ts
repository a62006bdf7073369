import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { startStub } from "./support/pipeline.ts";
import { assertOneLine, PACKAGE_VERSION, runToEnd } from "./support/process.ts";
import { Sandbox } from "./support/sandbox.ts";
import { test } from "./support/test.ts";

/** Invalid command lines, and what the error must say. */
const WRONG: readonly (readonly [readonly string[], RegExp, Readonly<Record<string, string>>?])[] = [
  [["--vsock-cid", ""], /--vsock-cid/],
  [["--vsock-cid", "three"], /--vsock-cid.*"three"/],
  [["--vsock-cid", "4294967296"], /--vsock-cid/],
  [["--vsock-port", ""], /--vsock-port/],
  [["--vsock-port", "http"], /--vsock-port.*"http"/],
  [["--vsock-port", "0"], /--vsock-port.*"0"/],
  [["--vsock-port", "4294967295"], /--vsock-port/, { KATA_TRACE_FORWARDER_SOCKET_PATH: "" }],
  [["--socket-path", ""], /--socket-path.*empty/],
  [["--socket-path", "/run/clh.sock "], /--socket-path.*ends with a blank/],
  [[], /KATA_TRACE_FORWARDER_SPOOL_DIR.*ends with a blank/, { KATA_TRACE_FORWARDER_SPOOL_DIR: "/spool " }],
  [["--trace-name", ""], /--trace-name.*empty/],
  [["--otlp-endpoint", ""], /--otlp-endpoint.*empty/],
  [["--otlp-endpoint", "localhost:4317"], /--otlp-endpoint.*scheme/],
  [["--otlp-endpoint", "ftp://x"], /--otlp-endpoint/],
  [["--otlp-protocol", "http/json"], /--otlp-protocol.*grpc or http\/protobuf/],
  [["--log-level", "loud"], /--log-level.*critical/],
  [["--log-format", "xml"], /--log-format.*json or text/],
  [["--socket-mode", "rw"], /--socket-mode/],
  [["--max-frame-bytes", "0"], /--max-frame-bytes/],
  [["--max-frame-bytes", "17MiB"], /--max-frame-bytes.*--max-guest-bytes/],
  [["--max-guest-bytes", "65MiB"], /--max-guest-bytes.*--max-total-guest-bytes/],
  [["--max-total-guest-bytes", "5MB"], /--max-total-guest-bytes.*5MB/],
  [["--max-guests", "0"], /--max-guests/],
  [["--frame-timeout", "soon"], /--frame-timeout/],
  [["--idle-timeout", "-1"], /--idle-timeout/],
  [["--max-spans-per-second", "many"], /--max-spans-per-second/],
  [["--queue-bytes", "-5"], /--queue-bytes/],
  [["--when-full", "panic"], /--when-full.*drop-oldest/],
  [["--spool-bytes", "lots", "--spool-dir", "spool"], /--spool-bytes/],
  [["--spool-bytes", "7M", "--spool-dir", "spool"], /--spool-bytes.*give 8 MiB or more/],
  [["--spool-dir", ""], /--spool-dir.*empty/],
  [["--dead-letter", ""], /--dead-letter.*empty/],
  [["--shutdown-timeout", "x"], /--shutdown-timeout/],
  [["--metrics", "localhost"], /--metrics/],
  [["--view", "0.0.0.0:8690"], /--view.*0\.0\.0\.0:8690.*not a loopback address.*port-forward/],
  [["view", "--view", "[2001:db8::1]:8690"], /--view.*not a loopback address/],
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

test("each wrong option is named in one line, with exit code 1, before anything is opened", async () => {
  using sandbox = new Sandbox();
  await using stub = await startStub();
  // These are valid, and would leave something behind if they were used first.
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

test("--version and --help print to standard output", async () => {
  for (const flag of ["--version", "-v", "-V", "version"]) {
    const { code, stdout, stderr } = await runToEnd([flag]);
    assert.deepEqual([code, stderr], [0, ""]);
    const [first = "", second = ""] = stdout.split("\n");
    assert.ok(first.startsWith(`kata-trace-forwarder ${PACKAGE_VERSION} (commit `), first);
    assert.match(first, / \(commit (?:[0-9a-f]{12}(?:-dirty)?|unknown)\)$/);
    assert.match(second, /^linux-(?:x64|arm64), Bun [0-9.]+, built \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
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

test("bash completes an option and its values", async () => {
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
    "--otlp-listen",
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
  assert.match(stdout, /\n95 spans, every field as it was sent; [^\n]+\n[^\n]+--view[^\n]+\n$/);
  for (const line of stdout.split("\n").slice(1, -3)) assert.ok(line.length <= 80, line);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f\x7f]/);
  assert.deepEqual(readdirSync(sandbox.directory), []);
});

test("output that cannot be written is a failure, unless its reader wanted only the beginning", async () => {
  const commands = [["--help"], ["--version"], ["completions", "bash"], ["demo"]];
  for (const args of commands) {
    const through = ["sh", "-c", 'exec "$@" >/dev/full', "sh"];
    const { code, stderr } = await runToEnd(args, { through });
    assert.equal(code, 1, args.join(" "));
    assertOneLine(stderr, /: standard output cannot be written: ENOSPC/);
  }
  for (const args of commands.slice(0, 3)) {
    const through = ["sh", "-c", '{ "$@"; echo "$?" >&2; } | head -c 1 >/dev/null', "sh"];
    assert.equal((await runToEnd(args, { through })).stderr, "0\n", args.join(" "));
  }
});

test("licenses prints a licence text for everything in the executable", async () => {
  const { code, stdout, stderr } = await runToEnd(["licenses"]);
  assert.deepEqual([code, stderr], [0, ""]);
  for (const name of ["commander", "smol-toml", "preact", "@opentelemetry/core", "Bun 1", "boringssl"]) {
    assert.match(stdout, new RegExp(`^${name}`, "m"));
  }
  assert.match(stdout, /^Source: https:\/\/github\.com\/oven-sh\/WebKit, commit [0-9a-f]{40}$/m);
  assert.match(stdout, /GNU LIBRARY GENERAL PUBLIC LICENSE/);
});

test("variables with which the runtime would load other code, or trust anybody, are refused by name", async () => {
  using sandbox = new Sandbox();
  const file = sandbox.path("evil.js");
  writeFileSync(file, 'console.log("evil");');
  for (
    const [variable, value] of [
      ["BUN_OPTIONS", `--preload ${file}`],
      ["BUN_OPTIONS", "--version"],
      ["BUN_BE_BUN", "1"],
      ["BUN_INSPECT", "127.0.0.1:0"],
      ["BUN_INSPECT_PRELOAD", file],
      ["NODE_TLS_REJECT_UNAUTHORIZED", "0"],
    ] as const
  ) {
    const args = ["--socket-path", sandbox.socketPath, "--dump-only"];
    const { code, stdout, stderr } = await runToEnd(args, { env: { [variable]: value }, cwd: sandbox.directory });
    assert.deepEqual([code, stdout], [1, ""], variable);
    assertOneLine(stderr, new RegExp(`^kata-trace-forwarder: ${variable} .*: unset it`));
  }
});
