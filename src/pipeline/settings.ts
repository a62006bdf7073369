import type { LogFormat, LogLevel } from "../base/log.ts";
import type { TraceContext } from "./trace-context.ts";

/** The OTLP transports that are supported, by the names that `OTEL_EXPORTER_OTLP_PROTOCOL` uses. */
export const OTLP_PROTOCOLS = ["grpc", "http/protobuf"] as const;
export type OtlpProtocol = (typeof OTLP_PROTOCOLS)[number];

/** What happens to a span that finds the queue full. */
export const WHEN_FULL = ["pause", "drop-oldest"] as const;
export type WhenFull = (typeof WHEN_FULL)[number];

/** The least that makes a useful spool: several batches, and room for the write-ahead log. Bytes. */
export const SPOOL_MIN_BYTES = 8 * 1024 * 1024;

/** The sockets of all sandboxes: one directory a sandbox, named by its ID. */
export interface SocketTemplate {
  readonly kind: "template";
  /** What stands above the sandboxes' directories, absolute. */
  readonly directory: string;
  /**
   * There is a `directory` for each user that VMMs run as: `{UID}`, which is in it, stands for the user's number.
   * Absent: there is only one.
   */
  readonly perUser?: true;
  /** The directories between a sandbox's and the socket, mostly none. */
  readonly between: readonly string[];
  /** The name of the VMM's socket. */
  readonly name: string;
}

/** Where guests come in. */
export type ListenSettings =
  | {
    readonly kind: "vsock";
    /** The CID to bind; `any` is VMADDR_CID_ANY. */
    readonly cid: number | "any";
    readonly port: number;
    /** That the kernel has no such thing is logged, and no error. */
    readonly optional?: true;
  }
  | {
    readonly kind: "hybrid";
    /** The VMM's socket; the forwarder listens at `<socketPath>_<port>`. */
    readonly socketPath: string;
    readonly port: number;
    /** Permission bits of the socket. */
    readonly mode: number;
    /** The socket's group, by name or number. */
    readonly group?: string;
  }
  | SocketTemplate & {
    readonly port: number;
    /** Permission bits of each socket. */
    readonly mode: number;
    /** Each socket's group, by name or number. */
    readonly group?: string;
    /** Names in the directory that are not IDs of sandboxes, because another template's sandboxes are below them. */
    readonly except?: readonly string[];
    /** That the sandboxes' directory cannot be watched is logged, and no error. */
    readonly optional?: true;
  };

/**
 * The collector. Headers, timeout, compression and certificates are read from `OTEL_EXPORTER_OTLP_*` by OpenTelemetry's
 * packages.
 */
export interface OtlpSettings {
  readonly protocol: OtlpProtocol;
  /** Whole URL: for HTTP with its path (`/v1/traces`). */
  readonly url: string;
}

/** When a batch is closed: whichever limit comes first. */
export interface BatchSettings {
  readonly maxSpans: number;
  /** Encoded request size, bytes; below the 4 MiB that gRPC servers accept by default. */
  readonly maxBytes: number;
  /** How long a span waits at most, milliseconds. */
  readonly maxDelayMs: number;
}

/** The bounded queue between guests and the collector. */
export interface QueueSettings {
  /** In memory, bytes of encoded requests. */
  readonly maxBytes: number;
  readonly whenFull: WhenFull;
  /** Where batches are committed before they count as accepted; absent: memory only. */
  readonly spool?: { readonly directory: string; readonly maxBytes: number };
  /** Where spans given up are written, OTLP/JSON lines. */
  readonly deadLetterFile?: string;
}

/** What one guest, and all of them together, may use. Times in milliseconds; 0 is off where a limit is optional. */
export interface GuestLimits {
  readonly maxFrameBytes: number;
  /** A frame once begun must be whole within this. */
  readonly frameTimeoutMs: number;
  /** A guest that sends nothing for this long is disconnected; 0: never. */
  readonly idleTimeoutMs: number;
  /** Bytes of unfinished frames held for one guest. */
  readonly maxGuestBytes: number;
  /** The same for all guests together. */
  readonly maxTotalGuestBytes: number;
  readonly maxGuests: number;
  /** Token bucket, for each guest; 0: off. */
  readonly maxSpansPerSecond: number;
}

/** The forwarder's own spans. */
export interface SelfTraceSettings {
  /** The span of the process that started the forwarder, whose own spans belong to the same trace. */
  readonly parent?: TraceContext;
  /** Why there is no parent though the environment names one. */
  readonly parentProblem?: string;
}

