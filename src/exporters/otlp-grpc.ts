import { isIP } from "node:net";
import { checkServerIdentity, type ConnectionOptions } from "node:tls";
import type { ChannelCredentials, Metadata } from "@grpc/grpc-js";
import { convertLegacyOtlpGrpcOptions, createOtlpGrpcExportDelegate } from "@opentelemetry/otlp-grpc-exporter-base";
import { printable } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { readExportResponse, readRetryDelay } from "./export-response.ts";
import {
  type Exporter,
  type ExporterOptions,
  ExportError,
  ExporterSettingsError,
  type ExportResult,
  type RequestTrace,
} from "../pipeline/exporter.ts";
import { type ExportSlot, PlainSerializer, SlotExporter } from "./slot-exporter.ts";

/** gRPC's status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html) by number. */
const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;
type Code = (typeof CODES)[number];

/** Retryable by the OTLP specification's table ("OTLP/gRPC Response"). RESOURCE_EXHAUSTED is so only with RetryInfo. */
const RETRYABLE: ReadonlySet<Code> = new Set<Code>([
  "CANCELLED",
  "DEADLINE_EXCEEDED",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNAVAILABLE",
  "DATA_LOSS",
]);
/** Codes whose reason may be the request's content; a gRPC server refuses a message that is too large as exhausted. */
const CONTENT: ReadonlySet<Code> = new Set<Code>([
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "INTERNAL",
]);
/**
 * What grpc-js says itself of an answer that it could not read to its end, under codes that a server uses for a request
 * that it refuses (grpc-js/src/subchannel-call.ts, stream-decoder.ts and compression-filter.ts).
 */
const UNREADABLE_ANSWER =
  /^(?:Received RST_STREAM|Received message|Write error|Failed to decompress|Bandwidth exhausted)/;
/** The trailer that carries an encoded `google.rpc.Status`. */
const DETAILS_TRAILER = "grpc-status-details-bin";
const DETAILS_CHARACTERS = 200;
/** The metadata of the trace context (https://www.w3.org/TR/trace-context/#traceparent-header). */
const TRACEPARENT = "traceparent";
const SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService";

type GrpcOptions = ReturnType<typeof convertLegacyOtlpGrpcOptions>;
/** The part of grpc-js' `ServiceError` that is looked at. */
interface GrpcError extends Error {
  readonly code: number;
  readonly details: string;
  /** Headers of the answer and its trailers; its own type says that it is always there, which is not so. */
  readonly metadata?: Metadata;
}

/**
 * Makes an exporter for OTLP/gRPC, on OpenTelemetry's transport: compression, metadata, timeout and certificates are
 * read here and now from `OTEL_EXPORTER_OTLP_*`. Nothing is retried by the transport.
 * Throws {@link ExporterSettingsError}.
 *
 * @param url `http://` without TLS, `https://` with TLS.
 */
export function createGrpcExporter(url: string, { concurrency }: ExporterOptions): Exporter {
  let options: GrpcOptions;
  let credentials: ChannelCredentials;
  try {
    options = convertLegacyOtlpGrpcOptions(
      { url, userAgent: `kata-trace-forwarder/${VERSION}` },
      "TRACES",
    );
    // The packages would read key files and headers at the first request, when privileges are gone.
    credentials = options.credentials();
    options.metadata();
  } catch (cause) {
    throw new ExporterSettingsError(
      "the gRPC exporter cannot be set up from OTEL_EXPORTER_OTLP_*: check headers, certificates and key",
      { cause },
    );
  }
  const settled: GrpcOptions = {
    ...options,
    url: hostAndPort(url),
    credentials: () => unshared(forAddresses(credentials)),
  };
  return new SlotExporter(() => new GrpcSlot(settled), concurrency, options.timeoutMillis);
}

/** The packages leave out a port that is the scheme's default, and grpc-js then takes 443 for each scheme. */
function hostAndPort(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
}

type SecureConnector = ReturnType<ChannelCredentials["_createSecureConnector"]>;
/** What a connector for TLS passes to `tls.connect` (grpc-js/src/channel-credentials.ts; its types leave it out). */
interface TlsConnector extends SecureConnector {
  readonly connectionOptions?: ConnectionOptions;
}

/**
 * The same credentials, for IP addresses too: grpc-js gives an address as the server's name, which may not be one
 * (RFC 6066, section 3) and which Bun refuses. The certificate must be for the address all the same.
 */
