import assert from "node:assert/strict";
import { test } from "node:test";
import { type Command, parseCommandLine, UsageError } from "../../src/options/cli.ts";
import type { Environment } from "../../src/options/resolve.ts";
import { OPTIONS } from "../../src/options/table.ts";
import { VERSION } from "../../src/base/version.ts";
import { COMMANDS, EXAMPLES, type Subcommand } from "../../src/options/table.ts";

function usageError(argv: readonly string[], environment: Environment = {}): string {
  try {
    parseCommandLine(argv, environment);
  } catch (error) {
    assert.ok(error instanceof UsageError, `${error}`);
    assert.ok(!error.message.includes("\n"), "an error is one line");
    return error.message;
  }
  return assert.fail(`accepted: ${argv.join(" ")}`);
}

function text(command: Command): string {
  assert.ok("text" in command);
  return command.text;
}

test("without arguments the forwarder runs with the defaults", () => {
  const command = parseCommandLine([], {});
  assert.equal(command.kind, "run");
});

test("--help and help print all options to standard output, within 100 columns", () => {
  const help = text(parseCommandLine(["--help"], {}));
  for (const option of Object.values(OPTIONS)) {
    const name = "flag" in option ? option.flag : option.env[0];
    assert.ok(help.includes(` ${name} `), name);
  }
  for (const line of help.split("\n")) assert.ok(line.length <= 100, line);
  assert.match(help, /^Usage: kata-trace-forwarder \[options\] \[command\]\n/);
  assert.match(help, /\n {2}-l, --log-level LEVEL /);
  assert.match(help, /--max-frame-bytes SIZE .*\(default: 8MiB\)\n/);
  assert.match(help, /\n {2}demo {2,}/);
  assert.match(help, /[^\n]\n$/);
  assert.equal(text(parseCommandLine(["-h"], {})), help);
  assert.equal(text(parseCommandLine(["help"], {})), help);
});

test("help is shown even if other options are wrong", () => {
  assert.equal(parseCommandLine(["--vsock-port", "0", "--help"], {}).kind, "help");
  const broken = { KATA_TRACE_FORWARDER_VSOCK_PORT: "0" };
  assert.equal(parseCommandLine(["--help"], broken).kind, "help");
  assert.equal(parseCommandLine(["--version"], broken).kind, "version");
});

test("-v, -V, --version and version print version, commit, target, runtime and build date", () => {
  for (const word of ["-v", "-V", "--version", "version"]) {
    const command = parseCommandLine([word], { KATA_TRACE_FORWARDER_VSOCK_PORT: "0" });
    assert.equal(command.kind, "version");
    assert.match(
      command.text,
      /^kata-trace-forwarder [\d.]+ \(commit source\)\nlinux-(?:x64|arm64), (?:Bun|Deno) [\d.]+, built from source\n$/,
    );
    assert.ok(command.text.includes(` ${VERSION} `));
  }
});

