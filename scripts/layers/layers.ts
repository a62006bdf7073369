/** One layer of the source, and what it may import. */
export interface Layer {
  /** What belongs in it. */
  readonly purpose: string;
  /** Other layers. */
  readonly imports: readonly string[];
  /** npm packages, each of which must be used; a scope with `/*` stands for all of its packages. */
  readonly packages?: readonly string[];
  /** Whether it only computes: no socket, no file, no clock, no timer, no environment. */
  readonly isPure?: true;
}

/** What every layer above them may import. */
export const SHARED = ["base", "otlp", "pipeline"] as const;

const MOST = [
  ...SHARED,
  "ffi",
  "options",
  "decode/wasm",
  "decode",
  "http",
  "receivers/accounts",
  "receivers/vsock",
  "receivers/peers",
  "receivers/pods",
  "receivers/jaeger",
  "receivers/otlp",
  "receivers/host",
  "processors",
  "queue",
  "exporters",
  "store",
  "view",
  "record",
  "telemetry",
  "host",
  "helper",
] as const;

/**
 * The layers, from the bottom up: one may only import layers that stand above it here. A name is a folder of `src/` or
 * a file in it without `.ts`, and the longest name that fits a file is its layer; only `ffi` is outside of `src/`. Some
 * layers have no files yet.
 */
export const LAYERS: Readonly<Record<string, Layer>> = {
  ffi: {
    purpose: "the only door to libc",
    imports: [],
  },
  base: {
    purpose: "log, line writer, first-in-first-out list, timers, version: used by all, uses nothing",
    imports: [],
  },
  otlp: {
    purpose: "OTLP as bytes: protobuf writer and reader, requests, resources, records, `EncodedSpans`",
    imports: ["base"],
    isPure: true,
  },
  pipeline: {
    purpose: "the contracts between the other layers: types of settings, metrics, sinks, sources and exporters",
    imports: ["base", "otlp"],
  },
  options: {
    purpose: "one table of options, and everything made from it: command line, environment, completions, `Settings`",
    imports: SHARED,
    packages: ["commander"],
  },
  "decode/wasm": {
    purpose: "the decoders of what agents usually send, in AssemblyScript, for WebAssembly with vectors",
    imports: [],
    isPure: true,
  },
  decode: {
    purpose: "frames out of chunks of a stream; payloads to encoded spans, one folder for each encoding",
    imports: [...SHARED, "decode/wasm"],
    isPure: true,
  },
  http: {
    purpose: "the bounded HTTP server under the receivers, the metrics endpoint and the viewer",
    imports: SHARED,
  },
  "receivers/accounts": {
    purpose: "what each source may use: budgets, rates, connections",
    imports: SHARED,
  },
  "receivers/vsock": {
    purpose: "guests over AF_VSOCK and hybrid vsock, and who a guest is",
    imports: [...SHARED, "decode", "ffi", "receivers/accounts"],
  },
  "receivers/peers": {
    purpose: "which process of this machine is at the other end of a TCP socket",
    imports: [...SHARED, "ffi"],
  },
  "receivers/pods": {
    purpose: "which pod a sandbox is, from its OCI bundle",
    imports: [...SHARED, "ffi"],
  },
  "receivers/jaeger": {
    purpose: "Kata runtimes over Jaeger Thrift",
    imports: [...SHARED, "decode", "http", "receivers/accounts", "receivers/peers"],
  },
  "receivers/otlp": {
    purpose: "other programs of the host over OTLP/HTTP and OTLP/gRPC",
    imports: [...SHARED, "decode", "http", "receivers/accounts"],
  },
  "receivers/host": {
    purpose: "opens the receivers of the host's own programs, as the settings say",
    imports: [...SHARED, "http", "receivers/accounts", "receivers/peers", "receivers/jaeger", "receivers/otlp"],
  },
  processors: {
    purpose: "changes to encoded spans on their way: links, resources, redaction",
    imports: SHARED,
  },
  queue: {
    purpose: "batches, the queue and its spool, sending and retries: what counts as delivered",
    imports: SHARED,
  },
  record: {
    purpose: "files of spans: reading and writing",
    imports: SHARED,
  },
  exporters: {
    purpose: "where requests go: OTLP/HTTP, OTLP/gRPC, standard output, the dead letter",
    imports: [...SHARED, "record"],
  },
  store: {
    purpose: "the node's trace store",
    imports: SHARED,
  },
  "view/api": {
    purpose: "the types of the viewer's API, which the server and the page share",
    imports: [],
  },
  "view/page": {
    purpose: "the browser's half of the viewer",
    imports: ["view/api"],
    packages: ["preact", "@preact/signals"],
  },
  view: {
    purpose: "the viewer: API, terminal drawing, comparisons, exports, replay",
    imports: [...SHARED, "exporters", "http", "receivers/peers", "record", "store", "view/api", "view/page"],
  },
  telemetry: {
    purpose: "the metrics endpoint and the forwarder's own spans; the only door to the OpenTelemetry SDK",
    imports: [...SHARED, "http"],
    packages: ["@opentelemetry/*"],
  },
  host: {
    purpose: "privileges, seccomp, the service manager",
    imports: [...SHARED, "ffi"],
  },
  helper: {
    purpose: "the process with what is left of root's rights: makes sandboxes' sockets, opens root's files",
    imports: [...SHARED, "ffi", "host", "receivers/peers", "receivers/vsock"],
  },
  continuation: {
    purpose: "how guests outlive a process: what an earlier one has left, and what the next one is left",
    imports: [...SHARED, "ffi", "host", "receivers/vsock"],
  },
  notices: {
    purpose: "the licences of everything in the executable, which `scripts/third-party-notices` collects",
    imports: [],
  },
  check: {
    purpose: "`kata-trace-forwarder check`: what of this host is ready, and what to do",
    imports: [...SHARED, "ffi", "exporters", "host", "receivers/peers", "receivers/vsock"],
    packages: ["smol-toml"],
  },
  forwarder: {
    purpose: "puts the pipeline together; start, drain, stop",
    imports: [...MOST, "continuation"],
  },
  demo: {
    purpose: "`kata-trace-forwarder demo`",
    imports: [...MOST, "forwarder"],
  },
  main: {
    purpose: "the process: arguments in, exit code out",
    imports: [...MOST, "check", "continuation", "demo", "forwarder", "notices"],
  },
};
