import { existsSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { readTlsFiles } from "../exporters/environment.ts";
import { HelperListener } from "../helper/helper-listener.ts";
import { HelperProcess } from "../helper/helper-process.ts";
import type { AllowedFile, AllowedFolder } from "../helper/protocol.ts";
import { CAP_SYS_PTRACE, permittedCapabilities } from "../host/capabilities.ts";
import type { Privileges } from "../host/privileges.ts";
import type { Logger } from "../base/log.ts";
import type { ListenSettings, Settings } from "../pipeline/settings.ts";
import type { ListenerOptions } from "../receivers/vsock/guest-server.ts";
import type { FindPeer } from "../receivers/peers/peer-finder.ts";
import { isLoopback } from "../receivers/peers/socket-table.ts";
import { BUNDLE_FILE, BUNDLE_PLACES } from "../receivers/pods/pod-finder.ts";
import { type Listener, ListenError } from "../receivers/vsock/listener.ts";

/** inode(7) */
const OTHERS_READ = 0o004;
const OTHERS_SEARCH = 0o001;

/** namespaces(7): the machine's first namespace of processes; PROC_PID_INIT_INO in include/linux/proc_ns.h. */
const HOST_PROCESSES = `pid:[${0xefff_fffc}]`;

type Template = ListenSettings & { readonly kind: "template" };

/**
 * Starts the helper process, if the process is root and something needs root's rights after the start. Undefined if
 * not. Rejects with a typed error.
 */
export async function startHelper(
  settings: Settings,
  owner: Privileges["owner"],
  log: Logger,
): Promise<HelperProcess | undefined> {
  if (owner === undefined) return undefined;
  const templates = templatesOf(settings);
  const readable = readableFiles(settings);
  const findsPeers = settings.jaeger !== undefined && (permittedCapabilities() & CAP_SYS_PTRACE) !== 0n;
  const isNeeded = templates.length > 0 || needsPods(settings) || keyFiles(settings).some(isForRootOnly) ||
    (findsPeers && seesHost());
  if (!isNeeded) return undefined;
  if (templates.length > 0 && !("Bun" in globalThis)) {
    throw new ListenError(
      "a --socket-path with {ID}: as root another process makes the sockets, and Deno cannot use those: use the " +
        "executable, or Bun, or another user than root",
    );
  }
  return await HelperProcess.start({ templates, user: owner.uid, readable, findsPeers }, log);
}

/**
 * Finds the sandbox of a runtime's connection through the helper, which may look at root's processes. This process may
 * not after it has changed its user. Undefined if no helper can do that.
 */
export function helperPeers(helper: HelperProcess | undefined, log: Logger): FindPeer | undefined {
  if (helper?.findsPeers !== true) return undefined;
  return async (connection) => {
    if (!isLoopback(connection.address)) return undefined;
    try {
      return await helper.findPeer(connection);
    } catch (error) {
      log.debug("a runtime's process was not looked for", { error: error as Error });
      return undefined;
    }
  };
}

/** What listens for all templates through the helper. Undefined if there are none. */
export function helperListener(
  helper: HelperProcess,
  settings: Settings,
  options: ListenerOptions,
  onHelperEnded: () => void,
): Listener | undefined {
  const templates = templatesOf(settings);
  return templates.length === 0 ? undefined : new HelperListener(helper, { ...options, templates, onHelperEnded });
}

function templatesOf({ listen }: Settings): Template[] {
  return listen.filter((each): each is Template => each.kind === "template");
}

/** Files that are read after the start, and that only root may read. */
function readableFiles(settings: Settings): (AllowedFile | AllowedFolder)[] {
  const files = keyFiles(settings).map((file) => ({ file }));
  if (settings.kubernetesMetadata === "off") return files;
  return [...files, ...BUNDLE_PLACES.map(({ directory }) => ({ directory, name: BUNDLE_FILE }))];
}

/** The exporter's certificates and keys, which are read with each new connection. */
function keyFiles({ dumpOnly, forwards }: Settings): string[] {
  if (dumpOnly || forwards === false) return [];
  const { authority, certificate, key } = readTlsFiles();
  return [authority, certificate, key].flatMap((file) => file === undefined ? [] : [file.path]);
}

/** Whether a user without any rights of its own cannot read a file, or a replacement that is like it. */
function isForRootOnly(path: string): boolean {
  try {
    let current = realpathSync(path);
    if ((statSync(current).mode & OTHERS_READ) === 0) return true;
    while (current !== "/") {
      current = dirname(current);
      if ((statSync(current).mode & OTHERS_SEARCH) === 0) return true;
    }
    return false;
  } catch {
    // The code that reads it says what is wrong with it.
    return false;
  }
}

/** Whether this process sees the host's, among which runtimes are. In a container it usually sees only its own. */
function seesHost(): boolean {
  try {
    return readlinkSync("/proc/self/ns/pid") === HOST_PROCESSES;
  } catch {
    // A search for runtimes finds none.
    return false;
  }
}

/** Whether a helper is worth its memory for pods alone: if there are bundles, or if that is asked for. */
function needsPods({ kubernetesMetadata }: Settings): boolean {
  if (kubernetesMetadata === "auto") return BUNDLE_PLACES.some(({ directory }) => existsSync(directory));
  return kubernetesMetadata === "on";
}