function forAddresses(credentials: ChannelCredentials): ChannelCredentials {
  const createSecureConnector: ChannelCredentials["_createSecureConnector"] = (...how) => {
    const connector: TlsConnector = credentials._createSecureConnector(...how);
    const { connectionOptions } = connector;
    const address = connectionOptions?.servername;
    if (connectionOptions !== undefined && address !== undefined && isIP(address) !== 0) {
      delete connectionOptions.servername;
      connectionOptions.checkServerIdentity = (_, certificate) => checkServerIdentity(address, certificate);
    }
    return connector;
  };
  return Object.create(credentials, { _createSecureConnector: { value: createSecureConnector } });
}

/**
 * Credentials equal to no others. grpc-js lets clients with equal ones share a connection, and its waiting time after
 * a failure; here a new client is made where a connection of its own is wanted.
 */
function unshared(credentials: ChannelCredentials): ChannelCredentials {
  const own: ChannelCredentials = Object.create(credentials, {
    _equals: { value: (other: ChannelCredentials) => other === own },
  });
  return own;
}

class GrpcSlot implements ExportSlot {
  usable = true;
  /** There is one try only. */
  readonly interim = undefined;
  readonly #serializer = new PlainSerializer();
  /** Of this slot alone: it carries the trace of the one request under way. */
  readonly #metadata: Metadata;
  readonly #delegate: ReturnType<typeof createOtlpGrpcExportDelegate<Uint8Array, unknown>>;

  constructor(options: GrpcOptions) {
    this.#metadata = options.metadata().clone();
    this.#delegate = createOtlpGrpcExportDelegate<Uint8Array, unknown>(
      { ...options, metadata: () => this.#metadata },
      this.#serializer,
      "otlp_grpc_span_exporter",
      { name: "span", countItems: () => 0 },
      undefined,
      "TraceExportService",
      `/${SERVICE}/Export`,
    );
  }

  send(request: Uint8Array, trace?: RequestTrace): Promise<ExportResult> {
    this.#serializer.answer = undefined;
    this.#metadata.remove(TRACEPARENT);
    if (trace !== undefined) this.#metadata.set(TRACEPARENT, trace.traceparent);
    trace?.tried();
    return new Promise((resolve) => {
      this.#delegate.export(request, ({ error }) => {
        if (error !== undefined) return resolve(this.#classify(error));
        const result = readExportResponse(this.#serializer.answer ?? new Uint8Array());
        // The transport has made a copy of its own.
        resolve(result.kind === "success" ? { ...result, released: true } : result);
      });
    });
  }

  /** A call under way ends at its own deadline: the transport offers no way to cancel it. */
  close(): void {
    this.usable = false;
    void this.#delegate.shutdown();
  }

  #classify(error: Error): ExportResult {
    if (!isGrpcError(error)) {
      this.usable = false;
      return { kind: "retryable", error };
    }
    const code = CODES[error.code] ?? "UNKNOWN";
    // grpc-js adds a note from name resolution, mostly an empty one.
    const detail = error.details.replace(/\s*Resolution note:\s*$/, "");
    // A server's answer comes with headers of its own; without any, the connection may be what failed.
    const isAnswer = Object.keys(error.metadata?.getMap() ?? {}).length > 0;
    const failure = new ExportError(
      `gRPC ${code}: ${printable(detail, DETAILS_CHARACTERS)}`,
      isAnswer ? error.code : undefined,
    );
    if (!isAnswer) {
      this.usable = false;
      if (UNREADABLE_ANSWER.test(detail)) return { kind: "retryable", error: failure };
    }
    const status = error.metadata?.get(DETAILS_TRAILER)[0];
    const retryAfterMs = status instanceof Uint8Array ? readRetryDelay(status) : undefined;
    if (retryAfterMs !== undefined && (RETRYABLE.has(code) || code === "RESOURCE_EXHAUSTED")) {
      return { kind: "retryable", error: failure, retryAfterMs };
    }
    if (RETRYABLE.has(code)) return { kind: "retryable", error: failure };
    return { kind: "rejected", error: failure, splitHelps: CONTENT.has(code) };
  }
}

function isGrpcError(error: Error): error is GrpcError {
  return "code" in error && typeof error.code === "number" && "details" in error;
}
