import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { parseCommandLine, UsageError } from "../../src/options/cli.ts";
import { environmentNames, type Option } from "../../src/options/option.ts";
import type { Environment } from "../../src/options/resolve.ts";
import { DEMO_OPTIONS, OPTIONS } from "../../src/options/table.ts";
import type { Settings } from "../../src/pipeline/settings.ts";

const MIB = 1024 ** 2;

function settings(argv: readonly string[], environment: Environment = {}): Settings {
  const command = parseCommandLine(argv, environment);
  assert.ok(command.kind === "run");
  return command.settings;
}

function usageError(argv: readonly string[], environment: Environment = {}): string {
  try {
    parseCommandLine(argv, environment);
  } catch (error) {
    assert.ok(error instanceof UsageError, `${error}`);
    assert.ok(!error.message.includes("\n"), "an error is one line");
    return error.message;
  }
  return assert.fail(`accepted: ${argv.join(" ")} ${JSON.stringify(environment)}`);
}

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CONTEXT = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  flags: 1,
};

test("a label is a resource attribute too, so that it goes wherever spans go", () => {
  const { resourceAttributes } = settings(["--label", "kata-4.1"], { OTEL_RESOURCE_ATTRIBUTES: "kata.label=x,a=b" });
  assert.deepEqual([...resourceAttributes], [["kata.label", "kata-4.1"], ["a", "b"]]);
});

const DEFAULTS: Settings = {
  otlpListen: [],
  listen: [{ kind: "vsock", cid: "any", port: 10240 }],
  otlp: { protocol: "grpc", url: "http://localhost:4317" },
  traceName: "kata-agent",
  resourceAttributes: new Map(),
  waitForCollector: false,
  dumpOnly: false,
  dumpFormat: "json",
  kubernetesMetadata: "auto",
  log: { level: "info", format: "json" },
  batch: { maxSpans: 2048, maxBytes: MIB, maxDelayMs: 50 },
  queue: { maxBytes: 64 * MIB, whenFull: "pause" },
  limits: {
    maxFrameBytes: 8 * MIB,
    frameTimeoutMs: 30_000,
    idleTimeoutMs: 0,
    maxGuestBytes: 16 * MIB,
    maxTotalGuestBytes: 64 * MIB,
    maxGuests: 4096,
    maxSpansPerSecond: 0,
  },
  shutdownTimeoutMs: 10_000,
};

test("the defaults are as documented", () => {
  assert.deepEqual(settings([]), DEFAULTS);
});

const SOCKET = { port: 10240, mode: 0o660 };
const TEMPLATE = { ...SOCKET, kind: "template", optional: true } as const;
const FC = ["firecracker"];
/** AF_VSOCK and Kata's own socket paths. */
const ALL_HYPERVISORS: Settings["listen"] = [
  { kind: "vsock", cid: "any", port: 10240, optional: true },
  { ...TEMPLATE, directory: "/run/vc/vm", between: [], name: "clh.sock" },
  { ...TEMPLATE, directory: "/run/vc/firecracker", between: ["root"], name: "kata.hvsock" },
  // The sandboxes of jailed Firecrackers are below it, so it is not a sandbox itself.
  { ...TEMPLATE, directory: "/run/kata", between: ["root"], name: "kata.hvsock", except: FC },
  { ...TEMPLATE, directory: "/run/kata/firecracker", between: ["root"], name: "kata.hvsock" },
  { ...TEMPLATE, directory: "/run/kata", between: [], name: "ch-vm.sock", except: FC },
  { ...TEMPLATE, directory: "/run/kata", between: [], name: "vsock.sock", except: FC },
  { ...TEMPLATE, directory: "/run/user/{UID}/run/vc/vm", perUser: true, between: [], name: "clh.sock" },
];

const OPTIONAL = { host: "127.0.0.1", optional: true } as const;
const OPTIONAL_VSOCK = [{ kind: "vsock", cid: "any", port: 10240, optional: true }] as const;

/** For each option a value other than the default, the settings that it makes, and the options that it needs. */
const EXAMPLES: Readonly<
  Record<keyof typeof OPTIONS, readonly [string, Partial<Settings>, Environment?]>
