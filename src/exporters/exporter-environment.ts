import { readFileSync } from "node:fs";
import process from "node:process";
import { LONGEST_TIMER_MS } from "../base/longest-timer.ts";
import type { OtlpSettings } from "../pipeline/settings.ts";
import { ExporterSettingsError } from "../pipeline/exporter.ts";

/** What `OTEL_EXPORTER_OTLP_COMPRESSION` may say to OpenTelemetry's packages. */
const COMPRESSIONS = ["none", "gzip"];

/** The first certificate of a file; there may be text before it and others after it (RFC 7468). */
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/;

/**
 * Checks what OpenTelemetry's packages read from `OTEL_EXPORTER_OTLP_*` themselves but only warn about: an exporter
 * without its certificate or its compression is not what was asked for.
 * Rejects with {@link ExporterSettingsError}, which names the variable.
 *
 * Specification: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
 */
export async function checkEnvironment({ protocol, url }: OtlpSettings): Promise<void> {
  const compression = variable("COMPRESSION");
  if (compression !== undefined && !COMPRESSIONS.includes(compression.value.trim())) {
    throw new ExporterSettingsError(
      `${compression.name}: ${JSON.stringify(compression.value)} is not supported; supported are ${
        COMPRESSIONS.join(", ")
      }`,
    );
  }
  for (const name of ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) {
    checkHeaders(name, process.env[name] ?? "");
  }
  const timeout = variable("TIMEOUT");
  if (timeout !== undefined && Number(timeout.value) > LONGEST_TIMER_MS) {
    throw new ExporterSettingsError(
      `${timeout.name}: ${JSON.stringify(timeout.value)} is too long: ` +
        `give milliseconds, at most ${LONGEST_TIMER_MS}`,
    );
  }
  if (!url.startsWith("https:")) return;

  // The gRPC package trims a path, the HTTP package takes it as it is.
  const trimmed = protocol === "grpc";
  const authority = readFile("CERTIFICATE", trimmed);
  const key = readFile("CLIENT_KEY", trimmed);
  const certificate = readFile("CLIENT_CERTIFICATE", trimmed);
  if (authority !== undefined) await checkCertificate(authority);
  if (key !== undefined && certificate !== undefined) return checkPair(key, certificate);
  const lone = key ?? certificate;
  if (lone === undefined) return;
  throw new ExporterSettingsError(
    `${lone.name} is set without OTEL_EXPORTER_OTLP_${
      lone === key ? "CLIENT_CERTIFICATE" : "CLIENT_KEY"
    }: a client certificate and its key go together`,
  );
}

interface Variable {
  readonly name: string;
  readonly value: string;
}
interface VariableFile extends Variable {
  readonly content: string;
}

/** The variable for traces, else the one for all signals; one that is blank counts as not set. */
function variable(suffix: string): Variable | undefined {
  for (const name of [`OTEL_EXPORTER_OTLP_TRACES_${suffix}`, `OTEL_EXPORTER_OTLP_${suffix}`]) {
    const value = process.env[name];
    if (value !== undefined && value.trim() !== "") return { name, value };
  }
  return undefined;
}

/** The packages leave out what is no header, in silence, and a collector that wants it then refuses everything. */
function checkHeaders(name: string, value: string): void {
  for (const [index, member] of value.split(",").entries()) {
    if (member.trim() === "" || isHeader(member)) continue;
    // Not quoted: a token does not belong in a log.
    throw new ExporterSettingsError(
      `${name}: number ${index + 1} of its members is not KEY=VALUE: they are separated by commas, ` +
        "and blanks, commas, semicolons and % in a value are written as %20, %2C, %3B and %25",
    );
  }
}

/**
 * One without a value is left out by the packages on purpose, as from a variable that was not filled in; what follows a
 * semicolon is metadata to them, which there is none of in headers.
 */
function isHeader(member: string): boolean {
  const at = member.indexOf("=");
  if (at < 0 || member.slice(0, at).trim() === "" || member.includes(";")) return false;
  try {
    decodeURIComponent(member);
    return true;
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return false;
  }
}

function readFile(suffix: string, trimmed: boolean): VariableFile | undefined {
  const found = variable(suffix);
  if (found === undefined) return undefined;
  const path = trimmed ? found.value.trim() : found.value;
  try {
    return { ...found, content: readFileSync(path, "utf8") };
  } catch (cause) {
    throw fileError(found, "cannot be read", cause);
  }
}

async function checkCertificate(file: VariableFile): Promise<void> {
  const { X509Certificate } = await import("node:crypto");
  try {
    new X509Certificate(PEM_CERTIFICATE.exec(file.content)?.[0] ?? "");
  } catch (cause) {
    throw fileError(file, "holds no certificate in PEM", cause);
  }
}

async function checkPair(key: VariableFile, certificate: VariableFile): Promise<void> {
  await checkCertificate(certificate);
  const { createPrivateKey, X509Certificate } = await import("node:crypto");
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey(key.content);
  } catch (cause) {
    throw fileError(key, "holds no private key in PEM without a passphrase", cause);
  }
  const first = PEM_CERTIFICATE.exec(certificate.content)?.[0] ?? "";
  if (!new X509Certificate(first).checkPrivateKey(privateKey)) {
    throw fileError(certificate, `does not belong to the key of ${key.name}`);
  }
}

function fileError({ name, value }: Variable, problem: string, cause?: unknown) {
  return new ExporterSettingsError(`${name}: ${JSON.stringify(value)} ${problem}`, { cause });
}
