import process from "node:process";
import { validateHeaderName, validateHeaderValue } from "node:http";
import { LONGEST_TIMER_MS } from "../base/longest-timer.ts";
import { hasQuotationMarks, QUOTATION_MARKS_PROBLEM } from "../base/quotation-marks.ts";
import { ExporterSettingsError } from "../pipeline/exporter.ts";
import type { OtlpProtocol } from "../pipeline/settings.ts";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What `OTEL_EXPORTER_OTLP_COMPRESSION` may be. */
const COMPRESSIONS = ["none", "gzip"];

/** `OTEL_EXPORTER_OTLP_TIMEOUT` where it is not set, milliseconds. */
const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Headers that say how a request is framed, or that belong to one connection alone (RFC 9110, 7.6.1). Only the
 * transport may set them, because a user's value would break every request.
 */
const FRAMING_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers that the exporter always sends itself. A user's value is ignored, as OpenTelemetry's exporters do. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  "content-encoding",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-timeout",
  "user-agent",
]);

/** Metadata whose name ends so is binary, and its value is in base64 (gRPC over HTTP/2, "Custom-Metadata"). */
const BINARY_METADATA = /-bin$/;
/** What other metadata may hold ("ASCII-Value"). */
const ASCII = /^[ -~]*$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** A file that a variable names. */
export interface NamedFile {
  /** The variable. */
  readonly name: string;
  readonly path: string;
}

/** The files that TLS is spoken with. */
export interface TlsFiles {
  /** The certificate authorities that are trusted instead of the host's. */
  readonly authority?: NamedFile;
  /** The client's certificate and key; both or neither. */
  readonly certificate?: NamedFile;
  readonly key?: NamedFile;
}

/** What `OTEL_EXPORTER_OTLP_*` says about how to export. */
export interface ExporterEnvironment extends TlsFiles {
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** How long one request may take, milliseconds. */
  readonly timeoutMs: number;
  readonly gzip: boolean;
  /** A setting that is ignored, and why; for the log. */
  readonly warnings: readonly string[];
}

/**
 * Reads `OTEL_EXPORTER_OTLP_*` and the forms for traces alone, which win. Throws an {@link ExporterSettingsError} that
 * names the variable: an exporter without its certificate or its compression is not what was asked for. A value that
 * may be a token is never quoted.
 *
 * Specification: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
 */
export function readEnvironment(protocol: OtlpProtocol, environment: Environment = process.env): ExporterEnvironment {
  const warnings: string[] = [];
  return {
    headers: readHeaders(protocol, environment),
    timeoutMs: readTimeout(environment, warnings),
    gzip: readCompression(environment) === "gzip",
    ...readTlsFiles(environment),
    warnings,
  };
}

/** The files that the variables name. Throws an {@link ExporterSettingsError}. */
export function readTlsFiles(environment: Environment = process.env): TlsFiles {
  const file = (suffix: string): NamedFile | undefined => {
    const found = variable(environment, suffix);
    return found && { name: found.name, path: found.value };
  };
  const authority = file("CERTIFICATE");
  const certificate = file("CLIENT_CERTIFICATE");
  const key = file("CLIENT_KEY");
  return { ...(authority && { authority }), ...(certificate && { certificate }), ...(key && { key }) };
}

interface Variable {
  readonly name: string;
  /** Without the white space around it. */
  readonly value: string;
}

/** The variable for traces, or else the one for all signals. A blank variable counts as not set. */
function variable(environment: Environment, suffix: string): Variable | undefined {
  for (const name of [`OTEL_EXPORTER_OTLP_TRACES_${suffix}`, `OTEL_EXPORTER_OTLP_${suffix}`]) {
    const value = environment[name]?.trim();
    if (value === undefined || value === "") continue;
    if (hasQuotationMarks(value)) throw new ExporterSettingsError(`${name}: ${QUOTATION_MARKS_PROBLEM}`);
    return { name, value };
  }
  return undefined;
}

function readCompression(environment: Environment): string {
  const compression = variable(environment, "COMPRESSION");
  if (compression === undefined) return "none";
  if (!COMPRESSIONS.includes(compression.value)) {
    const supported = COMPRESSIONS.join(", ");
    throw new ExporterSettingsError(
      `${compression.name}: ${JSON.stringify(compression.value)} is not supported; supported are ${supported}`,
    );
  }
  return compression.value;
}