> = {
  otlpEndpoint: ["http://c:4317", { otlp: { protocol: "grpc", url: "http://c:4317" } }],
  otlpInsecure: ["true", { otlp: { protocol: "grpc", url: "http://c:4317" } }, {
    OTEL_EXPORTER_OTLP_ENDPOINT: "c",
  }],
  otlpProtocol: ["http/protobuf", {
    otlp: { protocol: "http/protobuf", url: "http://localhost:4318/v1/traces" },
  }],
  traceName: ["tracer", { traceName: "tracer" }],
  resourceAttributes: ["a=b", { resourceAttributes: new Map([["a", "b"]]) }],
  kubernetesMetadata: ["on", { kubernetesMetadata: "on" }],
  joinTraces: ["true", { joinTraces: true }],
  waitForCollector: ["true", { waitForCollector: true }],
  dumpOnly: ["true", { dumpOnly: true }],
  dumpFormat: ["text", { dumpFormat: "text" }],
  socketPath: ["/run/foo/clh.sock", {
    listen: [{ kind: "hybrid", socketPath: "/run/foo/clh.sock", port: 10240, mode: 0o660 }],
  }],
  allHypervisors: ["true", { listen: ALL_HYPERVISORS }],
  allSources: ["true", {
    listen: ALL_HYPERVISORS,
    jaeger: { listen: { ...OPTIONAL, port: 14268 }, keepHttp2Noise: false },
    otlpListen: [{ ...OPTIONAL, port: 4318 }, { ...OPTIONAL, port: 4317 }],
  }],
  jaegerListen: ["14268", {
    listen: OPTIONAL_VSOCK,
    jaeger: { listen: { host: "127.0.0.1", port: 14268 }, keepHttp2Noise: false },
  }],
  otlpListen: ["4318", { listen: OPTIONAL_VSOCK, otlpListen: [{ host: "127.0.0.1", port: 4318 }] }],
  // These show with a receiver only: see host-settings.test.ts.
  jaegerUser: ["kata", {}, { KATA_TRACE_FORWARDER_JAEGER_PASSWORD_FILE: "/etc/password" }],
  jaegerPasswordFile: ["/etc/password", {}, { KATA_TRACE_FORWARDER_JAEGER_USER: "kata" }],
  keepHttp2Noise: ["true", {}],
  insecureListen: ["true", {}],
  listenCert: ["/etc/cert", { listenTls: { certificateFile: "/etc/cert", keyFile: "/etc/key" } }, {
    KATA_TRACE_FORWARDER_LISTEN_KEY: "/etc/key",
  }],
  listenKey: ["/etc/key", { listenTls: { certificateFile: "/etc/cert", keyFile: "/etc/key" } }, {
    KATA_TRACE_FORWARDER_LISTEN_CERT: "/etc/cert",
  }],
  listenClientCa: [
    "/etc/ca",
    { listenTls: { certificateFile: "/etc/cert", keyFile: "/etc/key", clientAuthorityFile: "/etc/ca" } },
    { KATA_TRACE_FORWARDER_LISTEN_CERT: "/etc/cert", KATA_TRACE_FORWARDER_LISTEN_KEY: "/etc/key" },
  ],
  // These two have an effect with a socket only, see below.
  socketMode: ["0600", {}],
  socketGroup: ["kvm", {}],
  vsockCid: ["3", { listen: [{ kind: "vsock", cid: 3, port: 10240 }] }],
  vsockPort: ["1", { listen: [{ kind: "vsock", cid: "any", port: 1 }] }],
  user: ["tracer", { user: "tracer" }],
  takeOver: ["/run/ktf/take-over", { takeOver: "/run/ktf/take-over" }],
  batchSpans: ["7", { batch: { ...DEFAULTS.batch, maxSpans: 7 } }],
  batchDelay: ["20", { batch: { ...DEFAULTS.batch, maxDelayMs: 20 } }],
  queueBytes: ["1MiB", { queue: { maxBytes: MIB, whenFull: "pause" } }],
  whenFull: ["drop-oldest", { queue: { maxBytes: 64 * MIB, whenFull: "drop-oldest" } }],
  spoolDir: ["/var/spool", {
    queue: { ...DEFAULTS.queue, spool: { directory: "/var/spool", maxBytes: 1024 * MIB } },
  }],
  spoolBytes: ["2GiB", {}],
  deadLetter: ["/var/dead", { queue: { ...DEFAULTS.queue, deadLetterFile: "/var/dead" } }],
  shutdownTimeout: ["500ms", { shutdownTimeoutMs: 500 }],
  maxFrameBytes: ["1M", { limits: { ...DEFAULTS.limits, maxFrameBytes: MIB } }],
  frameTimeout: ["1m", { limits: { ...DEFAULTS.limits, frameTimeoutMs: 60_000 } }],
  idleTimeout: ["5", { limits: { ...DEFAULTS.limits, idleTimeoutMs: 5000 } }],
  maxGuestBytes: ["32M", { limits: { ...DEFAULTS.limits, maxGuestBytes: 32 * MIB } }],
  maxTotalGuestBytes: ["32M", { limits: { ...DEFAULTS.limits, maxTotalGuestBytes: 32 * MIB } }],
  maxGuests: ["9", { limits: { ...DEFAULTS.limits, maxGuests: 9 } }],
  maxSpansPerSecond: ["100", { limits: { ...DEFAULTS.limits, maxSpansPerSecond: 100 } }],
  logLevel: ["trace", { log: { level: "trace", format: "json" } }],
  logFormat: ["text", { log: { level: "info", format: "text" }, dumpFormat: "text" }],
  metrics: ["9464", { metrics: { host: "127.0.0.1", port: 9464 } }],
  maxAttributeBytes: ["1K", { maxAttributeBytes: 1024 }],
  redact: ["default,req", { redact: { debugText: true, names: new Set(["req"]) } }],
  view: ["8690", {
    viewer: { address: { host: "127.0.0.1", port: 8690 }, storeBytes: 512 * MIB, storeKeepMs: 86_400_000, label: "" },
  }],
  record: ["/var/spans.jsonl", { record: { file: "/var/spans.jsonl", maxBytes: 256 * MIB } }],
  // These have no effect without --view, or --record.
  recordBytes: ["2MiB", {}],
  store: ["/var/store", {}],
  storeBytes: ["64MiB", {}],
  storeKeep: ["1h", {}],
  label: ["kata-4.1", { resourceAttributes: new Map([["kata.label", "kata-4.1"]]) }],
  traceSelf: ["true", { selfTrace: {} }],
  linkTraceparent: ["true", { rootLink: CONTEXT }, { TRACEPARENT }],
  // These two have an effect with --trace-self only, see below.
  traceparent: [TRACEPARENT, {}],
  sdkDisabled: ["true", {}],
};

