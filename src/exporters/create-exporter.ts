import type { Logger } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import type { Exporter, ExporterOptions } from "../pipeline/exporter.ts";
import type { OtlpSettings } from "../pipeline/settings.ts";
import { loadGzip } from "./compression.ts";
import { Connector, type ServerCertificate } from "./connection/connector.ts";
import { chooseProxy } from "./connection/proxy.ts";
import { targetOf } from "./connection/target.ts";
import type { ReadFile, TlsCredentials } from "./connection/tls-credentials.ts";
import { readEnvironment } from "./environment.ts";
import { type ExportSlot, SlotExporter } from "./slot-exporter.ts";

/**
 * How many requests are under way at once by default. Enough to keep sending while a collector answers, few enough
 * that one forwarder is a modest client.
 */
const CONCURRENCY = 4;

/**
 * What requests say that they come from. The second part is how the specification wants an exporter to be named
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/#user-agent).
 */
const USER_AGENT = `kata-trace-forwarder/${VERSION} OTel-OTLP-Exporter-JavaScript/${VERSION}`;

/** What an exporter needs of the process around it. */
export interface CreateExporterOptions extends ExporterOptions {
  /** Reads certificates and keys, also those that root alone may read. Default: `fs.readFile`. */
  readonly readFile?: ReadFile;
  /** Is told the certificate of the collector with each connection. */
  readonly onServerCertificate?: (certificate: ServerCertificate) => void;
}

/**
 * Makes the exporter for a protocol; the code of the other is not loaded. All that `OTEL_EXPORTER_OTLP_*` names is read
 * before this resolves, key files included, so call it before privileges are dropped. No connection is made yet.
 * Rejects with `ExporterSettingsError`.
 */
export async function createExporter(
  { protocol, url }: OtlpSettings,
  log: Logger,
  { concurrency = CONCURRENCY, onRetry, readFile, onServerCertificate }: Partial<CreateExporterOptions> = {},
): Promise<Exporter> {
  const environment = readEnvironment(protocol);
  const target = targetOf(url);
  const { proxy, warnings } = chooseProxy(protocol, target);
  for (const warning of [...environment.warnings, ...warnings]) log.warn(warning);
  const openTls = async (files: Parameters<typeof TlsCredentials.open>[0]): Promise<TlsCredentials> => {
    // Loaded only here: most collectors are beside the forwarder, without TLS.
    const [{ TlsCredentials }, { hostTrustStore }] = await Promise.all([
      import("./connection/tls-credentials.ts"),
      import("./connection/trust-store.ts"),
    ]);
    return await TlsCredentials.open(files, { trustStore: hostTrustStore(), log, ...(readFile && { readFile }) });
  };
  const isGrpc = protocol === "grpc";
  const connector = new Connector({
    target,
    proxy,
    tunnel: isGrpc,
    tls: target.secure ? await openTls(environment) : undefined,
    // A proxy belongs to the host: the host's store says whether it is trusted, and it gets no client certificate.
    proxyTls: proxy?.secure === true ? await openTls({}) : undefined,
    ...(isGrpc && { protocol: "h2" }),
    onServerCertificate,
  });
  const common = { connector, gzip: environment.gzip ? await loadGzip() : undefined, onRetry };
  const headers = { ...Object.fromEntries(environment.headers), "user-agent": USER_AGENT };
  let openSlot: () => ExportSlot;
  if (isGrpc) {
    const { GrpcSlot } = await import("./otlp-grpc.ts");
    openSlot = () => new GrpcSlot({ ...common, headers });
  } else {
    const { HttpSlot, requestHead } = await import("./otlp-http.ts");
    const head = requestHead(url, connector.options, headers);
    openSlot = () => new HttpSlot({ ...common, ...head });
  }
  return new SlotExporter(openSlot, concurrency, environment.timeoutMs);
}
