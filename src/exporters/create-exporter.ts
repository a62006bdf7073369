import { diag, DiagLogLevel } from "@opentelemetry/api";
import { describeError, type Logger, type LogLevel, printable } from "../base/log.ts";
import type { OtlpSettings } from "../pipeline/settings.ts";
import type { Exporter, ExporterOptions } from "../pipeline/exporter.ts";
import { checkEnvironment } from "./exporter-environment.ts";

/**
 * How many requests are under way at once by default. Enough to keep sending while a collector answers, few enough
 * that one forwarder is a modest client.
 */
const CONCURRENCY = 4;

/** Longest message of OpenTelemetry's packages that is logged, characters. */
const DIAGNOSTIC_CHARACTERS = 512;

/**
 * Makes the exporter for a protocol; the code of the other is not loaded. All that `OTEL_EXPORTER_OTLP_*` names is
 * read before this resolves, key files included: do it before privileges are dropped. No connection is made yet.
 * Rejects with `ExporterSettingsError`.
 */
export async function createExporter(
  settings: OtlpSettings,
  log: Logger,
  options: Partial<ExporterOptions> = {},
): Promise<Exporter> {
  await checkEnvironment(settings);
  const all: ExporterOptions = { concurrency: CONCURRENCY, ...options };
  // What the packages warn of while they are set up is a setting that they ignore; later it is ours to report.
  routeDiagnostics(log, "warn");
  const exporter = settings.protocol === "grpc"
    ? await createGrpc(settings.url, all, log)
    : await createHttp(settings.url, all);
  routeDiagnostics(log, "debug");
  return exporter;
}

/** Sends what OpenTelemetry's packages have to say to the log, their warnings and errors at the given level. */
function routeDiagnostics(log: Logger, level: LogLevel): void {
  const debug = (message: string, ...details: unknown[]): void => log.debug(diagnostic(message, details));
  const warn = (message: string, ...details: unknown[]): void => {
    // Certificates have been checked, and the gRPC package also warns of one that nobody asked for; the endpoint is
    // given, so that it does not matter what the variables for it say.
    const isKnown = /certificate|export URL|is not a valid URL/i.test(message);
    log.log(isKnown ? "debug" : level, diagnostic(message, details));
  };
  diag.setLogger(
    { error: warn, warn, info: debug, debug, verbose: debug },
    { logLevel: DiagLogLevel.INFO, suppressOverrideMessage: true },
  );
}

async function createHttp(url: string, options: ExporterOptions): Promise<Exporter> {
  const { createHttpExporter } = await import("./otlp-http.ts");
  return createHttpExporter(url, options);
}

async function createGrpc(url: string, options: ExporterOptions, log: Logger): Promise<Exporter> {
  const { setLogger } = await import("@grpc/grpc-js");
  const write = (message: unknown): void => log.debug(diagnostic(String(message), []));
  setLogger({ error: write, info: write, debug: write });
  const { createGrpcExporter } = await import("./otlp-grpc.ts");
  return createGrpcExporter(url, options);
}

/** The packages pass whole requests along with some messages: only text and errors are kept. */
function diagnostic(message: string, details: readonly unknown[]): string {
  const kept = details.filter((detail) => typeof detail === "string" || detail instanceof Error);
  return printable([message, ...kept.map(describeError)].join(" "), DIAGNOSTIC_CHARACTERS);
}