test("each option can be set by its flag and its environment variable, and the flag wins", () => {
  for (const [key, [value, expected, environment]] of Object.entries(EXAMPLES)) {
    const option: Option = OPTIONS[key as keyof typeof OPTIONS];
    const changed = { ...DEFAULTS, ...expected };
    const variable = environmentNames(option)[0] as string;
    assert.deepEqual(settings([], { ...environment, [variable]: value }), changed, variable);
    if (option.flag === undefined) continue;
    const argv = option.metavar === undefined ? [option.flag] : [option.flag, value];
    assert.deepEqual(settings(argv, environment), changed, argv.join(" "));
    const broken = { ...environment, [variable]: "broken\0" };
    assert.deepEqual(settings(argv, broken), changed, `${variable} beside it`);
  }
});

test("variables are named as documented", () => {
  const names = Object.values(OPTIONS).flatMap((option: Option) => environmentNames(option));
  assert.equal(new Set(names).size, names.length);
  assert.ok(names.includes("KATA_TRACE_FORWARDER_SOCKET_PATH"));
  for (const name of names) {
    assert.match(name, /^((KATA_TRACE_FORWARDER|OTEL)_[A-Z0-9_]+|TRACEPARENT|TRACECONTEXT)$/);
  }
});

test("a key is its flag's name in camel case, as the parser has it", () => {
  for (
    const [key, option] of Object.entries({ ...OPTIONS, ...DEMO_OPTIONS }) as [string, Option][]
  ) {
    if (option.flag === undefined) continue;
    const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    assert.equal(option.flag, `--${flag}`);
  }
});

test("an empty variable counts as unset", () => {
  const empty: Record<string, string> = {};
  for (const option of Object.values(OPTIONS)) {
    for (const name of environmentNames(option)) empty[name] = "";
  }
  assert.deepEqual(settings([], empty), DEFAULTS);
});

test("an empty flag is an error that names it", () => {
  for (const option of Object.values({ ...OPTIONS, ...DEMO_OPTIONS }) as Option[]) {
    if (option.flag === undefined || option.metavar === undefined) continue;
    const command = option === DEMO_OPTIONS.width ? ["demo"] : [];
    for (const argv of [[option.flag, ""], [`${option.flag}=`]]) {
      assert.ok(usageError([...command, ...argv]).startsWith(`${option.flag}: `), argv.join(" "));
    }
  }
});

