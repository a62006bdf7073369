import { diag, DiagLogLevel } from "@opentelemetry/api";
import { describeError, type Logger, printable } from "../log.ts";
import type { OtlpSettings } from "../settings.ts";
import type { Exporter } from "./exporter.ts";
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
  concurrency: number = CONCURRENCY,
): Promise<Exporter> {
  await checkEnvironment(settings);
  // What the packages warn of while they are set up is a setting that they ignore; later it is ours to report.
  routeDiagnostics((message) => log.warn(message));
  const exporter = settings.protocol === "grpc"
    ? await createGrpc(settings.url, concurrency, log)
    : await createHttp(settings.url, concurrency);
  routeDiagnostics((message) => log.debug(message));
  return exporter;

  function routeDiagnostics(warn: (message: string) => void): void {
    const to = (write: (message: string) => void) => (message: string, ...details: unknown[]) =>
      write(diagnostic(message, details));
    const debug = to((message) => log.debug(message));
    diag.setLogger(
      { error: to(warn), warn: to(warn), info: debug, debug, verbose: debug },
      { logLevel: DiagLogLevel.INFO, suppressOverrideMessage: true },
    );
  }
}

async function createHttp(url: string, concurrency: number): Promise<Exporter> {
  const { createHttpExporter } = await import("./http-exporter.ts");
  return createHttpExporter(url, concurrency);
}

async function createGrpc(url: string, concurrency: number, log: Logger): Promise<Exporter> {
  const { setLogger } = await import("@grpc/grpc-js");
  const write = (message: unknown): void => log.debug(diagnostic(String(message), []));
  setLogger({ error: write, info: write, debug: write });
  const { createGrpcExporter } = await import("./grpc-exporter.ts");
  return createGrpcExporter(url, concurrency);
}

/** The packages pass whole requests along with some messages: only text and errors are kept. */
function diagnostic(message: string, details: readonly unknown[]): string {
  const kept = details.filter((detail) => typeof detail === "string" || detail instanceof Error);
  return printable([message, ...kept.map(describeError)].join(" "), DIAGNOSTIC_CHARACTERS);
}
