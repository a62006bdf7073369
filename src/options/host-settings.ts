import type { JaegerSettings, ListenTlsSettings, Settings, TcpListenSettings } from "../pipeline/settings.ts";
import type { Resolved } from "./resolve.ts";
import type { OPTIONS } from "./table.ts";
import { isLoopbackHost, quoted, UsageError } from "./values.ts";

/** Where Kata's `jaeger_endpoint` points to if nobody changes it, and OTLP's ports by its specification. */
const DEFAULT_JAEGER_PORT = 14268;
const DEFAULT_OTLP_PORTS = [4318, 4317] as const;
const LOOPBACK = "127.0.0.1";

/** What the settings say of runtimes and the host's other programs. Throws a `UsageError`. */
export function hostSettings(
  options: Resolved<typeof OPTIONS>,
): Pick<Settings, "otlpListen"> & { jaeger?: JaegerSettings; listenTls?: ListenTlsSettings } {
  const all = options.allSources?.value === true;
  const listenTls = tlsSettings(options);
  const jaegerListen = options.jaegerListen?.value ?? (all ? optional(DEFAULT_JAEGER_PORT) : undefined);
  const otlpListen = otlpAddresses(options, all);
  for (const [option, listen] of [["--jaeger-listen", [jaegerListen]], ["--otlp-listen", otlpListen]] as const) {
    for (const address of listen) if (address !== undefined) checkReach(option, address, listenTls, options);
  }
  const credentials = jaegerCredentials(options);
  return {
    otlpListen,
    ...jaegerListen !== undefined && {
      jaeger: {
        listen: jaegerListen,
        ...credentials && { credentials },
        keepHttp2Noise: options.keepHttp2Noise?.value ?? false,
      },
    },
    ...listenTls && { listenTls },
  };
}

function optional(port: number): TcpListenSettings {
  return { host: LOOPBACK, port, optional: true };
}

/** An address that is given twice is one. A default port that is given with another host is not listened at twice. */
function otlpAddresses({ otlpListen }: Resolved<typeof OPTIONS>, all: boolean): TcpListenSettings[] {
  const given = otlpListen?.value ?? [];
  const addresses = new Map<string, TcpListenSettings>();
  for (const address of given) {
    // Each port that the system chooses is another one.
    const key = address.port === 0 ? `${addresses.size}` : `${address.host}:${address.port}`;
    addresses.set(key, address);
  }
  const free = DEFAULT_OTLP_PORTS.filter((port) => !given.some((address) => address.port === port));
  return [...addresses.values(), ...all ? free.map(optional) : []];
}

function jaegerCredentials({ jaegerUser, jaegerPasswordFile }: Resolved<typeof OPTIONS>) {
  if (jaegerUser === undefined && jaegerPasswordFile === undefined) return undefined;
  if (jaegerUser === undefined) throw new UsageError(`${jaegerPasswordFile?.name} needs --jaeger-user too`);
  if (jaegerPasswordFile === undefined) throw new UsageError(`${jaegerUser.name} needs --jaeger-password-file too`);
  if (jaegerUser.value.includes(":")) {
    throw new UsageError(
      `${jaegerUser.name}: ${quoted(jaegerUser.value)} has a colon, which no HTTP user name may have`,
    );
  }
  return { user: jaegerUser.value, passwordFile: jaegerPasswordFile.value };
}

function tlsSettings(
  { listenCert, listenKey, listenClientCa }: Resolved<typeof OPTIONS>,
): ListenTlsSettings | undefined {
  if (listenCert === undefined && listenKey === undefined) {
    if (listenClientCa !== undefined) {
      throw new UsageError(`${listenClientCa.name} needs --listen-cert and --listen-key`);
    }
    return undefined;
  }
  if (listenCert === undefined) throw new UsageError(`${listenKey?.name} needs --listen-cert too`);
  if (listenKey === undefined) throw new UsageError(`${listenCert.name} needs --listen-key too`);
  return {
    certificateFile: listenCert.value,
    keyFile: listenKey.value,
    ...listenClientCa && { clientAuthorityFile: listenClientCa.value },
  };
}

/** Spans tell much about a node, so opening a receiver to the network has to be asked for explicitly. */
function checkReach(
  option: string,
  { host, port }: TcpListenSettings,
  tls: ListenTlsSettings | undefined,
  { insecureListen }: Resolved<typeof OPTIONS>,
): void {
  if (isLoopbackHost(host) || tls !== undefined || insecureListen?.value === true) return;
  throw new UsageError(
    `${option}: ${quoted(host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`)} is not a loopback address: ` +
      "give --listen-cert and --listen-key for TLS, or --insecure-listen",
  );
}