test("a bad flag is named, in the words that scripts know", () => {
  for (
    const [flag, values] of [
      ["--vsock-cid", ["", "x", "4294967296", "-1"]],
      ["--vsock-port", ["", "x", "0", "4294967296", "-1"]],
      ["--socket-path", [""]],
      ["--trace-name", [""]],
      ["--otlp-endpoint", ["", "collector:4317", "ftp://c"]],
      ["--otlp-protocol", ["http/json"]],
      ["--log-level", ["loud"]],
    ] as const
  ) {
    for (const value of values) {
      assert.ok(usageError([flag, value]).startsWith(`${flag}: `), `${flag} ${value}`);
    }
  }
});

test("a bad variable is named", () => {
  assert.equal(
    usageError([], { OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" }),
    'OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" is not supported: give grpc or http/protobuf',
  );
  assert.match(
    usageError([], { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "c:1", OTEL_EXPORTER_OTLP_ENDPOINT: "" }),
    /^OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "c:1" has no scheme/,
  );
  assert.match(
    usageError([], { KATA_TRACE_FORWARDER_DUMP_ONLY: "maybe" }),
    /^KATA_TRACE_FORWARDER_DUMP_ONLY: "maybe" is neither true nor false/,
  );
  assert.match(usageError([], { OTEL_RESOURCE_ATTRIBUTES: "a" }), /^OTEL_RESOURCE_ATTRIBUTES: /);
  assert.match(usageError([], { OTEL_BSP_SCHEDULE_DELAY: "1s" }), /^OTEL_BSP_SCHEDULE_DELAY: /);
});

test("own spans belong to the caller's trace, and can be turned off", () => {
  const self = ["--trace-self"];
  assert.deepEqual(settings(self).selfTrace, {});
  assert.deepEqual(settings(self, { TRACEPARENT }).selfTrace, { parent: CONTEXT });
  assert.deepEqual(settings(self, { TRACECONTEXT: TRACEPARENT }).selfTrace, { parent: CONTEXT });
  assert.deepEqual(
    settings(self, { TRACEPARENT: "", TRACECONTEXT: TRACEPARENT }).selfTrace,
    { parent: CONTEXT },
  );
  assert.deepEqual(settings(self, { TRACEPARENT, TRACECONTEXT: "x" }).selfTrace, {
    parent: CONTEXT,
  });
  // An invalid one begins a new trace, and the log says why.
  const { parent, parentProblem } = settings(self, { TRACECONTEXT: "x" }).selfTrace ?? {};
  assert.equal(parent, undefined);
  assert.match(parentProblem ?? "", /^TRACECONTEXT: invalid trace context "x": give 00-/);

  for (const value of ["true", "TRUE", " True "]) {
    assert.equal(settings(self, { OTEL_SDK_DISABLED: value }).selfTrace, undefined, value);
  }
  for (const value of ["false", "1", "yes", ""]) {
    assert.deepEqual(settings(self, { OTEL_SDK_DISABLED: value }).selfTrace, {}, value);
  }
  assert.equal(settings([...self, "--dump-only"]).selfTrace, undefined);
});

test("a link to the caller's span needs one", () => {
  const link = ["--link-traceparent"];
  assert.deepEqual(settings(link, { TRACECONTEXT: TRACEPARENT }).rootLink, CONTEXT);
  assert.equal(settings([], { TRACEPARENT }).rootLink, undefined);
  assert.match(usageError(link), /^TRACEPARENT: neither it nor TRACECONTEXT is set, and --link-traceparent needs/);
  assert.match(
    usageError([], { KATA_TRACE_FORWARDER_LINK_TRACEPARENT: "true" }),
    /KATA_TRACE_FORWARDER_LINK_TRACEPARENT needs/,
  );
  for (const name of ["TRACEPARENT", "TRACECONTEXT"]) {
    assert.match(
      usageError(link, { [name]: "x" }),
      new RegExp(`^${name}: invalid trace context "x"`),
    );
    // No link was asked for.
    assert.equal(settings([], { [name]: "x" }).rootLink, undefined);
  }
});

test("a switch can be turned off in the environment", () => {
  assert.equal(settings([], { KATA_TRACE_FORWARDER_DUMP_ONLY: "false" }).dumpOnly, false);
  assert.equal(
    settings(["--dump-only"], { KATA_TRACE_FORWARDER_DUMP_ONLY: "false" }).dumpOnly,
    true,
  );
});

test("endpoint and protocol come from the flag, the variable for traces, or the one for all signals", () => {
  const both = {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://traces:1/t",
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://all:2/base",
  };
  assert.equal(settings(["--otlp-endpoint", "http://f:3"], both).otlp.url, "http://f:3/v1/traces");
  assert.equal(settings([], both).otlp.url, "http://traces:1/t");
  assert.equal(
    settings([], { ...both, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "" }).otlp.url,
    "http://all:2/base/v1/traces",
  );
  const protocols = {
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/protobuf",
    OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
  };
  assert.equal(settings([], protocols).otlp.protocol, "http/protobuf");
  assert.equal(settings(["--otlp-protocol", "grpc"], protocols).otlp.protocol, "grpc");
  assert.equal(
    settings([], {
      ...both,
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "",
      OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://all:2",
    }).otlp
      .url,
    "http://all:2",
  );
});

test("service.name comes from the flag, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES or the default", () => {
  const all = {
    OTEL_SERVICE_NAME: "variable",
    OTEL_RESOURCE_ATTRIBUTES: "service.name=attribute,team=a",
  };
  assert.equal(settings(["--trace-name", "flag"], all).traceName, "flag");
  assert.equal(settings([], all).traceName, "variable");
  const attribute = settings([], { ...all, OTEL_SERVICE_NAME: "" });
  assert.equal(attribute.traceName, "attribute");
  // It is no longer among the other attributes.
  assert.deepEqual([...attribute.resourceAttributes], [["team", "a"]]);
  assert.equal(settings([], { OTEL_RESOURCE_ATTRIBUTES: "service.name=" }).traceName, "kata-agent");
});

test("a span waits at most 200 ms, whatever the SDK's variable says", () => {
  assert.equal(settings([], { OTEL_BSP_SCHEDULE_DELAY: "5000" }).batch.maxDelayMs, 200);
  assert.equal(settings([], { OTEL_BSP_SCHEDULE_DELAY: "0" }).batch.maxDelayMs, 0);
});

test("a hybrid socket has options of its own", () => {
  const options = [
    "--socket-path",
    "vm/clh.sock",
    "--socket-mode",
    "0600",
    "--socket-group",
    "kvm",
  ];
  assert.deepEqual(settings([...options, "--vsock-port", "4294967295"]).listen, [{
    kind: "hybrid",
    socketPath: `${process.cwd()}/vm/clh.sock`,
    port: 4294967295,
    mode: 0o600,
    group: "kvm",
  }]);
});

test("it listens on AF_VSOCK if asked to, or if nothing else is given", () => {
  const listening = (argv: readonly string[], environment: Environment = {}) =>
    settings(argv, environment).listen.map((each) => each.kind === "vsock" ? each.cid : each.kind);
  const socket = ["--socket-path", "/s"];
  const socketVariable = { KATA_TRACE_FORWARDER_SOCKET_PATH: "/s" };
  const cidVariable = { KATA_TRACE_FORWARDER_VSOCK_CID: "3" };
  assert.deepEqual(listening(socket), ["hybrid"]);
  assert.deepEqual(listening([], socketVariable), ["hybrid"]);
  assert.deepEqual(listening([...socket, "--vsock-cid", "3"]), [3, "hybrid"]);
  assert.deepEqual(listening([...socket, "--vsock-cid", "any"]), ["any", "hybrid"]);
  assert.deepEqual(listening(socket, cidVariable), [3, "hybrid"]);
  assert.deepEqual(listening(["--vsock-cid", "4"], { ...socketVariable, ...cidVariable }), [
    4,
    "hybrid",
  ]);
});

test("a directory on the way to another template's sandboxes is not a sandbox", () => {
  const paths = [
    "/{ID}/a",
    "/run/{ID}/b",
    "/run/vc/{ID}/c",
    "/run/vc/vm/{ID}/d",
    "/run/vcx/{ID}/e",
  ];
  const { listen } = settings(paths.flatMap((path) => ["--socket-path", path]));
  assert.deepEqual(
    listen.map((place) => place.kind === "template" && [place.directory, place.except]),
    [
      ["/", ["run"]],
      ["/run", ["vc", "vcx"]],
      ["/run/vc", ["vm"]],
      ["/run/vc/vm", undefined],
      ["/run/vcx", undefined],
    ],
  );
});

test("several socket paths can be given, and one that is given twice counts once", () => {
  const template = { kind: "template", directory: "/run/vc/vm", between: [], name: "clh.sock" };
  const expected = [
    { ...SOCKET, kind: "hybrid", socketPath: "/run/foo/clh.sock" },
    { ...SOCKET, ...template },
  ];
  const paths = ["/run/foo/clh.sock", "/run/vc/vm/{ID}/clh.sock"] as const;
  const flags = [...paths, ...paths].flatMap((path) => ["--socket-path", path]);
  assert.deepEqual(settings(flags).listen, expected);
  assert.deepEqual(
    settings([], { KATA_TRACE_FORWARDER_SOCKET_PATH: paths.join(":") }).listen,
    expected,
  );
  // All of them come from one place.
  assert.deepEqual(
    settings(["--socket-path", paths[0]], { KATA_TRACE_FORWARDER_SOCKET_PATH: paths[1] }).listen,
    [expected[0]],
  );
  assert.match(
    usageError([], { KATA_TRACE_FORWARDER_SOCKET_PATH: "/a:" }),
    /^KATA_TRACE_FORWARDER_SOCKET_PATH: may not be empty/,
  );
  assert.match(
    usageError(["--socket-path", "/a", "--socket-path", "--dump-only"]),
    /^--socket-path needs a value before --dump-only/,
  );
});

test("--all-hypervisors adds to the paths that are given", () => {
  const all = ["--all-hypervisors"];
  const [vsock, cloudHypervisor, ...others] = ALL_HYPERVISORS;
  assert.deepEqual(settings([...all, "--vsock-cid", "any"]).listen[0], {
    kind: "vsock",
    cid: "any",
    port: 10240,
  });
  const { optional: _, ...required } = cloudHypervisor as typeof TEMPLATE;
  assert.deepEqual(
    settings([...all, "--socket-path", "/run/vc/vm/{ID}/clh.sock", "--socket-path", "/s"]).listen,
    [vsock, required, { ...SOCKET, kind: "hybrid", socketPath: "/s" }, ...others],
  );
  const own = settings([...all, "--socket-mode", "0600", "--socket-group", "kvm"]).listen.at(-1);
  assert.deepEqual(own, { ...others.at(-1), mode: 0o600, group: "kvm" });
});

test("a vsock port that means any port is refused", () => {
  assert.match(usageError(["--vsock-port", "4294967295"]), /^--vsock-port: 4294967295 means any/);
  assert.equal(settings(["--vsock-port", "4294967294"]).listen[0].port, 4294967294);
});

test("a socket's path must fit into an address", () => {
  // 107 bytes with "_10240" at its end.
  const longest = `/${"é".repeat(50)}`;
  assert.equal(settings(["--socket-path", longest]).listen[0].kind, "hybrid");
  assert.match(
    usageError(["--socket-path", `${longest}x`]),
    /^--socket-path: .* is 108 bytes long, but a UNIX socket's path may have at most 107/,
  );
});

test("limits must fit into one another", () => {
  assert.equal(
    usageError(["--max-frame-bytes", "17MiB"]),
    "--max-frame-bytes (17 MiB) must not be more than --max-guest-bytes (16 MiB)",
  );
  assert.equal(
    usageError([], { KATA_TRACE_FORWARDER_MAX_GUEST_BYTES: "65MiB" }),
    "KATA_TRACE_FORWARDER_MAX_GUEST_BYTES (65 MiB) must not be more than --max-total-guest-bytes (64 MiB)",
  );
  const larger = ["--max-frame-bytes", "1G", "--max-guest-bytes", "1G"];
  assert.equal(
    settings([...larger, "--max-total-guest-bytes", "1G"]).limits.maxFrameBytes,
    1024 * MIB,
  );
  assert.match(usageError(["--max-frame-bytes", "1025M"]), /^--max-frame-bytes: .* out of range/);
});

test("the spool's size has an effect with a spool only", () => {
  assert.deepEqual(settings(["--spool-dir", "/d", "--spool-bytes", "9M"]).queue.spool, {
    directory: "/d",
    maxBytes: 9 * MIB,
  });
});
