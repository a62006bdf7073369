import { HelperListener } from "../helper/helper-listener.ts";
import { HelperProcess } from "../helper/helper-process.ts";
import type { AllowedFile, AllowedFolder } from "../helper/protocol.ts";
import type { Privileges } from "../host/privileges.ts";
import type { Logger } from "../base/log.ts";
import type { ListenSettings, Settings } from "../pipeline/settings.ts";
import type { ListenerOptions } from "../receivers/vsock/guest-server.ts";
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
  if (templates.length === 0 && readable.length === 0) return undefined;
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

/** Files that are read again after the start, and that only root may read. */
function readableFiles(_settings: Settings): (AllowedFile | AllowedFolder)[] {
  return [];
}
