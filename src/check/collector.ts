import { X509Certificate } from "node:crypto";
import type { Logger } from "../base/log.ts";
import { describeError } from "../base/log.ts";
import { certificatesIn } from "../exporters/connection/pem.ts";
import { createExporter } from "../exporters/create-exporter.ts";
import { readEnvironment } from "../exporters/environment.ts";
import { CollectorError, probe, PROBE_TIMEOUT_MS } from "../exporters/probe.ts";
import type { Settings } from "../pipeline/settings.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";

/** Below this a certificate's end is a warning, milliseconds: three weeks. */
const SOON_MS = 21 * 24 * 60 * 60 * 1000;

/** Whether the collector is there, by the request with which a start finds that out, and how long certificates last. */
export async function checkCollector(settings: Settings, files: HostFiles, now = Date.now()): Promise<AreaFinding[]> {
  if (settings.dumpOnly) return [note("collector", "none: spans go to standard output (--dump-only)")];
  const { url, protocol } = settings.otlp;
  const item = `${url} (${protocol})`;
  const warnings: AreaFinding[] = [];
  let serverCertificate: { readonly validTo: string } | undefined;
  let answer: AreaFinding;
  try {
    const log = collecting((message) => warnings.push(warning(item, message, "see docs/reference.md")));
    const exporter = await createExporter(settings.otlp, log, {
      concurrency: 1,
      onServerCertificate: (certificate) => serverCertificate = certificate,
    });
    try {
      await probe(settings.otlp, exporter, PROBE_TIMEOUT_MS, log);
      answer = ok(item, "answers an empty request");
    } finally {
      exporter.close();
    }
  } catch (error) {
    answer = failure(item, error);
  }
  return [
    answer,
    ...warnings,
    ...(serverCertificate === undefined ? [] : [lifetime("  its certificate", serverCertificate.validTo, now)]),
    ...certificateFiles(settings, files, now),
  ];
}

/** A {@link CollectorError} says what is wrong, and after a colon what to do. */
function failure(item: string, error: unknown): AreaFinding {
  const message = describeError(error);
  if (!(error instanceof CollectorError)) return problem(item, message, "correct the setting that is named");
  const at = error.message.lastIndexOf(": ");
  const [found, advice] = at < 0
    ? [error.message, "check --otlp-endpoint"]
    : [error.message.slice(0, at), error.message.slice(at + 2)];
  const cause = error.cause === undefined ? "" : ` (${describeError(error.cause)})`;
  return problem(item, `${found}${cause}`, advice);
}

/** The files that the exporter and the receivers speak TLS with. */
function certificateFiles({ otlp, listenTls }: Settings, files: HostFiles, now: number): AreaFinding[] {
  const named: [string, string][] = [];
  try {
    const { authority, certificate } = readEnvironment(otlp.protocol);
    if (authority !== undefined) named.push([authority.name, authority.path]);
    if (certificate !== undefined) named.push([certificate.name, certificate.path]);
  } catch {
    // The exporter reads the same variables, and has said what is wrong with them.
  }
  if (listenTls !== undefined) named.push(["--listen-cert", listenTls.certificateFile]);
  return named.map(([name, path]) => {
    const seen = files.text(path);
    const item = `  ${name}`;
    if (seen.kind === "hidden") return unknown(item, `${path}: ${seen.reason}`, "run check as root");
    if (seen.kind === "absent") return problem(item, `${path} does not exist`, "correct the path");
    const ends = certificatesIn(seen.content).map(endOf).filter((end) => end !== undefined);
    const [first] = ends.sort((left, right) => Date.parse(left) - Date.parse(right));
    return first === undefined
      ? problem(item, `${path} holds no certificate in PEM`, "correct the path")
      : lifetime(item, first, now);
  });
}

function endOf(pem: string): string | undefined {
  try {
    return new X509Certificate(pem).validTo;
  } catch {
    return undefined;
  }
}

/** @param validTo as OpenSSL writes it, such as `Nov 26 17:28:37 2026 GMT`. */
function lifetime(item: string, validTo: string, now: number): AreaFinding {
  const end = Date.parse(validTo);
  if (Number.isNaN(end)) return unknown(item, `its end is not a time: ${validTo}`);
  const day = new Date(end).toISOString().slice(0, 10);
  if (end <= now) return problem(item, `has ended on ${day}`, "renew it");
  if (end - now < SOON_MS) return warning(item, `ends soon, on ${day}`, "renew it");
  return ok(item, `valid until ${day}`);
}

/** A log of which only warnings matter. */
function collecting(onWarning: (message: string) => void): Logger {
  const warn = (message: string, fields?: Parameters<Logger["warn"]>[1]): void => {
    const error = fields?.["error"];
    onWarning(error instanceof Error ? `${message}: ${describeError(error)}` : message);
  };
  const log: Logger = {
    log: (level, message, fields) => level === "warn" || level === "error" ? warn(message, fields) : undefined,
    debug: () => {},
    info: () => {},
    warn,
    error: warn,
    of: () => log,
  };
  return log;
}
