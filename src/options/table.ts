import { LOG_FORMATS, LOG_LEVELS } from "../base/log.ts";
import { KUBERNETES_METADATA, OTLP_PROTOCOLS, SPOOL_MIN_BYTES, WHEN_FULL } from "../pipeline/settings.ts";
import { endpoint } from "./endpoint.ts";
import type { Example, Option } from "./option.ts";
import { socketPath } from "./socket-path.ts";
import {
  COMPARE_OPTIONS,
  EXPORT_OPTIONS,
  RECORDING,
  REPLAY_OPTIONS,
  VIEW_COMMAND_OPTIONS,
  VIEWING,
} from "./view-table.ts";
import {
  address,
  bytes,
  cid,
  duration,
  flag,
  integer,
  logLevel,
  mode,
  oneOf,
  orOff,
  otelBoolean,
  path,
  redaction,
  resourceAttributes,
  text,
  trueOrFalse,
} from "./values.ts";

/** Bytes. */
const GIB = 1024 ** 3;

/** The collector, and what is sent to it. */
const COLLECTOR = {
  otlpEndpoint: {
    flag: "--otlp-endpoint",
    metavar: "URL",
    env: ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    defaultText: "http://localhost:4317, port 4318 for HTTP",
    help:
      "The collector (https:// for TLS, unix:PATH for a socket); for HTTP, /v1/traces is appended unless it is there",
    parse: endpoint,
  },
  otlpInsecure: {
    env: ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"],
    help: "For gRPC to HOST:PORT without a scheme: true means no TLS, false means TLS",
    parse: trueOrFalse,
  },
  otlpProtocol: {
    flag: "--otlp-protocol",
    metavar: "PROTOCOL",
    env: ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
    defaultText: "grpc for port 4317, else http/protobuf",
    help: `The protocol of the collector: ${OTLP_PROTOCOLS.join(" or ")}`,
    complete: OTLP_PROTOCOLS,
    parse: oneOf(OTLP_PROTOCOLS),
  },
  traceName: {
    flag: "--trace-name",
    metavar: "NAME",
    env: ["OTEL_SERVICE_NAME"],
    defaultText: "kata-agent",
    help: "The service.name of every span",
    parse: text,
  },
  resourceAttributes: {
    env: ["OTEL_RESOURCE_ATTRIBUTES"],
    help: "Attributes for every resource: key=value,key=value, percent-encoded",
    parse: resourceAttributes,
  },
  redact: {
    flag: "--redact",
    metavar: "WHAT",
    defaultText: "nothing",
    help: "Remove from agents' spans: default (environments, arguments, files, state), attribute names, or both",
    complete: ["default"],
    parse: redaction,
  },
  kubernetesMetadata: {
    flag: "--kubernetes-metadata",
    metavar: "WHEN",
    default: "auto",
    help: "Name the pod on a sandbox's spans, from its OCI bundle: auto, on (warns where there is none) or off",
    complete: KUBERNETES_METADATA,
    parse: oneOf(KUBERNETES_METADATA),
  },
  joinTraces: {
    flag: "--join-traces",
    help: "Put all spans of a sandbox into one trace, whose ID is made from the sandbox's, with a root of its own",
    parse: flag,
  },
  maxAttributeBytes: {
    flag: "--max-attribute-bytes",
    metavar: "SIZE",
    env: [
      "KATA_TRACE_FORWARDER_MAX_ATTRIBUTE_BYTES",
      "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
      "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    ],
    defaultText: "what fits into a span of 3.75 MiB",
    help: "Cut longer values of attributes, and mark their span with kata.truncated_attributes",
    parse: bytes(1, GIB),
  },
  waitForCollector: {
    flag: "--wait-for-collector",
    help: "Start even if the collector cannot be reached yet",
    parse: flag,
  },
  dumpOnly: {
    flag: "--dump-only",
    help: "Write spans to standard output instead of sending them; no collector is needed",
    parse: flag,
  },
  dumpFormat: {
    flag: "--dump-format",
    metavar: "FORMAT",
    defaultText: "that of the log",
    help: "With --dump-only: json for programs, or text for people",
    complete: LOG_FORMATS,
    parse: oneOf(LOG_FORMATS),
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Where guests connect. */
const LISTENING = {
  socketPath: {
    flag: "--socket-path",
    metavar: "PATH",
    separator: ":",
    help: "Hybrid vsock: the VMM's socket, or with {ID} those of all sandboxes; may be repeated",
    complete: "file",
    parse: socketPath,
  },
  allHypervisors: {
    flag: "--all-hypervisors",
    help: "Listen on AF_VSOCK, if the kernel has it, and on every socket path that Kata uses",
    parse: flag,
  },
  socketMode: {
    flag: "--socket-mode",
    metavar: "MODE",
    default: "0660",
    help: "Hybrid vsock: permission bits of the socket",
    parse: mode,
  },
  socketGroup: {
    flag: "--socket-group",
    metavar: "GROUP",
    help: "Hybrid vsock: group of the socket, for a VMM that does not run as root",
    complete: "group",
    parse: text,
  },
  vsockCid: {
    flag: "--vsock-cid",
    metavar: "CID|any",
    default: "any",
    help: "AF_VSOCK: the context ID to listen on; if given, even with hybrid vsock",
    complete: ["any"],
    parse: cid,
  },
  vsockPort: {
    flag: "--vsock-port",
    metavar: "PORT",
    default: "10240",
    help: "The port that agents connect to",
    // A vsock port is 32 bits wide (vsock(7)).
    parse: integer(1, 2 ** 32 - 1),
  },
  takeOver: {
    flag: "--take-over",
    metavar: "PATH",
    help: "Go on with the guests of the forwarder that listens at PATH, and listen there for the next one",
    complete: "file",
    parse: path,
  },
  user: {
    flag: "--user",
    metavar: "NAME",
    defaultText: "kata-trace-forwarder if there is such a user, else nobody",
    help: "The user to run as once everything is open, when started as root",
    complete: "user",
    parse: text,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Where runtimes and other programs on the host come in. */
const HOST = {
  allSources: {
    flag: "--all-sources",
    help: "All of --all-hypervisors, --jaeger-listen 14268 and --otlp-listen 4317 and 4318, where the ports are free",
    parse: flag,
  },
  jaegerListen: {
    flag: "--jaeger-listen",
    metavar: "ADDRESS",
    help: "Take Kata runtimes' spans (jaeger_endpoint) at HOST:PORT, :PORT or PORT (loopback)",
    parse: address,
  },
  jaegerUser: {
    flag: "--jaeger-user",
    metavar: "NAME",
    help: "What the runtimes' jaeger_user must be; needs --jaeger-password-file",
    parse: text,
  },
  jaegerPasswordFile: {
    flag: "--jaeger-password-file",
    metavar: "FILE",
    help: "A file whose first line the runtimes' jaeger_password must be",
    complete: "file",
    parse: path,
  },
  keepHttp2Noise: {
    flag: "--keep-http2-noise",
    help: "Keep the spans of the HTTP/2 client that Kata 4's Rust runtime sends its spans with",
    parse: flag,
  },
  otlpListen: {
    flag: "--otlp-listen",
    metavar: "ADDRESS",
    separator: ",",
    help: "Take other programs' spans over OTLP (HTTP and gRPC) at HOST:PORT, :PORT or PORT (loopback)",
    parse: address,
  },
  listenCert: {
    flag: "--listen-cert",
    metavar: "FILE",
    help: "The certificate, in PEM, with which runtimes and other programs are listened to over TLS",
    complete: "file",
    parse: path,
  },
  listenKey: {
    flag: "--listen-key",
    metavar: "FILE",
    help: "The key of --listen-cert, in PEM",
    complete: "file",
    parse: path,
  },
  listenClientCa: {
    flag: "--listen-client-ca",
    metavar: "FILE",
    help: "The authority, in PEM, that clients' certificates must be from",
    complete: "file",
    parse: path,
  },
  insecureListen: {
    flag: "--insecure-listen",
    help: "Listen without TLS beyond the loopback address",
    parse: flag,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Between guests and the collector. */
const DELIVERY = {
  batchSpans: {
    env: ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
    default: "2048",
    help: "The most spans in one request, which also has at most 1 MiB",
    parse: integer(1, 1_000_000),
  },
  // With 50 ms a span is at the collector within 100 ms, and there are few requests.
  batchDelay: {
    env: ["OTEL_BSP_SCHEDULE_DELAY"],
    default: "50",
    help: "How long a span waits for others, milliseconds; at most 200",
    parse: integer(0),
  },
  queueBytes: {
    flag: "--queue-bytes",
    metavar: "SIZE",
    default: "64MiB",
    help: "Memory for requests while the collector is slow or away",
    parse: bytes(1),
  },
  whenFull: {
    flag: "--when-full",
    metavar: "WHAT",
    default: "pause",
    help: "What to do if the queue is full: pause (reading from guests) or drop-oldest",
    complete: WHEN_FULL,
    parse: oneOf(WHEN_FULL),
  },
  spoolDir: {
    flag: "--spool-dir",
    metavar: "DIR",
    help: "Commit requests to disk in DIR, so that they survive a restart",
    complete: "directory",
    parse: path,
  },
  spoolBytes: {
    flag: "--spool-bytes",
    metavar: "SIZE",
    default: "1GiB",
    help: "The largest size of the spool, 8 MiB or more",
    parse: bytes(SPOOL_MIN_BYTES),
  },
  deadLetter: {
    flag: "--dead-letter",
    metavar: "FILE",
    help: "Append spans that the collector rejects to FILE, as OTLP/JSON lines",
    complete: "file",
    parse: path,
  },
  shutdownTimeout: {
    flag: "--shutdown-timeout",
    metavar: "TIME",
    default: "10s",
    help: "How long a stop may take to deliver what is left",
    parse: duration(0),
  },
} as const satisfies Readonly<Record<string, Option>>;

/** What one guest, and all guests together, may use. */
const LIMITS = {
  maxFrameBytes: {
    flag: "--max-frame-bytes",
    metavar: "SIZE",
    // An agent copies files in pieces of 1 MiB, which make a span of up to 5.2 MB in JSON.
    default: "8MiB",
    help: "A larger frame is skipped",
    parse: bytes(1, GIB),
  },
  frameTimeout: {
    flag: "--frame-timeout",
    metavar: "TIME",
    default: "30s",
    help: "A frame that takes longer than this is given up; its guest stays connected",
    parse: duration(1),
  },
  idleTimeout: {
    flag: "--idle-timeout",
    metavar: "TIME|off",
    default: "off",
    help: "A guest that sends nothing for this long is disconnected",
    complete: ["off"],
    parse: orOff(duration(1)),
  },
  maxGuestBytes: {
    flag: "--max-guest-bytes",
    metavar: "SIZE",
    default: "16MiB",
    help: "Unfinished frames of one guest's connections; beyond it the largest is closed",
    parse: bytes(1),
  },
  maxTotalGuestBytes: {
    flag: "--max-total-guest-bytes",
    metavar: "SIZE",
    default: "64MiB",
    help: "The same for all guests together; beyond it the largest is closed",
    parse: bytes(1),
  },
  maxGuests: {
    flag: "--max-guests",
    metavar: "N",
    default: "4096",
    help: "Connections at a time; beyond it a guest takes a slot from the one with the most, or is refused",
    parse: integer(1, 1_000_000),
  },
  maxSpansPerSecond: {
    flag: "--max-spans-per-second",
    metavar: "N|off",
    default: "off",
    help: "Spans a second from one guest, on all its connections; others wait in it for up to 15 s",
    complete: ["off"],
    parse: orOff(integer(1)),
  },
} as const satisfies Readonly<Record<string, Option>>;

/** How to watch the forwarder. */
const WATCHING = {
  logLevel: {
    flag: "--log-level",
    short: "-l",
    metavar: "LEVEL",
    default: "info",
    help: `The least severe records written: ${LOG_LEVELS.join(", ")}`,
    complete: LOG_LEVELS,
    parse: logLevel,
  },
  logFormat: {
    flag: "--log-format",
    metavar: "FORMAT",
    default: "json",
    help: "json for programs, or text for people (in colour on a terminal, unless NO_COLOR is set)",
    complete: LOG_FORMATS,
    parse: oneOf(LOG_FORMATS),
  },
  metrics: {
    flag: "--metrics",
    metavar: "ADDRESS",
    help: "Serve Prometheus metrics, /healthz and /readyz at HOST:PORT, :PORT or PORT (loopback)",
    parse: address,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Traces of the forwarder itself, and links to its caller's. */
const TRACING = {
  traceSelf: {
    flag: "--trace-self",
    help: "Send the forwarder's own spans too: its start, guests' connections, exports",
    parse: flag,
  },
  linkTraceparent: {
    flag: "--link-traceparent",
    help: "Link the root of each of the agents' traces (every RPC has one) to the span in TRACEPARENT",
    parse: flag,
  },
  // Checked where it is used, because a caller that sets it wrongly for everybody must not prevent the start.
  traceparent: {
    env: ["TRACEPARENT", "TRACECONTEXT"],
    help: "The caller's span, as a W3C traceparent, for --trace-self and --link-traceparent",
    parse: text,
  },
  sdkDisabled: {
    env: ["OTEL_SDK_DISABLED"],
    help: "true turns --trace-self off",
    parse: otelBoolean,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** The forwarder's options under the headings of its help. */
export const OPTION_GROUPS = {
  Collector: COLLECTOR,
  Listening: LISTENING,
  "Runtimes and other programs": HOST,
  Delivery: DELIVERY,
  "Limits for guests": LIMITS,
  "Log and metrics": WATCHING,
  Viewer: { ...VIEWING, ...RECORDING },
  "Own trace": TRACING,
} as const satisfies Readonly<Record<string, Readonly<Record<string, Option>>>>;

/** Every option of the forwarder; a key is its flag's name in camel case. */
export const OPTIONS = {
  ...COLLECTOR,
  ...LISTENING,
  ...HOST,
  ...DELIVERY,
  ...LIMITS,
  ...WATCHING,
  ...VIEWING,
  ...RECORDING,
  ...TRACING,
} as const;

/** The options of `demo`. */
export const DEMO_OPTIONS = {
  width: {
    flag: "--width",
    metavar: "COLUMNS",
    env: [],
    defaultText: "the terminal's, or 100",
    help: "How wide to draw the trace",
    parse: integer(40, 1000),
  },
  view: { flag: "--view", env: [], help: "Serve it as a page too, until it is interrupted", parse: flag },
  logLevel: {
    ...WATCHING.logLevel,
    default: "error",
    help: "What to show of the forwarder's own log, on standard error",
  },
} as const satisfies Readonly<Record<string, Option>>;

/** The options of `check`, beside the forwarder's own. */
const CHECK_OPTIONS = {
  json: { flag: "--json", env: [], help: "Print JSON instead of a table", parse: flag },
} as const satisfies Readonly<Record<string, Option>>;

/** The program's name. */
export const PROGRAM = "kata-trace-forwarder";

/** A subcommand, for the command line, the completions and the documentation. */
export interface Subcommand {
  /** One sentence, without a full stop at the end. */
  readonly help: string;
  readonly options: Readonly<Record<string, Option>>;
  /** What follows the options: files, or one of some words. */
  readonly operands?: "file" | readonly string[];
  readonly examples?: readonly Example[];
}

/** What the forwarder itself is started with. */
export const EXAMPLES: readonly Example[] = [
  { does: "See what of this host is ready, and what to do", words: "check" },
  {
    does: "Forward the spans of every sandbox to a collector",
    words: "--all-sources --otlp-endpoint http://collector:4317",
  },
  { does: "Show sandboxes' starts in a browser, without a collector", words: "view" },
  { does: "Write every span to standard output", words: "--all-hypervisors --dump-only --dump-format text" },
];

/** The shells that completions are made for. */
export const COMPLETION_SHELLS = ["bash", "zsh", "fish"] as const;

/** The subcommands and what they do. */
export const COMMANDS = {
  check: {
    help: "Show what of this host is ready for traces, and what to do",
    options: { ...OPTIONS, ...CHECK_OPTIONS },
    examples: [
      { does: "Check this host for a forwarder without options", words: "check" },
      { does: "Also whether this collector answers", words: "check --otlp-endpoint https://collector:4317" },
      { does: "Let a script wait until a node is ready", words: "check --json" },
    ],
  },
  demo: {
    help: "Forward a recorded session within this process, and draw the trace that arrives",
    options: DEMO_OPTIONS,
    examples: [
      { does: "Prove that everything between guest and collector works here", words: "demo" },
      { does: "See the same sandbox in a browser", words: "demo --view" },
    ],
  },
  view: {
    help: "Show where sandboxes' time goes: live, or of files",
    options: { ...OPTIONS, ...VIEW_COMMAND_OPTIONS },
    operands: "file",
    examples: [
      { does: "Show what comes in", words: "view" },
      { does: "Show a recording", words: "view spans.jsonl" },
      { does: "Draw one sandbox of it in the terminal", words: "view --terminal --sandbox 0a1b spans.jsonl" },
    ],
  },
  compare: {
    help: "Compare how long operations take in two files, or under two labels",
    options: COMPARE_OPTIONS,
    operands: "file",
    examples: [
      { does: "Compare two recordings", words: "compare before.jsonl after.jsonl" },
      {
        does: "Fail if half of the operations are slower by 5 %",
        words: "compare --fail-if 'p50>+5%' a.jsonl b.jsonl",
      },
    ],
  },
  export: {
    help: "Write sandboxes into a page, OTLP/JSON or a Perfetto trace",
    options: EXPORT_OPTIONS,
    operands: "file",
    examples: [
      {
        does: "Put the ten slowest starts into a page to send around",
        words: "export --slowest 10 --html slow.html spans.jsonl",
      },
    ],
  },
  replay: {
    help: "Send what a file holds to a collector, or into a socket as an agent would",
    options: { ...COLLECTOR, ...REPLAY_OPTIONS },
    operands: "file",
    examples: [
      { does: "Send a recording to a collector", words: "replay --otlp-endpoint http://collector:4317 spans.jsonl" },
    ],
  },
  completions: {
    help: "Write a shell's completions to standard output",
    options: {},
    operands: COMPLETION_SHELLS,
    examples: [{ does: "Load them into this bash", words: "completions bash > /tmp/c && . /tmp/c" }],
  },
  licenses: {
    help: "Print the licences of everything in the executable",
    options: {},
  },
  version: {
    help: "Print version, commit, target, runtime and build date",
    options: {},
  },
} as const satisfies Readonly<Record<string, Subcommand>>;
