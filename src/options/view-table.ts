import type { Option } from "./option.ts";
import { bytes, duration, flag, integer, loopbackAddress, oneOf, path, text } from "./values.ts";

/** Bytes. */
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
/** Below this a store could not hold a single busy sandbox, bytes. */
const STORE_MIN_BYTES = 16 * MIB;

/** The trace store and its viewer. */
export const VIEWING = {
  view: {
    flag: "--view",
    metavar: "ADDRESS",
    help: "Keep spans in a store of this node, and serve the viewer at HOST:PORT, :PORT or PORT (loopback)",
    parse: loopbackAddress,
  },
  store: {
    flag: "--store",
    metavar: "FILE",
    defaultText: "a temporary one",
    help: "The viewer's store, which outlives the process",
    complete: "file",
    parse: path,
  },
  storeBytes: {
    flag: "--store-bytes",
    metavar: "SIZE",
    defaultText: "512MiB, with a file 1GiB",
    help: "The most that the store holds; the oldest sandboxes go first",
    parse: bytes(STORE_MIN_BYTES, 1024 * GIB),
  },
  storeKeep: {
    flag: "--store-keep",
    metavar: "TIME",
    default: "24h",
    help: "How long the store keeps a sandbox after its last span",
    parse: duration(1000),
  },
  label: {
    flag: "--label",
    metavar: "NAME",
    help: "What to call the sandboxes from now on, such as kata-4.1, to compare them with others (kata.label)",
    parse: text,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Files of spans. */
export const RECORDING = {
  record: {
    flag: "--record",
    metavar: "FILE",
    help: "Keep spans in FILE as OTLP/JSON lines too; rotated to FILE.1",
    complete: "file",
    parse: path,
  },
  recordBytes: {
    flag: "--record-bytes",
    metavar: "SIZE",
    default: "256MiB",
    help: "The most that FILE and FILE.1 take together",
    parse: bytes(MIB, 1024 * GIB),
  },
} as const satisfies Readonly<Record<string, Option>>;

/** The sizes that `--store-bytes` has by default, bytes. */
export const DEFAULT_STORE_BYTES = { temporary: 512 * MIB, file: GIB } as const;

/** A file or URL to read, for the commands that read. */
const FROM = {
  flag: "--from",
  metavar: "URL",
  env: [],
  help: "Read from a Jaeger query service (API v3) instead of files, such as http://jaeger:16686",
  parse: text,
} as const satisfies Option;

/** How far back a Jaeger is read. */
const SINCE = {
  flag: "--since",
  metavar: "TIME",
  env: [],
  default: "24h",
  help: "With --from: how far back, up to 24 days (576h)",
  parse: duration(1000),
} as const satisfies Option;

/** Whose spans are read from a Jaeger. */
const SERVICE = {
  flag: "--service",
  metavar: "NAME",
  env: [],
  separator: ",",
  defaultText: "Kata's: kata, kata-agent, kata-sb-…, containerd…",
  help: "With --from: a service whose spans are read, such as the one that --trace-name named; may be repeated",
  parse: text,
} as const satisfies Option;

/** What tells cohorts apart in what others have stored. */
const LABEL_BY = {
  flag: "--label-by",
  metavar: "ATTRIBUTE",
  env: [],
  default: "kata.label",
  help: "The resource attribute that is a sandbox's label in files and in Jaeger, such as k8s.node.name",
  parse: text,
} as const satisfies Option;

/** The options of `view`, beside the forwarder's own. */
export const VIEW_COMMAND_OPTIONS = {
  terminal: {
    flag: "--terminal",
    env: [],
    help: "Draw sandboxes in the terminal instead of serving a page",
    parse: flag,
  },
  sandbox: {
    flag: "--sandbox",
    metavar: "ID",
    env: [],
    help: "With --terminal: this sandbox alone; the beginning of its ID is enough",
    parse: text,
  },
  from: FROM,
  since: SINCE,
  service: SERVICE,
  labelBy: LABEL_BY,
} as const satisfies Readonly<Record<string, Option>>;

/** The options of `compare`. */
export const COMPARE_OPTIONS = {
  store: { ...VIEWING.store, env: [], defaultText: "none", help: "The store that two labels are compared in" },
  from: { ...FROM, help: "The Jaeger query service (API v3) that two labels are compared in" },
  since: SINCE,
  service: SERVICE,
  labelBy: LABEL_BY,
  json: { flag: "--json", env: [], help: "Print JSON instead of a table", parse: flag },
  failIf: {
    flag: "--fail-if",
    metavar: "CONDITION",
    env: [],
    defaultText: "anything that is slower beyond chance",
    help: "What makes it exit with 3, such as p50>+5%",
    parse: text,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** The options of `export`. */
export const EXPORT_OPTIONS = {
  store: { ...VIEWING.store, env: [], defaultText: "none", help: "The store to export from, if there is no FILE" },
  sandbox: {
    flag: "--sandbox",
    metavar: "ID",
    env: [],
    help: "One sandbox; the beginning of its ID is enough",
    parse: text,
  },
  slowest: {
    flag: "--slowest",
    metavar: "N",
    env: [],
    help: "The N sandboxes that took longest to start",
    parse: integer(1, 10_000),
  },
  html: {
    flag: "--html",
    metavar: "FILE",
    env: [],
    help: "One page that needs no server",
    complete: "file",
    parse: path,
  },
  otlp: {
    flag: "--otlp",
    metavar: "FILE",
    env: [],
    help: "OTLP/JSON, a line a sandbox",
    complete: "file",
    parse: path,
  },
  perfetto: {
    flag: "--perfetto",
    metavar: "FILE",
    env: [],
    help: "For ui.perfetto.dev",
    complete: "file",
    parse: path,
  },
  all: {
    flag: "--all-attributes",
    env: [],
    help: "Also attributes that hold environments, arguments and files of containers",
    parse: flag,
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Where `replay` sends. */
export const REPLAY_FORMATS = ["otlp", "json"] as const;

/** The options of `replay`, beside those that name a collector. */
export const REPLAY_OPTIONS = {
  socket: {
    flag: "--socket",
    metavar: "PATH",
    env: [],
    help: "Write the spans into this socket as an agent would, instead of sending them to a collector",
    complete: "file",
    parse: path,
  },
  frames: {
    flag: "--frames",
    metavar: "FORMAT",
    env: [],
    default: "otlp",
    help: `With --socket: what the frames hold: ${REPLAY_FORMATS.join(" or ")}`,
    complete: REPLAY_FORMATS,
    parse: oneOf(REPLAY_FORMATS),
  },
} as const satisfies Readonly<Record<string, Option>>;
