import type { OtlpProtocol, OtlpSettings } from "../pipeline/settings.ts";
import { type Given } from "./resolve.ts";
import { quoted, UsageError } from "./values.ts";

/** The ports that OTLP is given by its specification: https://opentelemetry.io/docs/specs/otlp/ */
const GRPC_PORT = "4317";
const HTTP_PORT = "4318";

/** Where OTLP/HTTP takes traces. */
const TRACES_PATH = "/v1/traces";

/** Where a collector is. */
export interface Endpoint {
  readonly url: URL;
  /** Whether a port was given; the URL leaves out one that is its scheme's own. */
  readonly hasPort: boolean;
}

/** A collector's URL: http or https, nothing in it that would be dropped unsaid but white space around it. */
export function endpoint(text: string): Endpoint {
  const value = text.trim();
  if (value === "") throw new UsageError("may not be empty");
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) {
    throw new UsageError(
      `${quoted(value)} has no scheme: give http://HOST:PORT, or https://HOST:PORT for TLS`,
    );
  }
  let url: URL;
  try {
    url = new URL(value);
  } catch (error) {
    throw new UsageError(`${quoted(value)} is no URL: give http://HOST:PORT`, { cause: error });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new UsageError(`${quoted(value)} is neither http:// nor https://`);
  }
  if (url.username !== "" || url.password !== "") {
    // Not quoted: a password does not belong in a log.
    throw new UsageError(
      "user and password in a URL are not sent: use OTEL_EXPORTER_OTLP_HEADERS instead",
    );
  }
  url.hash = "";
  return { url, hasPort: /^[^/]*\/\/[^/?#]*:[0-9]+(?:[/?#]|$)/.test(value) };
}

/**
 * Where and how to export, by the rules of the OTLP exporter specification
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/), plus one: a protocol that nobody names follows from
 * the port. Throws a `UsageError` for a URL that the protocol cannot use.
 */
export function otlpSettings(
  given: Given<Endpoint> | undefined,
  givenProtocol: Given<OtlpProtocol> | undefined,
): OtlpSettings {
  if (given === undefined) {
    return givenProtocol?.value === "http/protobuf"
      ? { protocol: "http/protobuf", url: `http://localhost:${HTTP_PORT}${TRACES_PATH}` }
      : { protocol: "grpc", url: `http://localhost:${GRPC_PORT}` };
  }
  const { hasPort } = given.value;
  const url = new URL(given.value.url);
  const protocol = givenProtocol?.value ?? (url.port === GRPC_PORT ? "grpc" : "http/protobuf");
  if (protocol === "grpc") return { protocol, url: grpcUrl(url, hasPort, given.name) };
  return { protocol, url: httpUrl(url, given.name) };
}

function grpcUrl(url: URL, hasPort: boolean, name: string): string {
  if (url.pathname !== "/" || url.search !== "") {
    throw new UsageError(
      `${name}: gRPC takes no path (${quoted(url.pathname + url.search)}): ` +
        "leave it out, or say --otlp-protocol http/protobuf",
    );
  }
  // Its own default is 443, whatever the scheme says, and no collector is at 80 but by somebody's choice.
  if (!hasPort && url.protocol === "http:") {
    throw new UsageError(`${name}: gRPC without TLS needs a port: give ${url.origin}:${GRPC_PORT}`);
  }
  return url.origin;
}

function httpUrl(url: URL, name: string): string {
  const asItIs = name === "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" ||
    (name === "--otlp-endpoint" && /\/v1\/traces\/?$/.test(url.pathname));
  if (!asItIs) url.pathname = url.pathname.replace(/\/*$/, TRACES_PATH);
  return url.href;
}
