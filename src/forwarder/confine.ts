import { existsSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { loadLibc } from "../../ffi/libc.ts";
import { isInExecutable } from "../base/in-executable.ts";
import { describeError, type Logger } from "../base/log.ts";
import { forbidDumping } from "../host/dumping.ts";
import { type Reachable, restrictFiles } from "../host/landlock.ts";
import type { ListenSettings, Settings } from "../pipeline/settings.ts";

/**
 * What a runtime and its C library read while they run: names and certificates, libraries, time zones, devices, and
 * what the kernel says about processes.
 */
const SYSTEM = [
  ...["/proc", "/sys", "/etc", "/usr", "/lib", "/lib64", "/dev"],
  // What /etc/resolv.conf links to.
  ...["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"],
] as const;
/** Written to by the runtime, or by the terminal's user. */
const DEVICES = ["/dev/null", "/dev/tty", "/dev/pts", "/dev/shm"] as const;
/** Where container engines say which pod a sandbox belongs to; see `receivers/pods`. */
const ENGINES = [
  ...["/run/containerd", "/run/k3s/containerd", "/run/k0s/containerd"],
  ...["/run/containers/storage", "/var/lib/containers/storage"],
] as const;

/**
 * Variables that name files: certificates and keys of OpenTelemetry's exporters and of OpenSSL. The exporters read keys
 * again when they connect.
 */
const FILE_VARIABLE = /^OTEL_.*(CERTIFICATE|KEY)$|^SSL_CERT_(FILE|DIR)$|^NODE_EXTRA_CA_CERTS$/;

/**
 * Gives up everything of the file system that is not needed after the start, where the kernel has Landlock, and leaves
 * no core dump and nothing to debuggers. To be called when root's privileges are gone, and everything that is made once
 * has been made.
 */
export async function confine(settings: Settings, log: Logger): Promise<void> {
  try {
    const libc = await loadLibc();
    forbidDumping(libc);
    if (findsPeers(settings)) {
      log.info("files are not confined: as an ordinary user, runtimes' processes could not be looked at any more");
      return;
    }
    const reachable = reachableFiles(settings, process.env);
    const restriction = restrictFiles(libc, reachable);
    const { readable, writable } = reachable;
    log.debug("files are confined", {
      threads: restriction,
      readable: readable.join(" "),
      writable: writable.join(" "),
    });
  } catch (error) {
    log.warn("the process's access to files cannot be confined", { error: describeError(error) });
  }
}

/** Landlock forbids to look at the descriptors of processes outside; root's have never been this user's to look at. */
function findsPeers(settings: Settings): boolean {
  return process.getuid?.() === STARTED_AS && STARTED_AS !== 0 &&
    (settings.jaeger !== undefined || settings.otlpListen.length > 0);
}

const STARTED_AS = process.getuid?.();

/**
 * What is needed after the start.
 *
 * @param module the URL of this one; for tests.
 */
export function reachableFiles(
  settings: Settings,
  environment: Readonly<Record<string, string | undefined>>,
  module: string = import.meta.url,
): Reachable {
  const { queue, record, takeOver, jaeger, listenTls, kubernetesMetadata } = settings;
  const named = Object.entries(environment).flatMap(([name, value]) =>
    FILE_VARIABLE.test(name) && value !== undefined && value.startsWith("/") ? [value] : []
  );
  const credentials = [
    jaeger?.credentials?.passwordFile,
    ...(listenTls === undefined ? [] : [listenTls.certificateFile, listenTls.keyFile, listenTls.clientAuthorityFile]),
    ...named,
  ].filter((path) => path !== undefined);
  return {
    readable: [
      ...SYSTEM,
      process.execPath,
      // The sources. Seen from a module in the executable, this would be everything there is.
      ...(isInExecutable(module) ? [] : [fileURLToPath(new URL("../..", module))]),
      ...credentials.flatMap(directoriesOf),
      ...(kubernetesMetadata === "off" ? [] : ENGINES),
    ],
    writable: [
      ...DEVICES,
      ...settings.listen.flatMap(socketDirectory),
      ...(queue.spool === undefined ? [] : [queue.spool.directory]),
      ...[queue.deadLetterFile, record?.file, takeOver].filter((path) => path !== undefined).map(dirname),
    ].map(existing),
  };
}

/**
 * Where a file is, and where it lies if that is a link. Kubernetes replaces a mounted secret by another directory
 * beside it, certbot by another file beside the one that the link leads to.
 */
function directoriesOf(path: string): string[] {
  return existsSync(path) ? [dirname(path), dirname(realpathSync(path))] : [dirname(path)];
}

function socketDirectory(listen: ListenSettings): string[] {
  if (listen.kind === "vsock") return [];
  return [listen.kind === "hybrid" ? dirname(listen.socketPath) : listen.directory];
}

/** The path, or what it will be made in. */
function existing(path: string): string {
  let directory = path;
  while (!existsSync(directory) && directory !== "/") directory = dirname(directory);
  return directory;
}