/** What is taken out of agents' spans before they are kept or sent anywhere. */
export interface RedactSettings {
  /** Environments, arguments, copied files and proxies in debug text, and dumps of the agent's state. */
  readonly debugText: boolean;
  /** Attributes that are dropped whatever they hold. */
  readonly names: ReadonlySet<string>;
}

/** The trace store, and the viewer that serves it; they run in a process of their own. */
export interface ViewerSettings {
  /** Where the page is served; absent: the default port on loopback, or the next free one. */
  readonly address?: { readonly host: string; readonly port: number };
  /** The store's file; absent: a temporary one, removed at the end. */
  readonly store?: string;
  /** The most that the store holds. */
  readonly storeBytes: number;
  /** How long a sandbox is kept after its last span, milliseconds. */
  readonly storeKeepMs: number;
  /** The cohort of new sandboxes; may be empty. */
  readonly label: string;
}

/** Where to listen over TCP. */
export interface TcpListenSettings {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** That somebody else listens there is logged, and no error. */
  readonly optional?: true;
}

/** The receiver of Kata runtimes' Jaeger Thrift. */
export interface JaegerSettings {
  readonly listen: TcpListenSettings;
  /** Absent: whatever credentials come are taken. */
  readonly credentials?: { readonly user: string; readonly passwordFile: string };
  /** Keep the spans of the HTTP/2 client that sends the others. */
  readonly keepHttp2Noise: boolean;
}

/** The certificate and key of the receivers for the host's own programs: files in PEM. */
export interface ListenTlsSettings {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** Absent: clients need no certificate. */
  readonly clientAuthorityFile?: string;
}

/** Whether sandboxes' pods are looked for; `on` also says for which sandbox none was found. */
export const KUBERNETES_METADATA = ["auto", "on", "off"] as const;
export type KubernetesMetadata = (typeof KUBERNETES_METADATA)[number];

/** Everything the forwarder is told, checked. Made once, never changed. */
export interface Settings {
  readonly listen: readonly [ListenSettings, ...ListenSettings[]];
  /** Absent: runtimes are not listened to. */
  readonly jaeger?: JaegerSettings;
  /** Where the host's programs send OTLP to; mostly empty. */
  readonly otlpListen: readonly TcpListenSettings[];
  /** Absent: the receivers for the host's own programs are without TLS. */
  readonly listenTls?: ListenTlsSettings;
  readonly otlp: OtlpSettings;
  /** `service.name` of everything forwarded. */
  readonly traceName: string;
  /** From `OTEL_RESOURCE_ATTRIBUTES`, without its `service.name`: that is settled in `traceName`. */
  readonly resourceAttributes: ReadonlyMap<string, string>;
  /** False where spans go to the viewer alone. Default: true. */
  readonly forwards?: false;
  /** Absent: agents' spans leave as they are. */
  readonly redact?: RedactSettings;
  readonly kubernetesMetadata: KubernetesMetadata;
  /** All spans of a sandbox are in one trace. Absent: their traces are those that their sources have begun. */
  readonly joinTraces?: true;
  /** Where spans are kept as OTLP/JSON lines too: an absolute path, and the most bytes with the file before. */
  readonly record?: { readonly file: string; readonly maxBytes: number };
  /** The longest value of an attribute, bytes; absent: as long as a span may be. */
  readonly maxAttributeBytes?: number;
  /** Absent: spans are not stored. */
  readonly viewer?: ViewerSettings;
  readonly waitForCollector: boolean;
  readonly dumpOnly: boolean;
  /** How `dumpOnly` writes spans. */
  readonly dumpFormat: LogFormat;
  /** The socket of the process to take over from, and of this one for the next; absent: none. */
  readonly takeOver?: string;
  /** The user to become when started as root; absent: the default one, see `openPrivileges`. */
  readonly user?: string;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  readonly batch: BatchSettings;
  readonly queue: QueueSettings;
  readonly limits: GuestLimits;
  /** How long a stop may take before what is left is given up, milliseconds. */
  readonly shutdownTimeoutMs: number;
  /** Where Prometheus metrics are served; absent: nowhere. */
  readonly metrics?: { readonly host: string; readonly port: number };
  /** Absent: the forwarder has no spans of its own. */
  readonly selfTrace?: SelfTraceSettings;
  /** The context that agents' root spans get a link to; absent: they get no link. */
  readonly rootLink?: TraceContext;
}