test("help help is help, and every command has examples or takes nothing", () => {
  const help = text(parseCommandLine(["--help"], {}));
  assert.equal(text(parseCommandLine(["help", "help"], {})), help);
  assert.match(help, /\nExamples:\n {2}# See what .*\n {2}kata-trace-forwarder check\n/);
  for (const name of Object.keys(COMMANDS)) {
    const own = text(parseCommandLine(["help", name], {}));
    assert.equal(text(parseCommandLine([name, "--help"], {})), own);
    if (name !== "licenses" && name !== "version") assert.match(own, /\nExamples:\n/, name);
  }
});

test("every example is a command line that works", () => {
  const commands = Object.values(COMMANDS) as readonly Subcommand[];
  for (const { words } of [...EXAMPLES, ...commands.flatMap(({ examples = [] }) => examples)]) {
    const [command = ""] = words.split(/ && | > (?=\/)/);
    const argv = command.split(" ").map((word) => word.replaceAll("'", ""));
    assert.doesNotThrow(() => parseCommandLine(argv, {}), words);
  }
});

test("a misspelt option is answered with the most similar one", () => {
  assert.equal(
    usageError(["--otlp-endpiont", "http://c"]),
    "unknown option '--otlp-endpiont' (Did you mean --otlp-endpoint?) (see --help)",
  );
  assert.equal(
    usageError(["--zzz"]),
    "unknown option '--zzz' (see --help)",
  );
  assert.match(usageError(["--\x1b[2J"]), /unknown option '--\\u\{1b\}\[2J'/);
});

const COMMAND_NAMES = "check, demo, view, compare, export, replay, completions, licenses, version or help";

test("an unknown command is answered with the known ones", () => {
  assert.equal(
    usageError(["dmeo"]),
    `unknown command "dmeo": the commands are ${COMMAND_NAMES}`,
  );
  assert.equal(
    usageError(["help", "nope"]),
    `unknown command "nope": the commands are ${COMMAND_NAMES}`,
  );
});

test("an option without its value does not take the next option as its value", () => {
  assert.equal(
    usageError(["--socket-path", "--dump-only"]),
    "--socket-path needs a value before --dump-only",
  );
  assert.match(usageError(["--user", "-l"]), /^--user needs a value before -l$/);
  assert.match(usageError(["--user", "--help"]), /^--user needs a value before --help$/);
  assert.match(usageError(["--socket-path"]), /--socket-path <PATH>' argument missing/);
  assert.equal(usageError(["--dump-only=yes"]), "--dump-only takes no value (see --help)");
  assert.equal(usageError(["--dump=yes"]), "unknown option '--dump=yes' (see --help)");
});

test("a value can be written in every way that shells' users know", () => {
  for (
    const argv of [["--log-level", "debug"], ["--log-level=debug"], ["-l", "debug"], ["-ldebug"]]
  ) {
    const command = parseCommandLine(argv, {});
    assert.ok(command.kind === "run");
    assert.equal(command.settings.log.level, "debug", argv.join(" "));
  }
  const last = parseCommandLine(["-l", "debug", "-l", "warn"], {});
  assert.ok(last.kind === "run");
  assert.equal(last.settings.log.level, "warn");
});

test("a level may have the name that syslog has for it", () => {
  const command = parseCommandLine(["--log-level", "warning"], {});
  assert.ok(command.kind === "run");
  assert.equal(command.settings.log.level, "warn");
});

test("demo takes its own options, and refuses the forwarder's", () => {
  assert.deepEqual(parseCommandLine(["demo"], {}), { kind: "demo", view: false, logLevel: "error" });
  assert.deepEqual(parseCommandLine(["demo", "--width", "120", "-l", "info"], {}), {
    kind: "demo",
    width: 120,
    view: false,
    logLevel: "info",
  });
  assert.deepEqual(parseCommandLine(["demo"], { KATA_TRACE_FORWARDER_LOG_LEVEL: "warn" }), {
    kind: "demo",
    view: false,
    logLevel: "warn",
  });
  // The forwarder's environment does not affect it.
  assert.equal(parseCommandLine(["demo"], { KATA_TRACE_FORWARDER_VSOCK_PORT: "0" }).kind, "demo");
  assert.match(
    usageError(["demo", "--width", "39"]),
    /^--width: "39" is not a whole number from 40/,
  );
  assert.match(usageError(["demo", "--dump-only"]), /unknown option '--dump-only'/);
  assert.match(usageError(["--dump-only", "demo"]), /^--dump-only before demo has no effect/);
  assert.match(usageError(["demo", "now"]), /too many arguments/);
  assert.match(text(parseCommandLine(["demo", "--help"], {})), /--width COLUMNS/);
  assert.match(text(parseCommandLine(["help", "demo"], {})), /--width COLUMNS/);
});

test("a Jaeger's services can be chosen for view and compare, and make no sense without a Jaeger", () => {
  const services = (argv: readonly string[]): readonly string[] | undefined => {
    const command = parseCommandLine(argv, {});
    assert.ok(command.kind === "view" || command.kind === "compare");
    return command.from?.services;
  };
  const from = ["--from", "http://jaeger:16686"];
  assert.equal(services(["view", ...from]), undefined);
  assert.deepEqual(services(["view", ...from, "--service", "a,b", "--service", "kata"]), ["a,b", "kata"]);
  assert.deepEqual(services(["compare", "x", "y", ...from, "--service", "a"]), ["a"]);
  for (const command of [["view", "file"], ["view"], ["compare", "x", "y"]]) {
    assert.match(usageError([...command, "--service", "a"]), /^--service needs --from/);
  }
});

test("the help fits into the terminal, and is never wider than is easy to read", () => {
  const longest = (columns?: number, ...argv: string[]): number => {
    const command = parseCommandLine([...argv, "--help"], {}, columns);
    assert.ok(command.kind === "help");
    // Examples are to be copied.
    const [help = ""] = command.text.split("\nExamples:");
    return Math.max(...help.split("\n").map((line) => line.length));
  };
  for (const argv of [[], ["view"], ["compare"], ["check"]]) {
    assert.ok(longest(80, ...argv) <= 80, argv.join(" "));
    assert.ok(longest(undefined, ...argv) <= 100);
    assert.equal(longest(300, ...argv), longest(undefined, ...argv));
  }
});

test("view's log is for people on a terminal, unless it is told otherwise", () => {
  const logOf = (argv: readonly string[], columns?: number, environment: Environment = {}): unknown => {
    const command = parseCommandLine(argv, environment, columns);
    assert.ok(command.kind === "view" || command.kind === "run");
    return command.settings.log;
  };
  assert.deepEqual(logOf(["view"], 80), { level: "warn", format: "text" });
  assert.deepEqual(logOf(["view"]), { level: "info", format: "json" });
  assert.deepEqual(logOf(["view", "-l", "info"], 80), { level: "info", format: "text" });
  assert.deepEqual(logOf(["view", "--log-format", "json"], 80), { level: "warn", format: "json" });
  assert.deepEqual(logOf(["view"], 80, { KATA_TRACE_FORWARDER_LOG_LEVEL: "debug" }), {
    level: "debug",
    format: "text",
  });
  assert.deepEqual(logOf([], 80), { level: "info", format: "json" });
});

test("completions need a known shell", () => {
  for (const shell of ["bash", "zsh", "fish"] as const) {
    const command = parseCommandLine(["completions", shell], {});
    assert.ok(command.kind === "completions");
    assert.equal(command.shell, shell);
    assert.match(command.script, new RegExp(`^#.*${shell === "zsh" ? "compdef" : shell}`));
  }
  assert.equal(
    usageError(["completions", "tcsh"]),
    'completions: "tcsh" is not supported: give bash, zsh or fish',
  );
  assert.match(usageError(["completions"]), /missing required argument 'shell'/);
  assert.match(usageError(["completions", "bash", "zsh"]), /too many arguments/);
});

test("parsing twice gives the same, because nothing is kept between calls", () => {
  parseCommandLine(["--vsock-port", "7"], {});
  const command = parseCommandLine([], {});
  assert.ok(command.kind === "run");
  assert.equal(command.settings.listen[0].port, 10240);
});

test("an error names a variable that a deployment tool left quotation marks around", () => {
  for (
    const environment of [
      { OTEL_SERVICE_NAME: '"kata"' },
      { OTEL_RESOURCE_ATTRIBUTES: '"a=b,c=d"' },
      { OTEL_RESOURCE_ATTRIBUTES: "'a=b'" },
      { OTEL_EXPORTER_OTLP_ENDPOINT: '"http://c:4317"' },
      { KATA_TRACE_FORWARDER_LOG_LEVEL: " 'info' " },
    ]
  ) {
    const [name] = Object.keys(environment);
    assert.equal(
      usageError([], environment),
      `${name}: the value has quotation marks around it, which would be taken as part of it: leave them out`,
    );
  }
  // A command line has been through a shell, so its quotation marks are meant.
  const command = parseCommandLine(["--trace-name", '"kata"'], {});
  assert.equal(command.kind === "run" && command.settings.traceName, '"kata"');
});

test("check takes the forwarder's options, and checks every place where guests could come in", () => {
  const command = parseCommandLine(["check", "--json", "--jaeger-listen", "14268"], {});
  assert.equal(command.kind, "check");
  assert.equal(command.json, true);
  assert.equal(command.settings.jaeger?.listen.port, 14268);
  assert.deepEqual(command.settings.listen.map(({ kind }) => kind), [
    "vsock",
    ...Array.from({ length: 7 }, () => "template"),
  ]);
  const told = parseCommandLine(["check", "--socket-path", "/run/x.sock"], {});
  assert.equal(told.kind, "check");
  assert.deepEqual(told.settings.listen.map(({ kind }) => kind), ["hybrid"]);
});
