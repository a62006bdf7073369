import { Buffer } from "node:buffer";
import process from "node:process";
import { ExporterSettingsError } from "../../pipeline/exporter.ts";
import type { OtlpProtocol } from "../../pipeline/settings.ts";
import type { Environment } from "../environment.ts";
import { readNoProxy } from "./no-proxy.ts";
import type { Target } from "./target.ts";

/** The proxy that a collector is reached through. */
export interface Proxy {
  /** The variable that named it, as it is written in the environment. */
  readonly variable: string;
  readonly host: string;
  readonly port: number;
  /** Whether it is spoken to over TLS (`https://`). */
  readonly secure: boolean;
  /** The value of `Proxy-Authorization`, where the URL has credentials. */
  readonly authorization?: string;
}

/** The proxy for a target, if it has one, and what is to be said about the variables. */
export interface ProxyChoice {
  readonly proxy?: Proxy;
  readonly warnings: readonly string[];
}

/** What curl and Go say of a proxy without a port: that of its scheme. */
const DEFAULT_PORTS = { "http:": 80, "https:": 443 } as const;

/**
 * Chooses the proxy as curl and Go do. For HTTP it is `https_proxy` or `http_proxy`, by the endpoint's scheme. gRPC
 * goes through a tunnel whatever the scheme, and takes the first of `grpc_proxy`, `https_proxy` and `http_proxy`, as
 * OpenTelemetry's exporter did. `all_proxy` comes last. Each may be in upper case, and the lower case wins. `no_proxy`
 * names hosts to reach without a proxy, and `localhost` is always one of them, because a proxy's `localhost` is
 * another.
 *
 * Throws an {@link ExporterSettingsError} that names the variable for a proxy that cannot be used. Its value is not
 * quoted, as there may be a password in it.
 */
export function chooseProxy(
  protocol: OtlpProtocol,
  target: Target,
  environment: Environment = process.env,
): ProxyChoice {
  if (target.socketPath !== undefined || isLocalhost(target.host)) return { warnings: [] };
  const found = firstOf(environment, namesFor(protocol, target));
  if (found === undefined) return { warnings: [] };
  const exceptions = firstOf(environment, protocol === "grpc" ? ["no_grpc_proxy", "no_proxy"] : ["no_proxy"]);
  const noProxy = readNoProxy(exceptions?.value ?? "");
  const warnings = noProxy.unusable.map((entry) =>
    `${exceptions?.name}: ${JSON.stringify(entry)} is neither a host nor an address or a range (10.0.0.0/8): ` +
    "it is ignored"
  );
  if (noProxy.covers(target.host, target.port)) return { warnings };
  return { proxy: readProxy(found.name, found.value), warnings };
}

function namesFor(protocol: OtlpProtocol, { secure }: Target): string[] {
  if (protocol === "grpc") return ["grpc_proxy", "https_proxy", "http_proxy", "all_proxy"];
  return [secure ? "https_proxy" : "http_proxy", "all_proxy"];
}

/** RFC 6761, 6.3. */
function isLocalhost(host: string): boolean {
  return /^(?:.*\.)?localhost\.?$/i.test(host);
}

function firstOf(environment: Environment, names: readonly string[]): { name: string; value: string } | undefined {
  for (const lower of names) {
    for (const name of [lower, lower.toUpperCase()]) {
      const value = environment[name]?.trim();
      if (value !== undefined && value !== "") return { name, value };
    }
  }
  return undefined;
}

function readProxy(variable: string, value: string): Proxy {
  const unusable = (why: string): ExporterSettingsError =>
    new ExporterSettingsError(
      `${variable}: ${why}: give http://HOST:PORT or https://HOST:PORT, or name the collector in no_proxy`,
    );
  let url: URL;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`);
  } catch {
    // Without its cause, which quotes the value.
    throw unusable("the value is not the URL of a proxy");
  }
  const { protocol, hostname, port, username, password, pathname } = url;
  if (protocol !== "http:" && protocol !== "https:") {
    throw unusable(`a proxy of the kind ${protocol}// is not supported`);
  }
  if (/["'\s]/.test(value) || pathname.length > 1) throw unusable("the value is not the URL of a proxy");
  return {
    variable,
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: port === "" ? DEFAULT_PORTS[protocol] : Number(port),
    secure: protocol === "https:",
    ...((username !== "" || password !== "") && { authorization: basic(username, password, unusable) }),
  };
}

/** RFC 7617. The URL class has percent-encoded what may not stand in a URL. */
function basic(username: string, password: string, unusable: (why: string) => Error): string {
  try {
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(credentials).toString("base64")}`;
  } catch {
    throw unusable("user and password are not percent-encoded");
  }
}
