import { existsSync } from "node:fs";
import { HelperListener } from "../helper/helper-listener.ts";
import { HelperProcess } from "../helper/helper-process.ts";
import type { AllowedFile, AllowedFolder } from "../helper/protocol.ts";
import type { Privileges } from "../host/privileges.ts";
import type { Logger } from "../base/log.ts";
import type { ListenSettings, Settings } from "../pipeline/settings.ts";
import type { ListenerOptions } from "../receivers/vsock/guest-server.ts";
import { BUNDLE_FILE, BUNDLE_PLACES } from "../receivers/pods/pod-finder.ts";
import { type Listener, ListenError } from "../receivers/vsock/listener.ts";

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
  if (templates.length === 0 && !needsPods(settings)) return undefined;
  if (templates.length > 0 && !("Bun" in globalThis)) {
    throw new ListenError(
      "a --socket-path with {ID}: as root another process makes the sockets, and Deno cannot use those: use the " +
        "executable, or Bun, or another user than root",
    );
  }
  return await HelperProcess.start({ templates, user: owner.uid, readable }, log);
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
function readableFiles({ kubernetesMetadata }: Settings): (AllowedFile | AllowedFolder)[] {
  if (kubernetesMetadata === "off") return [];
  return BUNDLE_PLACES.map(({ directory }) => ({ directory, name: BUNDLE_FILE }));
}

/** Whether a helper is worth its memory for pods alone: if there are bundles, or if that is asked for. */
function needsPods({ kubernetesMetadata }: Settings): boolean {
  if (kubernetesMetadata === "auto") return BUNDLE_PLACES.some(({ directory }) => existsSync(directory));
  return kubernetesMetadata === "on";
}
