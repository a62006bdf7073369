import { resolve } from "node:path";
import type { OtlpProtocol, OtlpSettings } from "../pipeline/settings.ts";
import { type OptionValue } from "./resolve.ts";
import { LONGEST_SOCKET_PATH } from "./socket-path.ts";
import { quoted, UsageError } from "./values.ts";

/** The ports in OTLP's specification: https://opentelemetry.io/docs/specs/otlp/ */
const GRPC_PORT = "4317";
const HTTP_PORT = "4318";

/** The path that OTLP/HTTP takes traces at. */
const TRACES_PATH = "/v1/traces";

/** Where a collector is: a URL, or a UNIX socket, or a host without a scheme. */
export type Endpoint =
  | {
    readonly kind: "url";
    readonly url: URL;
    /** Whether a port was given, because the URL leaves out its scheme's own. */
    readonly hasPort: boolean;
  }
  | {
    readonly kind: "socket";
    /** Absolute. */
    readonly path: string;
  }
  | {
    readonly kind: "host";
    /** As it was given: `HOST` or `HOST:PORT`. */
    readonly text: string;
  };

/**
 * A collector's address, which is one of these:
 *
 * - a URL with `http://` or `https://`, in which nothing is ignored except white space around it;
 * - `unix:PATH` or `unix:///PATH`, as gRPC writes a UNIX socket;
 * - a host without a scheme, which can be used only if `OTEL_EXPORTER_OTLP_INSECURE` says whether it speaks TLS.
 */
export function endpoint(text: string): Endpoint {
  const value = text.trim();
  if (value === "") throw new UsageError("may not be empty");
  if (/^unix:/i.test(value)) return { kind: "socket", path: socketOf(value) };
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) {
    if (!isUrl(`http://${value}`)) throw withoutScheme(value);
    return { kind: "host", text: value };
  }
  let url: URL;
  try {
    url = new URL(value);
  } catch (error) {
    throw new UsageError(`invalid URL ${quoted(value)}: give http://HOST:PORT`, { cause: error });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new UsageError(`${quoted(value)} is not supported: give http://, https:// or unix:`);
  }
  if (url.username !== "" || url.password !== "") {
    // Not quoted, because a password does not belong in a log.
    throw new UsageError(
      "a user and password in a URL would not be sent: use OTEL_EXPORTER_OTLP_HEADERS instead",
    );
  }
  url.hash = "";
  return { kind: "url", url, hasPort: /^[^/]*\/\/[^/?#]*:[0-9]+(?:[/?#]|$)/.test(value) };
}

function isUrl(text: string): boolean {
  try {
    const { username, pathname, search } = new URL(text);
    return username === "" && pathname === "/" && search === "";
  } catch {
    return false;
  }
}

function withoutScheme(value: string): UsageError {
  return new UsageError(
    `${quoted(value)} has no scheme: give http://HOST:PORT, or https://HOST:PORT for TLS`,
  );
}

/** Specification: https://github.com/grpc/grpc/blob/master/doc/naming.md */
function socketOf(value: string): string {
  const [, authority, path = ""] = /^unix:(?:\/\/([^/]*)(?=\/|$))?(.*)$/is.exec(value) ?? [];
  if (path === "" || (authority !== undefined && authority !== "")) {
    throw new UsageError(`${quoted(value)} is not the path of a socket: give unix:PATH or unix:///PATH`);
  }
  const absolute = resolve(path);
  const length = new TextEncoder().encode(absolute).length;
  if (length > LONGEST_SOCKET_PATH) {
    throw new UsageError(
      `${quoted(absolute)} is ${length} bytes long, but a UNIX socket's path may have at most ${LONGEST_SOCKET_PATH}`,
    );
  }
  return absolute;
}

/**
 * Where and how to export, by the rules of the OTLP exporter specification
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/), plus one: if no protocol is given, it follows
 * from the port. Throws a `UsageError` for an endpoint that the protocol cannot use.
 *
 * @param insecure `OTEL_EXPORTER_OTLP_INSECURE`. A scheme wins over it; it never turns the check of certificates off.
 */
export function otlpSettings(
  given: OptionValue<Endpoint> | undefined,
  givenProtocol: OptionValue<OtlpProtocol> | undefined,
  insecure?: OptionValue<boolean> | undefined,
): OtlpSettings {
  if (given === undefined) {
    return givenProtocol?.value === "http/protobuf"
      ? { protocol: "http/protobuf", url: `http://localhost:${HTTP_PORT}${TRACES_PATH}` }
      : { protocol: "grpc", url: `http://localhost:${GRPC_PORT}` };
  }
  const { name, value } = given;
  switch (value.kind) {
    case "socket":
      return { protocol: givenProtocol?.value ?? "grpc", url: socketUrl(value.path) };
    case "host":
      return { protocol: "grpc", url: hostUrl(value.text, name, givenProtocol, insecure) };
    case "url": {
      const url = new URL(value.url);
      if (url.protocol === "https:" && insecure?.value === true) {
        throw new UsageError(
          `${insecure.name}: true contradicts the https:// of ${name}, whose certificate is always checked: give ` +
            "http:// for a connection without TLS, or name the authority in OTEL_EXPORTER_OTLP_CERTIFICATE",
        );
      }
      const protocol = givenProtocol?.value ?? (url.port === GRPC_PORT ? "grpc" : "http/protobuf");
      if (protocol === "grpc") return { protocol, url: grpcUrl(url, value.hasPort, name) };
      return { protocol, url: httpUrl(url, name) };
    }
  }
}

/** A socket's path as a URL, percent-encoded where necessary. */
function socketUrl(path: string): string {
  return `unix://${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** The specification has hosts without a scheme for gRPC only. */
function hostUrl(
  text: string,
  name: string,
  protocol: OptionValue<OtlpProtocol> | undefined,
  insecure: OptionValue<boolean> | undefined,
): string {
  if (insecure === undefined || protocol?.value === "http/protobuf") {
    throw new UsageError(`${name}: ${withoutScheme(text).message}`);
  }
  const url = new URL(`${insecure.value ? "http" : "https"}://${text}`);
  return /:[0-9]+$/.test(text) ? url.origin : `${url.origin}:${GRPC_PORT}`;
}

function grpcUrl(url: URL, hasPort: boolean, name: string): string {
  if (url.pathname !== "/" || url.search !== "") {
    throw new UsageError(
      `${name}: gRPC takes no path (${quoted(url.pathname + url.search)}): ` +
        "leave it out, or use --otlp-protocol http/protobuf",
    );
  }
  // gRPC's own default is 443 for any scheme, and no collector listens at 80 by default.
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