function readTimeout(environment: Environment, warnings: string[]): number {
  const timeout = variable(environment, "TIMEOUT");
  if (timeout === undefined) return DEFAULT_TIMEOUT_MS;
  const milliseconds = Number(timeout.value);
  if (milliseconds > LONGEST_TIMER_MS) {
    throw new ExporterSettingsError(
      `${timeout.name}: ${JSON.stringify(timeout.value)} is too long: ` +
        `give milliseconds, at most ${LONGEST_TIMER_MS}`,
    );
  }
  if (milliseconds >= 1) return Math.trunc(milliseconds);
  // The specification wants a warning here and not an error
  // (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#numeric).
  warnings.push(
    `${timeout.name} is invalid and ignored: ${JSON.stringify(timeout.value)} is not a number of milliseconds ` +
      `from 1; ${DEFAULT_TIMEOUT_MS} is used`,
  );
  return DEFAULT_TIMEOUT_MS;
}

function readHeaders(protocol: OtlpProtocol, environment: Environment): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  // Those for traces come last because they win.
  for (const name of ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"]) {
    const members = environment[name] ?? "";
    if (hasQuotationMarks(members)) throw new ExporterSettingsError(`${name}: ${QUOTATION_MARKS_PROBLEM}`);
    for (const [index, member] of members.split(",").entries()) {
      if (member.trim() === "") continue;
      const [key, value] = readHeader(`${name}: number ${index + 1} of its members`, member, protocol);
      // A header without a value is left out on purpose, as from a variable that was not filled in.
      if (value !== "" && !OWN_HEADERS.has(key)) headers.set(key, value);
    }
  }
  return headers;
}

/** A member as W3C Baggage writes it: `KEY=VALUE`, percent-encoded, and without metadata after a semicolon. */
function readHeader(where: string, member: string, protocol: OtlpProtocol): [string, string] {
  const at = member.indexOf("=");
  const decoded = at < 0 || member.includes(";") ? undefined : decode(member.slice(0, at), member.slice(at + 1));
  if (decoded === undefined || decoded[0] === "") {
    throw new ExporterSettingsError(
      `${where} is not KEY=VALUE: they are separated by commas, ` +
        "and blanks, commas, semicolons and % in a value are written as %20, %2C, %3B and %25",
    );
  }
  // A quotation mark must be percent-encoded, and an apostrophe around a name or a member is never meant
  // (https://www.w3.org/TR/baggage/#definition).
  if (member.includes('"') || /^\s*'/.test(member) || hasQuotationMarks(member.slice(at + 1))) {
    throw new ExporterSettingsError(`${where} has quotation marks: leave them out, or write %22 where one is meant`);
  }
  const [key, value] = [decoded[0].toLowerCase(), decoded[1]];
  try {
    validateHeaderName(key);
    validateHeaderValue(key, value);
  } catch (error) {
    // The cause is left out because it quotes the value.
    const { code } = error as { readonly code?: string };
    const what = code === "ERR_INVALID_HTTP_TOKEN" ? `${JSON.stringify(key)} is not the name of a header` : `the value \
of ${JSON.stringify(key)} cannot be sent in a header`;
    throw new ExporterSettingsError(`${where}: ${what}`);
  }
  checkReserved(where, key, value, protocol);
  return [key, value];
}

function checkReserved(where: string, key: string, value: string, protocol: OtlpProtocol): void {
  const isReserved = FRAMING_HEADERS.has(key) || (protocol === "grpc" && key.startsWith("grpc-"));
  if (isReserved && !OWN_HEADERS.has(key)) {
    throw new ExporterSettingsError(`${where}: ${key} is set by the transport: leave it out`);
  }
  if (protocol === "grpc" && !ASCII.test(value)) {
    throw new ExporterSettingsError(`${where}: the value of ${JSON.stringify(key)} is not ASCII, as metadata must be`);
  }
  if (protocol === "grpc" && BINARY_METADATA.test(key) && !BASE64.test(value)) {
    throw new ExporterSettingsError(`${where}: metadata whose name ends in -bin is binary: give its value in base64`);
  }
}

function decode(key: string, value: string): [string, string] | undefined {
  try {
    return [decodeURIComponent(key.trim()), decodeURIComponent(value.trim())];
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return undefined;
  }
}
